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
	for _, v := range p.Verdicts {
		fmt.Fprintf(w, "%s (queue %s): %s\n", v.Gang, v.Queue, v.Sentence())
	}
}
