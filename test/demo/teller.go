package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// step is one part of the story and what came of it.
type step struct {
	Name     string   `json:"name"`
	Passed   bool     `json:"passed"`
	Seconds  float64  `json:"seconds"`
	Expected string   `json:"expected,omitempty"` // of the check that failed
	Seen     string   `json:"seen,omitempty"`
	Figures  []figure `json:"figures,omitempty"`

	started time.Time
}

// figure is something measured.
type figure struct {
	What  string `json:"what"`
	Value string `json:"value"`
}

// teller shows the story as it goes, with a spinner on a terminal and in plain lines elsewhere, and
// keeps it for the report.
type teller struct {
	out      io.Writer
	terminal bool
	spinner  progress.Writer
	tracker  *progress.Tracker
	current  *step
	steps    []step
}

func newTeller(out *os.File) *teller {
	return &teller{out: out, terminal: term.IsTerminal(int(out.Fd())) && os.Getenv("TERM") != "dumb"}
}

// begin starts a step.
func (t *teller) begin(name string) {
	t.current = &step{Name: name, started: time.Now()}
	t.line("%d. %s", len(t.steps)+1, name)
}

// doing says what is under way.
func (t *teller) doing(what string) {
	if !t.terminal {
		t.line("   … %s", what)
		return
	}
	if t.spinner == nil {
		t.spinner = progress.NewWriter()
		t.spinner.SetOutputWriter(t.out)
		t.spinner.SetUpdateFrequency(100 * time.Millisecond)
		t.spinner.SetMessageLength(72)
		t.spinner.SetStyle(progress.StyleCircle)
		t.spinner.Style().Visibility = progress.StyleVisibility{Time: true, Tracker: true, TrackerOverall: false}
		t.spinner.SetTrackerLength(12)
		t.spinner.Style().Options.TimeInProgressPrecision = time.Second
		t.spinner.Style().Options.TimeDonePrecision = time.Second
		go t.spinner.Render()
	}
	if t.tracker != nil {
		t.tracker.UpdateMessage("   " + what)
		return
	}
	t.tracker = &progress.Tracker{Message: "   " + what}
	t.spinner.AppendTracker(t.tracker)
}

// figure notes something measured in the current step.
func (t *teller) figure(what, value string) {
	t.current.Figures = append(t.current.Figures, figure{what, value})
}

// pass ends the current step well.
func (t *teller) pass() {
	t.current.Passed = true
	t.close()
}

// fail ends the current step with what was expected and what was seen instead.
func (t *teller) fail(expected, seen string) {
	t.current.Expected, t.current.Seen = expected, seen
	t.close()
}

func (t *teller) close() {
	t.quiet()
	s := t.current
	s.Seconds = time.Since(s.started).Round(10 * time.Millisecond).Seconds()
	for _, f := range s.Figures {
		t.line("   %-44s %s", f.What, f.Value)
	}
	if s.Passed {
		t.line("   %s (%.1f s)", t.color(text.FgGreen, "passed"), s.Seconds)
	} else {
		t.line("   %s\n   expected: %s\n   seen:     %s", t.color(text.FgRed, "FAILED"), s.Expected, s.Seen)
	}
	t.steps = append(t.steps, *s)
	t.current = nil
}

// quiet takes the spinner down so that lines can be printed.
func (t *teller) quiet() {
	if t.spinner == nil {
		return
	}
	if t.tracker != nil {
		t.tracker.MarkAsDone()
	}
	t.spinner.Stop()
	for t.spinner.IsRenderInProgress() {
		time.Sleep(5 * time.Millisecond)
	}
	t.spinner, t.tracker = nil, nil
}

// end is for leaving early: whatever is shown is taken down.
func (t *teller) end() { t.quiet() }

func (t *teller) line(format string, args ...any) { fmt.Fprintf(t.out, format+"\n", args...) }

func (t *teller) color(c text.Color, s string) string {
	if !t.terminal || os.Getenv("NO_COLOR") != "" {
		return s
	}
	return c.Sprint(s)
}

func (t *teller) passed() (n int) {
	for _, s := range t.steps {
		if s.Passed {
			n++
		}
	}
	return n
}

func (t *teller) failed() int { return len(t.steps) - t.passed() }

// table sums the story up.
func (t *teller) table() {
	w := table.NewWriter()
	w.SetStyle(table.StyleLight)
	w.AppendHeader(table.Row{"", "Step", "Result", "Seconds"})
	for k, s := range t.steps {
		result := "passed"
		if !s.Passed {
			result = "FAILED"
		}
		w.AppendRow(table.Row{k + 1, s.Name, result, fmt.Sprintf("%.1f", s.Seconds)})
	}
	t.line("\n%s\n", w.Render())
}

// write stores the steps as JSON.
func (t *teller) write(path string) error {
	data, err := json.MarshalIndent(map[string]any{
		"steps": t.steps, "passed": t.passed(), "failed": t.failed()}, "", "  ")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil { //nolint:gosec // a report for anyone
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
