package plan

import (
	"fmt"
	"io"
)

// Fprint writes a plan for people: the steps in order, then a verdict per gang. Equal plans print
// equal text.
func Fprint(w io.Writer, p *Plan) {
	if len(p.Steps) == 0 {
		fmt.Fprintln(w, "nothing to do")
	}
	for _, s := range p.Steps {
		fmt.Fprintln(w, s)
	}
	for _, r := range p.Reservations {
		fmt.Fprintln(w, r)
	}
	if p.Unfinished {
		fmt.Fprintln(w, "the bound on the work of one decision was reached; the next one goes on")
	}
	for _, said := range p.Verdicts {
		v := *said
		queue := "no queue"
		if v.Queue != "" {
			queue = "queue " + v.Queue
		}
		if v.Doing != "" && !v.ETA.IsZero() {
			v.Doing += " (expected at " + v.ETA.UTC().Format("15:04:05") + " UTC)"
		}
		fmt.Fprintf(w, "%s (%s): %s\n", v.Gang, queue, v.Sentence())
	}
}
