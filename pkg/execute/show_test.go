package execute_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
)

// says maps pods to what their condition PodScheduled says, and after an arrow the node that is to be
// theirs.
func (b *bazaar) says() map[string]string {
	b.t.Helper()
	out := map[string]string{}
	pods, err := b.kube.CoreV1().Pods("default").List(b.t.Context(), metav1.ListOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, p := range pods.Items {
		out[p.Name] = ""
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled {
				out[p.Name] = string(c.Status) + " " + c.Reason
			}
		}
		if node := p.Status.NominatedNodeName; node != "" {
			out[p.Name] += " -> " + node
		}
	}
	return out
}

// of makes a pod the member of another gang, or of none.
func of(owner string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		if p.OwnerReferences[0].Name, p.OwnerReferences[0].UID = owner, "uid-"+p.OwnerReferences[0].UID; owner == "" {
			p.OwnerReferences = nil
		}
	}
}

func unschedulable(p *corev1.Pod) {
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable}}
}

// Only the pods that a purchase was decided for are shown to other autoscalers, for as long as it is
// open and their node has not come.
func TestShownPods(t *testing.T) {
	waits := &plan.Verdict{Gang: plan.Owner{APIVersion: "ray.io/v1", Kind: "RayCluster", Namespace: "default", Name: "other", UID: "uid-u"},
		Reason: plan.WaitingForQuota, Message: "others use it"}
	buys := &plan.Verdict{Gang: train, Reason: plan.WaitingForNodes, Message: "0 of 2 nodes are usable"}
	verdicts := []*plan.Verdict{waits, buys}
	bubble(t, v1alpha1.ProviderSignal, func(b *bazaar) {
		b.pod("c", of("other"))
		b.turn(verdicts, b.buys()...)
		check := func(what string, want map[string]string) {
			b.t.Helper()
			if diff := cmp.Diff(want, b.says()); diff != "" {
				b.t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
		check("the two of the purchase, and no other", map[string]string{"a": "False Unschedulable", "b": "False Unschedulable", "c": "False WaitingForQuota"})

		// Somebody else's hand.
		p, _ := b.kube.CoreV1().Pods("default").Get(b.t.Context(), "a", metav1.GetOptions{})
		p.Status.Conditions = nil
		if _, err := b.kube.CoreV1().Pods("default").UpdateStatus(b.t.Context(), p, metav1.UpdateOptions{}); err != nil {
			b.t.Fatal(err)
		}
		b.see(b.t.Context())
		b.turn(verdicts)
		check("said again", map[string]string{"a": "False Unschedulable", "b": "False Unschedulable", "c": "False WaitingForQuota"})

		b.node("n1", nil)
		b.turn(verdicts)
		check("a's node has come; nobody need make another", map[string]string{"a": "False Unschedulable -> n1", "b": "False Unschedulable", "c": "False WaitingForQuota"})

		b.turn(verdicts, plan.Settle{Namespace: "default", Request: "x", State: plan.RequestFailed, Reason: v1alpha1.ReasonProvisionTimeout, Message: "late"})
		buys.Reason, buys.Message = plan.BackingOff, "nodes were bought for it and did not become usable in time"
		b.turn([]*plan.Verdict{waits, buys})
		check("the purchase is over: withdrawn", map[string]string{"a": "False BackingOff", "b": "False BackingOff", "c": "False WaitingForQuota"})

		buys.Reason, buys.Message = plan.Running, "2 of 3 pods are bound"
		b.turn([]*plan.Verdict{waits, buys})
		check("a member that a running gang can do without", map[string]string{"a": "False Waiting", "b": "False Waiting", "c": "False WaitingForQuota"})
	})
}

// The condition of a pod that is a gang of its own has two writers, which say the same.
func TestASinglePodIsShown(t *testing.T) {
	bubble(t, v1alpha1.ProviderSignal, func(b *bazaar) {
		b.pod("single", of(""))
		owner := plan.Owner{APIVersion: "v1", Kind: "Pod", Namespace: "default", Name: "single", UID: "uid-single"}
		buys := &plan.Verdict{Gang: owner, Reason: plan.WaitingForNodes, Message: "its node is not usable yet"}
		p := plan.Purchase{Group: "asked", Count: 1, Token: "token", Pods: []plan.Tenant{{PodRef: plan.PodRef{Namespace: "default", Name: "single", UID: "uid-single"}}}}
		b.turn([]*plan.Verdict{buys},
			plan.Book{Gang: owner, Queue: "team-a", Request: "x", Attempt: 1, Purchases: []plan.Purchase{p}},
			plan.GrowNodeGroup{Namespace: "default", Request: "x", Purchase: p})
		if got := b.says()["single"]; got != "False Unschedulable" {
			b.t.Errorf("the verdict has hidden it: %s", got)
		}
		b.turn([]*plan.Verdict{buys}, plan.Settle{Namespace: "default", Request: "x", State: plan.RequestReleased, Reason: v1alpha1.ReasonNotNeeded, Message: "found room"})
		b.turn([]*plan.Verdict{buys}) // the same as was said before
		if got := b.says()["single"]; got != "False WaitingForNodes" {
			b.t.Errorf("nobody is to make a node for it any more: %s", got)
		}
	})
}

// Where no group is grown by a signal, nothing is written on the pods of a gang, unless somebody has
// marked them before capmgr came.
func TestNobodyIsShownWithoutASignalGroup(t *testing.T) {
	waits := &plan.Verdict{Gang: train, Reason: plan.WaitingForQuota, Message: "others use it"}
	bubble(t, v1alpha1.ProviderProvisioningRequest, func(b *bazaar) {
		b.pod("marked", unschedulable)
		b.pod("nobodys", unschedulable, of("unknown"))
		b.pod("bound", unschedulable, func(p *corev1.Pod) { p.Spec.NodeName = "n" })
		b.pod("foreign", unschedulable, func(p *corev1.Pod) { p.Spec.SchedulerName = "default-scheduler" })
		b.turn([]*plan.Verdict{waits})
		want := map[string]string{"a": "", "b": "", "marked": "False WaitingForQuota", "nobodys": "False Waiting",
			"bound": "False Unschedulable", "foreign": "False Unschedulable"}
		if diff := cmp.Diff(want, b.says()); diff != "" {
			b.t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// A thousand pods that only say why they wait do not hold up those that nodes are to be made for.
func TestThoseThatAreAskedForComeFirst(t *testing.T) {
	waits := &plan.Verdict{Gang: plan.Owner{APIVersion: "ray.io/v1", Kind: "RayCluster", Namespace: "default", Name: "other", UID: "uid-u"},
		Reason: plan.WaitingForQuota, Message: "others use it"}
	bubble(t, v1alpha1.ProviderSignal, func(b *bazaar) {
		for k := range 300 {
			b.pod("z"+time.Duration(k).String(), of("other"))
		}
		b.turn([]*plan.Verdict{waits}, b.buys()...)
		said := b.says()
		if said["a"] != "False Unschedulable" || said["b"] != "False Unschedulable" {
			b.t.Errorf("a %s, b %s", said["a"], said["b"])
		}
		b.turn([]*plan.Verdict{waits})
		for name, text := range b.says() {
			if text == "" {
				b.t.Errorf("%s says nothing", name)
			}
		}
	})
}
