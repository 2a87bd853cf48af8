package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/test/fakedashboard"
	"github.com/capmgr/capmgr/test/stack"
)

var (
	//go:embed manifests/train.yaml
	trainManifest string
	//go:embed manifests/too-big.yaml
	tooBigManifest string
)

// story is the demo's chapters and what they hand on to each other.
type story struct {
	s        *stack.Stack
	t        *teller
	recorder *stack.Recorder

	dashboards *fakedashboard.Server // of Ray's heads, which are played
}

func newStory(s *stack.Stack, t *teller, dashboards *fakedashboard.Server) *story {
	return &story{s: s, t: t, dashboards: dashboards}
}

// tell runs the chapters in order. After one that failed, the rest is not told: it stands on what
// came before.
func (d *story) tell(ctx context.Context) {
	watch, stop := context.WithCancel(ctx)
	defer stop()
	chapters := []struct {
		name string
		tell func(context.Context) error
	}{
		{"", func(ctx context.Context) error { return d.comeUp(ctx, watch) }}, // begun while everything started
		{"KubeRay's own sample runs whole on what is there", d.sample},
		{"RayCluster train gets four A10G that did not exist", d.train},
		{"RayCluster too-big is told why it will never run", d.tooBig},
		{"train is deleted, its nodes are given back by name", d.giveBack},
		{"The cloud is short: climb goes down the ladder, whole at every rung", d.ladder},
		{"RayCluster frugal costs more than its queue may", d.money},
		{"Inference takes the only GPU whole, training comes back", d.inference},
		{"In-queue preemption at the queue's limit", d.priority},
		{"RayJob sweep grows and shrinks with the room of its queue", d.elastic},
	}
	for _, c := range chapters {
		if c.name != "" {
			d.t.begin(c.name)
		}
		err := c.tell(ctx)
		var wrong *mismatch
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			d.t.pass()
		case errors.As(err, &wrong):
			d.t.fail(wrong.expected, wrong.seen)
			return
		default:
			d.t.fail("the step to be carried out", err.Error())
			return
		}
	}
}

// mismatch is a check that did not come true.
type mismatch struct{ expected, seen string }

func (m *mismatch) Error() string { return fmt.Sprintf("expected %s, saw %s", m.expected, m.seen) }

// expect fails a step unless ok.
func expect(ok bool, expected, seen string, args ...any) error {
	if ok {
		return nil
	}
	return &mismatch{expected, fmt.Sprintf(seen, args...)}
}

// await polls until see says that what is expected is there. see returns what it saw instead.
func await(ctx context.Context, most time.Duration, expected string, see func(context.Context) (bool, string, error)) error {
	deadline := time.NewTimer(most)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, seen, err := see(ctx)
		if err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return &mismatch{expected, fmt.Sprintf("%s, after %s", seen, most)}
		case <-tick.C:
		}
	}
}

// quote prints text as part of the story.
func (d *story) quote(title, body string) {
	d.t.quiet()
	d.t.line("   %s", title)
	for _, l := range strings.Split(strings.TrimRight(body, "\n"), "\n") {
		d.t.line("   │ %s", l)
	}
}

func key(name string) client.ObjectKey { return client.ObjectKey{Namespace: "default", Name: name} }

func meta(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "default", Name: name} }
