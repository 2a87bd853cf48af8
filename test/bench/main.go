// Command bench measures capmgr on the local control plane, prints a table and writes the same as
// JSON. It fails when a measure misses its aim.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/capmgr/capmgr/test/bench/decision"
)

// benchmarks are run in this order. Another one is a line here and a file of its own.
var benchmarks = []benchmark{
	{name: "decide-1000", about: "1,000 nodes of 4 GPUs, 2,000 gangs of 5 pods waiting in 100 queues", run: decide(decision.Thousand)},
	{name: "decide-5000", about: "5,000 nodes in the middle of their life, 5,000 pods waiting", run: decide(decision.FiveThousand)},
	{name: "reclaim-gang", about: "a gang of 250 pods takes back 250 GPUs of 500 full nodes of 8", run: one(decision.ReclaimGang, 250)},
	{name: "reclaim-singles", about: "1,000 pods take back as many GPUs as one decision evicts from", run: one(decision.ReclaimSingles, 256)},
	{name: "hopeless", about: "a gang of 512 pods for which 12 GPUs are missing", run: one(decision.Hopeless, 0)},
	{name: "buy", about: "200 gangs wait, 20 node groups could be bought from", run: buy},
	{name: "buy-least", about: "small gangs, beside brute force", run: buyLeast},
	{name: "bind-gang", about: "a gang of 1 head and 20 GPU workers, from the last GPU advertised to all bound", run: bindGang},
	{name: "bind-1000", about: "1,000 pods in gangs of 20 on 200 nodes, beside a bare loop of as many binds", run: bindThousand},
}

// benchmark measures one thing, over several rounds.
type benchmark struct {
	name, about string
	run         func(ctx context.Context, b *bench) ([]measure, error)
}

// bench is what a benchmark is given.
type bench struct {
	dir    string // of its own, and empty
	rounds int
	say    func(format string, args ...any) // told what is under way
}

// measure is one quantity with a value per round.
type measure struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Values []float64 `json:"values"`
	Min    float64   `json:"min"`
	Median float64   `json:"median"`
	Max    float64   `json:"max"`
	// Aim is the most that the median may be; absent where there is none.
	Aim float64 `json:"aim,omitempty"`
}

// over sums up the values of all rounds.
func over(name, unit string, aim float64, values []float64) measure {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return measure{
		Name: name, Unit: unit, Values: values, Aim: aim,
		Min: sorted[0], Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Max: sorted[n-1],
	}
}

func (m measure) missed() bool { return m.Aim > 0 && m.Median > m.Aim }

// report is what is written as JSON.
type report struct {
	Started    time.Time `json:"started"`
	Go         string    `json:"go"`
	CPUs       int       `json:"cpus"`
	Benchmarks []outcome `json:"benchmarks"`
}

type outcome struct {
	Name     string    `json:"name"`
	About    string    `json:"about"`
	Seconds  float64   `json:"seconds"`
	Measures []measure `json:"measures"`
}

type options struct {
	output string
	only   []string
	rounds int
	noFail bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	o := options{}
	cmd := &cobra.Command{
		Use:           "bench",
		Short:         "Measure capmgr on a local control plane",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), o) },
	}
	cmd.Flags().StringVar(&o.output, "output", "_output/bench.json", "file for the results as JSON")
	cmd.Flags().StringSliceVar(&o.only, "only", nil, "run only the benchmarks of these names")
	cmd.Flags().IntVar(&o.rounds, "rounds", 5, "how often each is measured")
	cmd.Flags().BoolVar(&o.noFail, "no-fail", false, "exit with 0 also when an aim was missed")
	err := cmd.ExecuteContext(ctx)
	interrupted := ctx.Err() != nil
	stop()
	if interrupted {
		err = errors.New("interrupted; everything it started has been stopped")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.rounds < 1 {
		return fmt.Errorf("--rounds must be at least 1, not %d", o.rounds)
	}
	chosen, err := choose(o.only)
	if err != nil {
		return err
	}
	r := report{Started: time.Now().UTC(), Go: runtime.Version(), CPUs: runtime.NumCPU()}
	for _, b := range chosen {
		out, err := measured(ctx, b, o.rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		r.Benchmarks = append(r.Benchmarks, out)
	}
	missed := r.print(os.Stdout)
	if err := r.write(o.output); err != nil {
		return err
	}
	if missed > 0 && !o.noFail {
		return fmt.Errorf("%d measures missed their aim", missed)
	}
	return nil
}

func choose(only []string) ([]benchmark, error) {
	if len(only) == 0 {
		return benchmarks, nil
	}
	var chosen []benchmark
	for _, name := range only {
		k := slices.IndexFunc(benchmarks, func(b benchmark) bool { return b.name == name })
		if k < 0 {
			return nil, fmt.Errorf("--only: there is no benchmark %q", name)
		}
		chosen = append(chosen, benchmarks[k])
	}
	return chosen, nil
}

// measured runs one benchmark in a directory of its own. The directory stays when it fails, for the
// logs in it.
func measured(ctx context.Context, b benchmark, rounds int) (outcome, error) {
	dir, err := os.MkdirTemp("", "capmgr-bench-")
	if err != nil {
		return outcome{}, err
	}
	started := time.Now()
	fmt.Printf("%s: %s\n", b.name, b.about)
	measures, err := b.run(ctx, &bench{dir: dir, rounds: rounds, say: func(format string, args ...any) {
		fmt.Printf("  "+format+"\n", args...)
	}})
	if err != nil {
		return outcome{}, fmt.Errorf("%w (its files are in %s)", err, dir)
	}
	if err := os.RemoveAll(dir); err != nil {
		return outcome{}, err
	}
	return outcome{b.name, b.about, time.Since(started).Round(time.Millisecond).Seconds(), measures}, nil
}

// print writes the table and returns how many aims were missed.
func (r report) print(w io.Writer) (missed int) {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"Benchmark", "Measure", "Unit", "Min", "Median", "Max", "Aim"})
	for _, b := range r.Benchmarks {
		for _, m := range b.Measures {
			aim := ""
			if m.Aim > 0 {
				aim = fmt.Sprintf("at most %g", m.Aim)
			}
			if m.missed() {
				aim += ": MISSED"
				missed++
			}
			t.AppendRow(table.Row{b.Name, m.Name, m.Unit, number(m.Min), number(m.Median), number(m.Max), aim})
		}
	}
	fmt.Fprintf(w, "\n%s\n", t.Render())
	return missed
}

func number(v float64) string { return fmt.Sprintf("%.2f", v) }

func (r report) write(path string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // results for anyone
		return fmt.Errorf("write results: %w", err)
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil { //nolint:gosec // results for anyone
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}
