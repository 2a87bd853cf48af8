package execute

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/state"
)

// again is the pace at which a call is repeated whose outcome is unknown or that was throttled.
var again = wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 1 << 30, Cap: 20 * time.Second}

// book writes the intent to buy. The name is a function of gang and attempt: writing it twice is
// one object.
//
// Where the answer is lost, or the object was there already, the mirror did not know all that is booked,
// and the rest of the plan has counted without it: see settleDoubts.
func (e *Executor) book(ctx context.Context, b plan.Book) error {
	r := &v1alpha1.CapacityRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: b.Gang.Namespace, Name: b.Request,
			Labels: map[string]string{v1alpha1.ShapeLabel: b.Shape},
		},
		Spec: v1alpha1.CapacityRequestSpec{
			Gang:  v1alpha1.GangReference{APIVersion: b.Gang.APIVersion, Kind: b.Gang.Kind, Name: b.Gang.Name, UID: types.UID(b.Gang.UID)},
			Queue: b.Queue, Attempt: b.Attempt, HourlyCost: v1alpha1.Dollars(b.HourlyCost).String(),
		},
	}
	if b.Gang.Kind != v1alpha1.NodeGroupKind { // a group of the configuration is no object
		r.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: b.Gang.APIVersion, Kind: b.Gang.Kind, Name: b.Gang.Name, UID: types.UID(b.Gang.UID)}}
	}
	for _, p := range b.Purchases {
		n := v1alpha1.NodeRequest{NodeGroup: p.Group, Count: int32(p.Count), Zone: p.Zone, ClientToken: p.Token} //nolint:gosec // bounded by the group's maximum
		for _, pod := range p.Pods {
			n.Pods = append(n.Pods, v1alpha1.PodReference{Name: pod.Name, UID: types.UID(pod.UID), Node: int32(pod.Node)}) //nolint:gosec // below the count
		}
		r.Spec.Nodes = append(r.Spec.Nodes, n)
	}
	if err := e.countGrowth(ctx, b); err != nil {
		return fmt.Errorf("book nodes for %s: %w", b.Gang, err)
	}
	err := e.Client.Create(ctx, r)
	switch {
	case apierrors.IsAlreadyExists(err):
		e.doubts = append(e.doubts, client.ObjectKeyFromObject(r))
		return nil
	case err != nil:
		if !answered(err) {
			e.doubts = append(e.doubts, client.ObjectKeyFromObject(r))
		}
		return fmt.Errorf("book nodes for %s: %w", b.Gang, err)
	}
	e.Mirror.AssumeRequest(r)
	e.Log.Info("Booked nodes", "gang", b.Gang.String(), "request", r.Name, "attempt", b.Attempt,
		"nodeGroups", r.Spec.GroupNames(), "count", r.Spec.TotalNodes(), "dollarsPerHour", r.Spec.HourlyCost)
	e.event(b.Gang, "Normal", "ScaleUpRequested", "Requested "+b.Nodes())
	return nil
}

// settleDoubts finds out which requests were written although nobody said so. As long as that is not
// known, and in the plan that did not know it, nothing more is booked: what is bought already would not
// count.
func (e *Executor) settleDoubts(ctx context.Context) error {
	for len(e.doubts) > 0 {
		r := &v1alpha1.CapacityRequest{}
		err := e.Client.Get(ctx, e.doubts[0], r)
		switch {
		case err == nil:
			e.Mirror.AssumeRequest(r)
		case !apierrors.IsNotFound(err):
			return fmt.Errorf("find out whether CapacityRequest %s was written: %w", e.doubts[0], err)
		}
		e.doubts = e.doubts[1:]
	}
	return nil
}

// launchesWithin is how long a launch may take, as a rule, of which nobody lives to write down when it was.
const launchesWithin = time.Minute

// countGrowth writes down a purchase for the limit on growth, which outlives the gang and its request.
func (e *Executor) countGrowth(ctx context.Context, b plan.Book) error {
	if !e.Mirror.LimitsGrowth() {
		return nil
	}
	// The hour begins with the launch, which is yet to come and written down when it is known.
	next := state.Bought{Request: b.Gang.Namespace + "/" + b.Request, At: e.Now().Add(launchesWithin)}
	for _, p := range b.Purchases {
		next.Nodes += p.Count
	}
	e.Mirror.NoteBought(next)
	return e.keep(ctx)
}

// keepGrowth writes down what has become of purchases.
func (e *Executor) keepGrowth(ctx context.Context) error {
	if !e.Mirror.LimitsGrowth() {
		return nil
	}
	return e.keep(ctx)
}

// grow starts acquiring the request that a step belongs to. All its groups are launched together. Where
// the request could not be written, nothing is launched, and the next decision asks again.
func (e *Executor) grow(ctx context.Context, g plan.GrowNodeGroup) {
	if r := e.Mirror.Request(g.Namespace, g.Request); r != nil {
		e.acquire(ctx, r)
	}
}

// Resume finishes what CapacityRequests say and nobody is doing: launches whose answer was never
// recorded, with the same tokens, and returns that were cut short. It also tidies up.
func (e *Executor) Resume(ctx context.Context) {
	e.tidy(ctx)
	e.keepShapes(ctx)
	e.forgive(ctx)
	e.holdNodes(ctx)
	e.unnote(ctx)
	for _, r := range e.Mirror.OpenRequests() {
		if isTrue(r, v1alpha1.ConditionFailed) {
			e.once(acquiring+keyOf(r), func() { e.giveBack(ctx, r, r.Status.Nodes) })
			continue
		}
		e.acquire(ctx, r)
	}
}

// acquiring is what the work on a request is called among what is in flight, with its name.
const acquiring = "acquire "

// forNobody says whether a launch may be under way of which the request is gone, with its gang: no snapshot
// counts what it brings.
func (e *Executor) forNobody() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for key := range e.inFlight {
		namespace, name, ok := strings.Cut(strings.TrimPrefix(key, acquiring), "/")
		if ok && strings.HasPrefix(key, acquiring) && e.Mirror.Request(namespace, name) == nil {
			return true
		}
	}
	return false
}

func (e *Executor) acquire(ctx context.Context, r *v1alpha1.CapacityRequest) {
	e.once(acquiring+keyOf(r), func() {
		wait, stop := context.WithCancelCause(ctx)
		defer stop(nil)
		e.waitFor(r, stop)
		defer e.waitFor(r, nil)
		e.accept(ctx, r)
		results := e.launchAll(ctx, wait, stop, r)
		var over settled
		switch {
		case ctx.Err() != nil: // the successor repeats the same tokens
		case errors.As(failureOf(results), &over):
			e.conclude(ctx, r, results, over.by)
		default:
			e.record(ctx, r, results)
		}
	})
}

// waitFor lets others end the wait for what other autoscalers were asked for; nil: there is none.
func (e *Executor) waitFor(r *v1alpha1.CapacityRequest, stop context.CancelCauseFunc) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.waits == nil {
		e.waits = map[string]context.CancelCauseFunc{}
	}
	delete(e.waits, keyOf(r))
	if stop != nil {
		e.waits[keyOf(r)] = stop
	}
}

// accept lets the users see a purchase while the cloud is being asked, which may take a minute. That
// it fails is no reason not to ask.
func (e *Executor) accept(ctx context.Context, r *v1alpha1.CapacityRequest) {
	if isTrue(r, v1alpha1.ConditionAccepted) {
		return
	}
	if err := e.patchStatus(ctx, r, nil, condition(v1alpha1.ConditionReady, false, v1alpha1.ReasonRequested, "the nodes are being asked for")); err != nil {
		e.Log.V(1).Info("Could not write that a purchase has begun", "request", r.Name, "reason", err.Error())
	}
}

// launched is one group's answer.
type launched struct {
	group     string
	instances []string
	err       error
}

// failureOf joins what went wrong with the groups of a request.
func failureOf(results []launched) (failure error) {
	for _, l := range results {
		failure = errors.Join(failure, l.err)
	}
	return failure
}

// launchAll launches every group of a request in parallel and waits for all answers. Where another
// autoscaler makes the nodes, that takes until they have come, or until wait ends; stop ends it when
// another group fails: none of them is of use then.
func (e *Executor) launchAll(ctx, wait context.Context, stop context.CancelCauseFunc, r *v1alpha1.CapacityRequest) []launched {
	results := make([]launched, len(r.Spec.Nodes))
	var all sync.WaitGroup
	var first firstCame
	for k, n := range r.Spec.Nodes {
		all.Go(func() {
			d, until := e.delegate(n.NodeGroup), ctx
			if d != nil {
				until = wait
			}
			ids, err := e.launch(ctx, until, r, n, &first)
			if d != nil && err == nil {
				ids, err = e.follow(wait, d, r, n)
			}
			if err != nil {
				stop(errUnwanted)
			}
			results[k] = launched{n.NodeGroup, slices.Sorted(slices.Values(ids)), err}
		})
	}
	all.Wait()
	return results
}

// launch asks the cloud until it has an answer. The same token makes the repetition safe. A call is
// never cut short but by ctx; when until ends, it is not repeated.
func (e *Executor) launch(ctx, until context.Context, r *v1alpha1.CapacityRequest, n v1alpha1.NodeRequest, first *firstCame) (ids []string, err error) {
	g := e.Mirror.GroupOf(n.NodeGroup)
	if g == nil {
		return nil, fmt.Errorf("node group %s is not configured any more: %w", n.NodeGroup, cloud.ErrRejected)
	}
	pace := again
	for {
		if until.Err() != nil {
			return nil, context.Cause(until)
		}
		if err == nil || errors.Is(err, cloud.ErrThrottled) { // else it may have been launched, and must be known
			if e.Mirror.Request(r.Namespace, r.Name) == nil {
				return nil, errGone
			}
		}
		if err = e.mark(ctx, r, n); err == nil {
			ids, err = e.Providers[g.Provider].Launch(ctx, e.launchRequest(r, n))
		}
		if len(ids) > 0 {
			first.note(e.Now())
		}
		throttled := errors.Is(err, cloud.ErrThrottled)
		if !throttled && !errors.Is(err, cloud.ErrUnknownOutcome) {
			return ids, err
		}
		// What has no answer may have been done, and must be known. What was throttled was not.
		if throttled && (first.since(e.Now()) > partialFor || e.Now().Sub(r.CreationTimestamp.Time) > g.ProvisionTimeout.Duration) {
			return ids, err
		}
		e.Log.Info("Repeating a launch with the same token", "request", r.Name, "nodeGroup", n.NodeGroup, "reason", err.Error())
		if !sleep(until, pace.Step()) {
			return ids, context.Cause(until)
		}
	}
}

// errGone ends the launches of a request that nobody wants any more.
var errGone = errors.New("its gang is gone")

// partialFor is how long a part of a purchase is asked for after another part has come. What came bills
// and serves nobody, and a minute is all that it may, with the longest pause between two calls and the
// time that giving back takes.
const partialFor = 30 * time.Second

// firstCame is when the first instances of a purchase came.
type firstCame struct {
	mu sync.Mutex
	at time.Time
}

func (f *firstCame) note(at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at.IsZero() {
		f.at = at
	}
}

// since is how long ago that was; zero when nothing has come.
func (f *firstCame) since(now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at.IsZero() {
		return 0
	}
	return now.Sub(f.at)
}

// record writes what came of the launches: Provisioned when every instance exists, else Failed and
// everything that came is given back.
func (e *Executor) record(ctx context.Context, r *v1alpha1.CapacityRequest, results []launched) {
	var nodes []v1alpha1.NodeStatus
	var failure error
	for _, l := range results {
		nodes = append(nodes, e.statusFor(l))
		if l.err != nil && !errors.Is(l.err, errUnwanted) {
			failure = errors.Join(failure, l.err)
		}
	}
	if failure == nil {
		if err := e.Observe(ctx); err != nil { // so that the next snapshot knows the instances
			e.Log.V(1).Info("Could not observe the cloud after a launch", "reason", err.Error())
		}
		e.Log.Info("Launched nodes", "request", r.Name, "count", r.Spec.TotalNodes())
		e.setStatus(ctx, r, func(s *v1alpha1.CapacityRequestStatus) {
			s.Nodes = nodes
		}, condition(v1alpha1.ConditionProvisioned, true, v1alpha1.ReasonLaunched, fmt.Sprintf("%d instances exist", r.Spec.TotalNodes())),
			condition(v1alpha1.ConditionReady, false, v1alpha1.ReasonLaunched, "the nodes boot"))
		if err := e.keepGrowth(ctx); err != nil {
			e.Log.V(1).Info("Could not write when a purchase was made", "request", r.Name, "reason", err.Error())
		}
		return
	}
	e.Log.Info("Could not acquire all nodes; giving back what came", "request", r.Name, "reason", failure.Error())
	// Written before the cloud is read again: what came is on its way out, and must not pass for
	// nodes that are on their way to somebody.
	e.setStatus(ctx, r, func(s *v1alpha1.CapacityRequestStatus) {
		s.Nodes = nodes
	}, condition(v1alpha1.ConditionFailed, true, FailureReason(failure), failure.Error()),
		condition(v1alpha1.ConditionReady, false, FailureReason(failure), failure.Error()))
	e.giveBack(ctx, r, nodes)
}

// statusFor is what came of the part of a request that went to one group.
func (e *Executor) statusFor(l launched) v1alpha1.NodeStatus {
	st := v1alpha1.NodeStatus{NodeGroup: l.group, Instances: l.instances}
	var over settled
	switch {
	case l.err == nil:
	case errors.Is(l.err, errUnwanted), errors.Is(l.err, errGone), errors.Is(l.err, cloud.ErrStale):
		st.Message = brief(l.err.Error())
	case errors.As(l.err, &over):
	default:
		st.Message, st.Refusal = brief(l.err.Error()), Refusal(e.Mirror, l.group, l.err, e.Now())
	}
	return st
}

// giveBack terminates by name what came of a failed request, until it is gone, and withdraws what
// other autoscalers were asked for. What they have made already, they remove. What has become a node
// meanwhile may have work: the answer to a launch may be known only to the next process, long after.
func (e *Executor) giveBack(ctx context.Context, r *v1alpha1.CapacityRequest, nodes []v1alpha1.NodeStatus) {
	e.withdraw(ctx, r)
	if ctx.Err() != nil {
		return
	}
	for _, n := range nodes {
		g := e.Mirror.GroupOf(n.NodeGroup)
		if len(n.Instances) == 0 || g == nil || e.delegate(n.NodeGroup) != nil {
			continue
		}
		for pace := again; ; {
			err := e.giveBackFrom(ctx, g, n.Instances)
			if err == nil {
				break
			}
			e.Log.Info("Giving back instances failed; trying again", "request", r.Name, "nodeGroup", n.NodeGroup, "reason", err.Error())
			if !sleep(ctx, pace.Step()) {
				return
			}
		}
	}
	// Read before it is written that they are returned: from then on they count as the cloud lists them.
	if err := e.Observe(ctx); err != nil {
		e.Log.V(1).Info("Could not observe the cloud after giving back", "reason", err.Error())
	}
	e.setStatus(ctx, r, nil, condition(v1alpha1.ConditionReleased, true, v1alpha1.ReasonNodesReturned, "whatever came has been given back"))
}

// giveBackFrom terminates instances of one group: those that are no nodes at once, the others one by one
// when nothing runs there. One that works stays, as an ordinary node.
func (e *Executor) giveBackFrom(ctx context.Context, g *v1alpha1.NodeGroup, instances []string) error {
	var bare []string
	for _, id := range instances {
		node := e.Mirror.NodeOf(id)
		if node == "" {
			bare = append(bare, id)
			continue
		}
		if ended, err := e.end(ctx, g, id, node); err != nil {
			return err
		} else if !ended {
			e.Log.Info("Kept a node of a purchase that failed: it has work", "node", node, "instance", id)
		}
	}
	if len(bare) == 0 {
		return nil
	}
	return e.Providers[g.Provider].Terminate(ctx, state.GroupConfig(*g), bare)
}

// sleep waits, or says that ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
