package fit

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// thousand nodes with 20 pods each, a tenth of which repel each other as replicas do.
func thousand() *snapshot.Snapshot {
	s := &snapshot.Snapshot{}
	for i := range 1000 {
		n := newNode(fmt.Sprintf("n%04d", i), inZone(string(rune('a'+i%3))), allocatable("pods", "110"))
		for j := range 20 {
			options := []podOption{asks("cpu", "100m"), labelled("app", fmt.Sprint("app", j))}
			if j < 2 {
				options = append(options, repelling("app", fmt.Sprint("app", j), hostname))
			}
			with(n, newPod(fmt.Sprintf("p%04d-%d", i, j), options...))
		}
		s.Nodes = append(s.Nodes, n)
	}
	return s
}

func BenchmarkFitsCached(b *testing.B) {
	c, s := newChecker(b), thousand()
	pods := make([]*snapshot.Pod, 64)
	var placed []snapshot.Placed
	for i := range pods {
		pods[i] = newPod(fmt.Sprint("gang-", i), labelled("ray.io/group", "workers"))
	}
	for i, p := range pods[:32] {
		placed = append(placed, snapshot.Placed{Pod: p, Node: s.Nodes[i]})
	}
	c.Begin(s)
	c.Fits(pods[0], s.Nodes[0], placed)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if why := c.Fits(pods[i%len(pods)], s.Nodes[i%1000], placed); why != "" {
			b.Fatal(why)
		}
	}
}

func BenchmarkFitsNewClass(b *testing.B) {
	c, s := newChecker(b), thousand()
	p := newPod("p")
	c.Begin(s)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c.fitsEmpty(p.Object, s.Nodes[i%1000].Object)
	}
}

// BenchmarkFitsAlone asks about one pod on one of 1000 nodes, as a scan over all nodes does.
func BenchmarkFitsAlone(b *testing.B) {
	kinds := map[string][]podOption{
		"port":         {hostPort(8080)},
		"antiaffinity": {labelled("app", "app5"), repelling("app", "none", hostname)},
		"spread":       {labelled("app", "app5"), spread("app", "app5", zone, corev1.DoNotSchedule)},
	}
	for _, kind := range []string{"port", "antiaffinity", "spread"} {
		c, s := newChecker(b), thousand()
		p := newPod("p", kinds[kind]...)
		fresh := newNode("fresh", inZone("a"))
		c.Begin(s)
		c.Fits(p, s.Nodes[0], nil)
		b.Run(kind+"/scan", func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				c.Fits(p, s.Nodes[i%1000], nil)
			}
		})
		b.Run(kind+"/gang", func(b *testing.B) { // of 100, each placed before the next is asked about
			for b.Loop() {
				var placed []snapshot.Placed
				for i := range 100 {
					q := newPod(fmt.Sprint("q", i), kinds[kind]...)
					c.Fits(q, s.Nodes[i*7], placed)
					placed = append(placed, snapshot.Placed{Pod: q, Node: s.Nodes[i*7]})
				}
			}
		})
		b.Run(kind+"/undone", func(b *testing.B) { // what was placed before is another pod each time
			q := newPod("q")
			for i := 0; b.Loop(); i++ {
				c.Fits(p, s.Nodes[i%1000], []snapshot.Placed{{Pod: q, Node: s.Nodes[(i+1)%1000]}})
			}
		})
		b.Run(kind+"/hypothetical", func(b *testing.B) {
			for b.Loop() {
				c.Fits(p, fresh, nil)
			}
		})
	}
}

// BenchmarkBegin is the cost of a new decision before its first slow answer.
func BenchmarkBegin(b *testing.B) {
	p, s := newPod("p", hostPort(8080)), thousand()
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			c := newChecker(b)
			b.StartTimer()
			c.Begin(s)
			c.Fits(p, s.Nodes[0], nil)
		}
	})
	c := newChecker(b)
	changed := *s
	changed.Nodes = append([]*snapshot.Node(nil), s.Nodes...)
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			n := *changed.Nodes[500]
			n.Pods = n.Pods[:19:19]
			if len(changed.Nodes[500].Pods) == 19 {
				n.Pods = s.Nodes[500].Pods
			}
			changed.Nodes[500] = &n
			c.Begin(&changed)
			c.Fits(p, changed.Nodes[0], nil)
		}
	})
	b.Run("none", func(b *testing.B) {
		for b.Loop() {
			c.Begin(s)
			c.Fits(p, s.Nodes[0], nil)
		}
	})
}
