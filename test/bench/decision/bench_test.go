package decision

import (
	"testing"

	"github.com/capmgr/capmgr/pkg/plan"
)

func BenchmarkThousand(b *testing.B)     { measured(b, Thousand) }
func BenchmarkFiveThousand(b *testing.B) { measured(b, FiveThousand) }

func measured(b *testing.B, shape Shape) {
	for b.Loop() {
		t, err := Measure(shape, 200)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(t.Snapshot.Seconds()*1000, "snapshot-ms")
		b.ReportMetric(t.Cold.Seconds()*1000, "cold-ms")
		b.ReportMetric(t.Yardstick.Seconds()/t.Cold.Seconds(), "times-faster")
		b.ReportMetric(t.BytesPerPod, "B/pod")
		for k, e := range Events {
			b.ReportMetric(100*t.Warm[e.Name].Seconds()/(t.Snapshot+t.Cold).Seconds(), []string{"%bound", "%arrived", "%gone"}[k])
		}
	}
}

func BenchmarkReclaimGang(b *testing.B)    { decided(b, ReclaimGang, 250) }
func BenchmarkReclaimSingles(b *testing.B) { decided(b, ReclaimSingles, 256) }
func BenchmarkHopeless(b *testing.B)       { decided(b, Hopeless, 0) }

func decided(b *testing.B, shape Shape, evicted int) {
	l, err := NewLoad(Generate(shape))
	if err != nil {
		b.Fatal(err)
	}
	l.Mirror.Snapshot(Epoch)
	for b.Loop() {
		n := 0
		for _, step := range l.Decide().Steps {
			if e, ok := step.(plan.Evict); ok {
				n += len(e.Pods)
			}
		}
		if n != evicted {
			b.Fatalf("%d pods are evicted, want %d", n, evicted)
		}
	}
}

// TestTheSameShapeGivesTheSamePlan keeps measures comparable.
func TestTheSameShapeGivesTheSamePlan(t *testing.T) {
	shape := Shape{Nodes: 20, GPUsPerNode: 4, Departments: 2, Teams: 2, Quota: 20, Daemons: 1, Running: Gangs{Count: 4, Pods: 5, GPUs: 1}, Pending: Gangs{Count: 20, Pods: 5, GPUs: 1}}
	text := func() string {
		l, err := NewLoad(Generate(shape))
		if err != nil {
			t.Fatal(err)
		}
		out, err := l.Decide().MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	if first, second := text(), text(); first != second {
		t.Error("plans differ")
	}
}

func BenchmarkWarmBound(b *testing.B)   { warm(b, Thousand, 0) }
func BenchmarkWarmArrived(b *testing.B) { warm(b, Thousand, 1) }
func BenchmarkWarmGone(b *testing.B)    { warm(b, Thousand, 2) }

// warm makes a decision after each of many events of a kind.
func warm(b *testing.B, shape Shape, event int) {
	l, err := NewLoad(Generate(shape))
	if err != nil {
		b.Fatal(err)
	}
	l.Bound(l.Decide())
	l.Decide()
	for k := 0; b.Loop(); k++ {
		b.StopTimer()
		Events[event].Happen(l, k%1000)
		b.StartTimer()
		l.Decide()
	}
}

func BenchmarkWarmGoneOfFive(b *testing.B) { warm(b, FiveThousand, 2) }
