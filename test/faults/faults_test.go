// The pace of repeated calls has jitter from the old global source; with this it follows the seed.
//
//go:debug randseednop=0

package faults

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	oldrand "math/rand"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var (
	//go:embed testdata/seeds
	failedOnce string

	runs = flag.Int("faults.runs", 5, "how many seeds are run, besides those that failed once")
	from = flag.Uint64("faults.from", 1, "the first of the seeds")
	tell = flag.Bool("faults.story", false, "tell what happened, also of a run that holds")
)

// TestMain runs one goroutine at a time: two that are awake at once in virtual time, as the watch and the
// decision that it woke, would otherwise meet in another order each time.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	os.Exit(m.Run())
}

// TestFaults runs seeds: every one that ever failed, and a number of others.
func TestFaults(t *testing.T) {
	makeCheckers(t)
	seeds := seedsIn(t, "seeds", failedOnce)
	for k := range *runs {
		seeds = append(seeds, *from+uint64(k)) //nolint:gosec // not negative
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := drawn(t, seed)
			if len(s.w.broken) > 0 {
				t.Errorf("seed %d (add it to testdata/seeds):\n%s\nstory:\n%s", seed, strings.Join(s.w.broken, "\n"), s.w.text())
			}
		})
	}
}

func seedsIn(t *testing.T, file, text string) (seeds []uint64) {
	t.Helper()
	for _, line := range strings.Split(text, "\n") {
		word, _, _ := strings.Cut(line, " ")
		if word == "" || word == "#" {
			continue
		}
		n, err := strconv.ParseUint(word, 10, 64)
		if err != nil {
			t.Fatalf("testdata/%s: %v", file, err)
		}
		seeds = append(seeds, n)
	}
	return seeds
}

// drawn lives through one seed: a world, and what happens in it.
func drawn(t *testing.T, seed uint64) (s *story) {
	t.Helper()
	inBubble(t, int64(seed), func(t *testing.T) { //nolint:gosec // only a seed
		w := drawWorld(seed)
		h := &happenings{w: w, base: stream(seed, 1), more: stream(seed, 3)}
		s = &story{w: w, last: 20 * time.Minute, each: func(time.Duration) { h.second() }, end: h.over}
		s.live(t)
	})
	return s
}

func inBubble(t *testing.T, seed int64, f func(*testing.T)) {
	t.Helper()
	oldrand.Seed(seed) //nolint:staticcheck // see randseednop above
	synctest.Test(t, f)
}

// stream is one of several independent sources of chance of a seed.
func stream(seed, n uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, n)) //nolint:gosec // reproducible, not secret
}

// story is a world, what happens in it from outside while the manager works, and how long.
type story struct {
	w    *world
	last time.Duration          // faults and what happens from outside end then
	each func(at time.Duration) // every second until then, under the world's lock
	end  func()                 // takes back what would keep the world from coming to rest
}

// restWithin is how long a world may take to come to rest when the faults are over: bounds on growth
// hold for an hour, idle times grow to one.
const restWithin = 150 * time.Minute

// live runs managers until everything is at rest, or something is broken.
func (s *story) live(t *testing.T) {
	t.Helper()
	w := s.w
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.manage(ctx)
	}()
	quiet := 0
	for tick := 1; quiet < 2 && len(w.broken) == 0; tick++ {
		_ = rest(ctx, time.Second)
		at := time.Since(epoch)
		w.locked(func() {
			if at < s.last {
				s.each(at)
			}
			w.run()
			w.collect()
			w.reconcile()
			w.watchOver(w.alive())
			if at >= s.last && !w.over {
				w.note("the faults end")
				w.over = true
				s.end()
			}
		})
		if at >= s.last {
			w.dice.endFaults()
		}
		if at < s.last+2*time.Minute || tick%30 != 0 {
			continue
		}
		unrest := w.unrest(t)
		if quiet++; unrest != "" {
			quiet = 0
		}
		if unrest != "" && at > s.last+restWithin {
			w.broken = append(w.broken, "does not come to rest: "+unrest)
		}
	}
	stop()
	<-ended
	if *tell {
		t.Logf("story:\n%s", w.text())
	}
}
