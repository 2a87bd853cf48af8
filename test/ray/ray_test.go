package ray

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/capmgr/capmgr/pkg/ray/demand"
	"github.com/capmgr/capmgr/pkg/ray/gcs"
	"github.com/capmgr/capmgr/pkg/ray/gcs/autoscalerpb"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

var update = flag.Bool("update", false, "record what Ray says as vectors of pkg/ray/gcs")

// patience is long because the machine may be busy; Ray itself looks once a second.
const patience = time.Minute

func TestDemandIdlenessAndDrain(t *testing.T) {
	ray := startHead(t)
	ray.worker(t, "busy-pod", "workers", "--num-cpus=2", "--num-gpus=1", `--resources={"busy":2}`)
	ray.worker(t, "idle-pod", "gpu-workers", "--num-cpus=1", "--num-gpus=1", `--labels={"zone":"c"}`)
	head := ray.client(t, "")

	end := ray.run(t, "program.py")
	ended := sync.OnceFunc(end)
	defer ended()
	want := wanted()
	var got demand.State
	within(t, "the demand of the program", func() string {
		got = status(t, head)
		slices.SortFunc(got.Gangs, func(a, b demand.Gang) int { return len(b.Bundles) - len(a.Bundles) })
		for i := range got.Gangs {
			got.Gangs[i].ID = "" // Ray's choice
		}
		return cmp.Diff(want, demand.State{Loose: got.Loose, Gangs: got.Gangs})
	})
	within(t, "idleness", func() string {
		got = status(t, head)
		idle, busy := node(t, got, "idle-pod"), node(t, got, "busy-pod")
		if idle.Status == demand.Idle && idle.IdleFor > 0 && busy.Status == demand.Running && busy.IdleFor == 0 {
			return ""
		}
		return cmp.Diff(idle, busy)
	})
	ray.record(t, "demand")
	if n := node(t, got, "head-pod"); n.Group != "headgroup" {
		t.Errorf("the head's group is %q", n.Group)
	}
	if n := node(t, got, "idle-pod"); n.Group != "gpu-workers" || n.Total.MilliGPU != 1000 || n.Total.MilliCPU != 1000 {
		t.Errorf("the idle worker is read as %+v", n)
	}

	ctx := t.Context()
	drain := func(pod string, why gcs.Reason, deadline time.Time) gcs.Drained {
		answer, err := head.Drain(ctx, gcs.DrainRequest{Node: node(t, got, pod).ID, Reason: why, Deadline: deadline, Message: "test"})
		if err != nil {
			t.Fatalf("drain %s: %v", pod, err)
		}
		t.Logf("drain %s, %s: %+v", pod, why, answer)
		return answer
	}
	if d := drain("busy-pod", gcs.IdleTermination, time.Time{}); d.Accepted || d.Message == "" {
		t.Errorf("the idle termination of a busy node: %+v", d)
	}
	if d := drain("busy-pod", gcs.Preemption, time.Now().Add(time.Hour)); !d.Accepted {
		t.Errorf("the preemption of a busy node: %+v", d)
	}
	if d := drain("idle-pod", gcs.IdleTermination, time.Time{}); !d.Accepted {
		t.Errorf("the idle termination of an idle node: %+v", d)
	}
	within(t, "the drained idle node to end itself, the busy one to go on", func() string {
		s := status(t, head)
		_, idle := s.Node("idle-pod")
		busy, there := s.Node("busy-pod")
		if !idle && there && busy.Status == demand.Draining && busy.IdleFor == 0 {
			return ""
		}
		return cmp.Diff(demand.State{}, s)
	})
	ray.record(t, "drained")
	// Who waits for a preempted node to finish waits for this: when its work ends, so does the node, long
	// before its deadline.
	ended()
	within(t, "the preempted node to end itself when its work is done", func() string {
		s := status(t, head)
		if n, there := s.Node("busy-pod"); there {
			return cmp.Diff(demand.Node{}, n)
		}
		return ""
	})
}

// A poller hears of a real head what a client does, and asks it to drain over the same connection.
func TestPoller(t *testing.T) {
	ray := startHead(t)
	ray.worker(t, "idle-pod", "workers", "--num-cpus=1")
	p := gcs.NewPoller(gcs.Options{Every: 200 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Start(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	p.Watch([]gcs.Target{{UID: "u", Name: "a real Ray", Address: ray.address}})
	var idle demand.Node
	within(t, "the worker to be heard of as idle, and the head as well", func() string {
		a, _ := p.Last("u")
		n, _ := a.State.Node("idle-pod")
		head, _ := a.State.Node("head-pod")
		if idle = n; a.Fresh(time.Now(), gcs.FreshWithin) && n.Status == demand.Idle && n.IdleFor > 0 && head.Status == demand.Idle {
			return ""
		}
		return fmt.Sprintf("%+v", a)
	})
	if d, err := p.Drain(t.Context(), "u", gcs.DrainRequest{Node: idle.ID, Reason: gcs.IdleTermination, Message: "test"}); err != nil || !d.Accepted {
		t.Errorf("drain: %+v, %v", d, err)
	}
	within(t, "the worker to be gone", func() string {
		a, _ := p.Last("u")
		if _, there := a.State.Node("idle-pod"); there {
			return cmp.Diff(demand.State{}, a.State)
		}
		return ""
	})
}

func TestToken(t *testing.T) {
	const token = "a-token-of-more-than-thirty-two-characters"
	ray := startHead(t, "RAY_AUTH_MODE=token", "RAY_AUTH_TOKEN="+token)
	for name, wrong := range map[string]string{"no token": "", "a wrong token": "wrong"} {
		_, err := ray.client(t, wrong).Status(t.Context())
		if !gcs.Denied(err) {
			t.Errorf("with %s: %v", name, err)
		}
		t.Logf("with %s: %v", name, err)
	}
	if s := status(t, ray.client(t, token)); len(s.Nodes) != 1 {
		t.Errorf("with the token: %+v", s)
	}
}

// wanted is what program.py waits for.
func wanted() demand.State {
	asks := func(gpus, cpus int64) demand.Shape {
		return demand.Shape{Resources: snapshot.Resources{MilliGPU: gpus * 1000, MilliCPU: cpus * 1000}}
	}
	model, license, zone, actor := asks(1, 1), asks(0, 1), asks(1, 1), asks(0, 16)
	model.Accelerator = "A10G"
	license.Custom = []demand.Custom{{Name: "license", Milli: 500}}
	zone.Selector = []demand.Selector{{Key: "zone", Values: []string{"a", "b"}}}
	actor.Memory = 1 << 40
	s := demand.State{
		Loose: []demand.Loose{{Shape: asks(4, 1), Count: 5}, {Shape: model, Count: 2}, {Shape: zone, Count: 1}, {Shape: actor, Count: 1}, {Shape: license, Count: 1}},
		Gangs: []demand.Gang{
			{Bundles: slices.Repeat([]demand.Shape{asks(1, 1)}, 4), Spread: true},
			{Bundles: slices.Repeat([]demand.Shape{asks(1, 0)}, 3), Together: true},
			{Bundles: slices.Repeat([]demand.Shape{asks(2, 0)}, 2)},
		},
	}
	slices.SortFunc(s.Loose, func(a, b demand.Loose) int { return demand.Compare(a.Shape, b.Shape) })
	return s
}

func (c *cluster) client(t *testing.T, token string) *gcs.Client {
	t.Helper()
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
	head, err := gcs.NewClient(gcs.Target{Name: "a real Ray", Address: c.address, Token: token}, dial, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { head.Close() })
	return head
}

func status(t *testing.T, head *gcs.Client) demand.State {
	t.Helper()
	s, err := head.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func node(t *testing.T, s demand.State, pod string) demand.Node {
	t.Helper()
	n, ok := s.Node(pod)
	if !ok {
		t.Fatalf("Ray knows no node of pod %s: %+v", pod, s.Nodes)
	}
	return n
}

// within waits until nothing is missing.
func within(t *testing.T, what string, missing func() string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		rest := missing()
		if rest == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited %s for %s; missing (-want +got):\n%s", patience, what, rest)
		}
	}
}

// record keeps an answer as it came, with fields that our protocol does not name.
func (c *cluster) record(t *testing.T, name string) {
	t.Helper()
	if !*update {
		return
	}
	conn, err := grpc.NewClient("passthrough:///"+c.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	reply, err := autoscalerpb.NewAutoscalerStateServiceClient(conn).GetClusterStatus(t.Context(), &autoscalerpb.GetClusterStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	wire, err := proto.MarshalOptions{Deterministic: true}.Marshal(reply)
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join("..", "..", "pkg", "ray", "gcs", "testdata", "ray-"+os.Getenv("CAPMGR_RAY_VERSION"))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, name+".binpb"), wire, 0o644); err != nil {
		t.Fatal(err)
	}
}
