package decision

import (
	"testing"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scheduler"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// The clusters that are measured.
var (
	thousand = Shape{Nodes: 1000, GPUsPerNode: 4, Departments: 10, Teams: 10, Quota: 40, Pending: Gangs{Count: 2000, Pods: 5, GPUs: 1}}
	full     = Shape{Nodes: 5000, GPUsPerNode: 4, Departments: 10, Teams: 10, Quota: 200, Daemons: 7,
		Running: Gangs{Count: 3000, Pods: 5, GPUs: 1}, Pending: Gangs{Count: 1000, Pods: 5, GPUs: 1}}
	taken = Shape{Nodes: 500, GPUsPerNode: 8, Departments: 10, Teams: 10, Quota: 40,
		Running: Gangs{Count: 4000, Pods: 1, GPUs: 1, Only: "team-00-00"}}
)

func load(b *testing.B, c *Cluster) *Load {
	b.Helper()
	l, err := NewLoad(c)
	if err != nil {
		b.Fatal(err)
	}
	return l
}

func binds(p *plan.Plan) (n int) {
	for _, s := range p.Steps {
		if bind, ok := s.(plan.Bind); ok {
			n += len(bind.Assignments)
		}
	}
	return n
}

func decide(b *testing.B, l *Load, s *snapshot.Snapshot) *plan.Plan {
	b.Helper()
	l.Fit.Begin(s)
	return scheduler.Decide(s, l.Fit)
}

func cold(b *testing.B, shape Shape) {
	c := Generate(shape)
	l := load(b, c)
	b.Run("snapshot", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			l.Mirror.Snapshot(Epoch)
		}
	})
	b.Run("decide", func(b *testing.B) {
		b.ReportAllocs()
		s := l.Mirror.Snapshot(Epoch)
		n := 0
		for b.Loop() {
			n = binds(decide(b, l, s))
		}
		b.ReportMetric(float64(n), "placed")
	})
	b.Run("autoscaler", func(b *testing.B) {
		run, err := Autoscaler(c)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for b.Loop() {
			if n, err = run(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(n), "placed")
	})
	b.Run("settled", func(b *testing.B) {
		b.ReportAllocs()
		l.Bound(decide(b, l, l.Mirror.Snapshot(Epoch)))
		s := l.Mirror.Snapshot(Epoch)
		for b.Loop() {
			decide(b, l, s)
		}
	})
}

func BenchmarkThousand(b *testing.B)     { cold(b, thousand) }
func BenchmarkFiveThousand(b *testing.B) { cold(b, full) }

func BenchmarkReclaim(b *testing.B) {
	for name, g := range map[string]Gangs{"gang": {Count: 1, Pods: 250, GPUs: 1, Only: "team-05-05"}, "singles": {Count: 1000, Pods: 1, GPUs: 1}} {
		b.Run(name, func(b *testing.B) {
			shape := taken
			shape.Pending = g
			l := load(b, Generate(shape))
			s := l.Mirror.Snapshot(Epoch)
			evicted := 0
			for b.Loop() {
				evicted = 0
				for _, step := range decide(b, l, s).Steps {
					if e, ok := step.(plan.Evict); ok {
						evicted += len(e.Pods)
					}
				}
			}
			b.ReportMetric(float64(evicted), "evicted")
		})
	}
}

func BenchmarkHopeless(b *testing.B) {
	shape := thousand
	shape.Running, shape.Pending = Gangs{Count: 700, Pods: 5, GPUs: 1}, Gangs{Count: 1, Pods: 512, GPUs: 1}
	l := load(b, Generate(shape))
	s := l.Mirror.Snapshot(Epoch)
	for b.Loop() {
		p := decide(b, l, s)
		if len(p.Steps) > 0 || len(p.Verdicts) == 0 {
			b.Fatal("placed")
		}
	}
}
