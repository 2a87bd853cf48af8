package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/capmgr/capmgr/api/v1alpha1"
)

// review shows a handler an object and returns what becomes of it.
func review(t *testing.T, h admission.Handler, object string) (string, admission.Response) {
	t.Helper()
	r := h.Handle(t.Context(), admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{Namespace: "ml", Object: runtime.RawExtension{Raw: []byte(object)}}})
	if len(r.Patches) == 0 {
		return object, r
	}
	ops, err := json.Marshal(r.Patches)
	if err != nil {
		t.Fatal(err)
	}
	p, err := jsonpatch.DecodePatch(ops)
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.Apply([]byte(object))
	if err != nil {
		t.Fatalf("the patch %s does not fit %s: %v", ops, object, err)
	}
	return string(out), r
}

func alike(t *testing.T, reason, want, got string) {
	t.Helper()
	var w, g any
	if err := errors.Join(json.Unmarshal([]byte(want), &w), json.Unmarshal([]byte(got), &g)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("%s (-want +got):\n%s", reason, diff)
	}
}

func stamper(labels map[string]string) *Stamper {
	return &Stamper{Scheduler: "capmgr", Lookup: func(_ context.Context, kind, namespace, name string) (*metav1.PartialObjectMetadata, error) {
		if namespace != "ml" || name != "train" || kind != "RayCluster" && kind != "RayJob" {
			return nil, nil
		}
		return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: "train", UID: types.UID("u"), Labels: labels}}, nil
	}}
}

func owned(kind, name, uid string, controller bool) string {
	text, err := json.Marshal([]metav1.OwnerReference{{APIVersion: "ray.io/v1", Kind: kind, Name: name, UID: types.UID(uid), Controller: &controller}})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestPodsAreStampedFromTheirVerifiedOwner(t *testing.T) {
	queued := map[string]string{v1alpha1.QueueLabel: "team-a"}
	by := owned("RayCluster", "train", "u", true)
	plain := `{"metadata":{"ownerReferences":` + by + `},"spec":{"schedulerName":"default-scheduler","fieldOfTomorrow":{"a":1}}}`
	stamped := `{"metadata":{"ownerReferences":` + by + `,"labels":{"kai.scheduler/queue":"team-a"}},"spec":{"schedulerName":"capmgr","fieldOfTomorrow":{"a":1}}}`
	with := func(old, other string) string { return strings.Replace(plain, old, other, 1) }
	cases := map[string]struct {
		reason string
		labels map[string]string
		pod    string
		want   string // "": as it was
	}{
		"Stamped":      {"and nothing else is touched, also what this program does not know", queued, plain, stamped},
		"Legacy":       {"the older key on the owner, the newer on the pod", map[string]string{v1alpha1.LegacyQueueLabel: "team-a"}, plain, stamped},
		"NoScheduler":  {"none is the default one", queued, with(`"schedulerName":"default-scheduler",`, ""), stamped},
		"Forged":       {"a label that the pod's author wrote gives way to the owner's", queued, with(`"spec"`, `"x":0,"spec"`), strings.Replace(stamped, `"spec"`, `"x":0,"spec"`, 1)},
		"Done":         {"a pod that has both is left alone", queued, stamped, ""},
		"ElsewhereOwn": {"who chose another scheduler meant it", queued, with("default-scheduler", "volcano"), ""},
		"NoQueue":      {"an owner without a queue is not capmgr's", nil, plain, ""},
		"OtherUID":     {"an owner of that name, and not that one", queued, with(`"uid":"u"`, `"uid":"forged"`), ""},
		"NoController": {"a reference that controls nothing proves nothing", queued, with(`"controller":true`, `"controller":false`), ""},
		"NoOwner":      {"nobody vouches for it", queued, `{"metadata":{},"spec":{}}`, ""},
		"OtherKind":    {"of another kind", queued, with("RayCluster", "ReplicaSet"), ""},
		"OtherAPI":     {"a kind of the same name of somebody else's", queued, with("ray.io/v1", "example.com/v1"), ""},
		"Missing":      {"an owner that does not exist", queued, with("train", "other"), ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, r := review(t, stamper(tc.labels).Pods(), tc.pod)
			if !r.Allowed {
				t.Fatalf("%s: refused: %+v", tc.reason, r.Result)
			}
			want := tc.want
			if want == "" {
				want = tc.pod
			}
			alike(t, tc.reason, want, got)
		})
	}
}

func TestJobsThatSubmitAreStamped(t *testing.T) {
	queued := map[string]string{v1alpha1.QueueLabel: "team-a"}
	by := owned("RayJob", "train", "u", true)
	job := `{"metadata":{"ownerReferences":` + by + `},"spec":{"backoffLimit":2,"template":%s}}`
	cases := map[string]struct{ reason, template, want string }{
		"Plain":     {"KubeRay's own template has no metadata", `{"spec":{}}`, `{"metadata":{"labels":{"kai.scheduler/queue":"team-a"}},"spec":{"schedulerName":"capmgr"}}`},
		"Annotated": {"a user's template keeps what it has", `{"metadata":{"annotations":{"a":"b"}},"spec":{}}`, `{"metadata":{"annotations":{"a":"b"},"labels":{"kai.scheduler/queue":"team-a"}},"spec":{"schedulerName":"capmgr"}}`},
		"Labelled":  {"also labels", `{"metadata":{"labels":{"c":"d"}},"spec":{}}`, `{"metadata":{"labels":{"c":"d","kai.scheduler/queue":"team-a"}},"spec":{"schedulerName":"capmgr"}}`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, r := review(t, stamper(queued).Jobs(), strings.Replace(job, "%s", tc.template, 1))
			if !r.Allowed {
				t.Fatalf("refused: %+v", r.Result)
			}
			alike(t, tc.reason, strings.Replace(job, "%s", tc.want, 1), got)
		})
	}
}

func TestAnOwnerThatCannotBeReadIsAnError(t *testing.T) {
	s := &Stamper{Scheduler: "capmgr", Lookup: func(context.Context, string, string, string) (*metav1.PartialObjectMetadata, error) {
		return nil, errors.New("the API server is away")
	}}
	// The API server takes it for no answer, and goes on.
	if _, r := review(t, s.Pods(), `{"metadata":{"ownerReferences":`+owned("RayCluster", "train", "u", true)+`}}`); r.Allowed || r.Result.Code != 500 {
		t.Errorf("got %+v", r)
	}
	if _, r := review(t, s.Pods(), `{`); r.Allowed || r.Result.Code != 400 {
		t.Errorf("got %+v", r)
	}
}

func TestRayJobsAreHeld(t *testing.T) {
	h := &Holder{Holds: func(queue string, annotations map[string]string) bool {
		return queue == "held" || annotations[v1alpha1.HoldAnnotation] == v1alpha1.HoldSuspend
	}}
	cases := map[string]struct {
		reason, job, want string
		warned            bool
	}{
		"ByItsQueue": {"suspended, and noted as capmgr's", `{"metadata":{"labels":{"kai.scheduler/queue":"held"}},"spec":{"shutdownAfterJobFinishes":true,"fieldOfTomorrow":1}}`,
			`{"metadata":{"labels":{"kai.scheduler/queue":"held"},"annotations":{"capmgr.io/suspension":"until-granted"}},"spec":{"shutdownAfterJobFinishes":true,"fieldOfTomorrow":1,"suspend":true}}`, false},
		"ByItsUser": {"an annotation of his", `{"metadata":{"labels":{"kai.scheduler/queue":"q"},"annotations":{"capmgr.io/hold":"suspend"}},"spec":{"shutdownAfterJobFinishes":true}}`,
			`{"metadata":{"labels":{"kai.scheduler/queue":"q"},"annotations":{"capmgr.io/hold":"suspend","capmgr.io/suspension":"until-granted"}},"spec":{"shutdownAfterJobFinishes":true,"suspend":true}}`, false},
		"MadeToWait": {"he suspended it himself, so that it waits", `{"metadata":{"labels":{"kai.scheduler/queue":"q"},"annotations":{"capmgr.io/hold":"suspend"}},"spec":{"shutdownAfterJobFinishes":true,"suspend":true}}`,
			`{"metadata":{"labels":{"kai.scheduler/queue":"q"},"annotations":{"capmgr.io/hold":"suspend","capmgr.io/suspension":"until-granted"}},"spec":{"shutdownAfterJobFinishes":true,"suspend":true}}`, false},
		"Stopped":     {"he suspended it, and did not say why: it is his", `{"metadata":{"labels":{"kai.scheduler/queue":"held"}},"spec":{"shutdownAfterJobFinishes":true,"suspend":true}}`, "", false},
		"NotHeld":     {"his queue holds nobody", `{"metadata":{"labels":{"kai.scheduler/queue":"q"}},"spec":{"shutdownAfterJobFinishes":true}}`, "", false},
		"NotOurs":     {"no queue, no capmgr", `{"metadata":{"annotations":{"capmgr.io/hold":"suspend"}},"spec":{"shutdownAfterJobFinishes":true}}`, "", false},
		"KeepCluster": {"KubeRay would call it invalid; he is told", `{"metadata":{"labels":{"kai.scheduler/queue":"held"}},"spec":{}}`, "", true},
		"Selector":    {"the cluster is another's", `{"metadata":{"labels":{"kai.scheduler/queue":"held"}},"spec":{"shutdownAfterJobFinishes":true,"clusterSelector":{"ray.io/cluster":"x"}}}`, "", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, r := review(t, h.RayJobs(), tc.job)
			want := tc.want
			if want == "" {
				want = tc.job
			}
			if !r.Allowed || tc.warned != (len(r.Warnings) > 0) {
				t.Errorf("%s: %+v", tc.reason, r)
			}
			alike(t, tc.reason, want, got)
		})
	}
}

func TestCertificatesAreRenewedInTime(t *testing.T) {
	hosts := []string{"capmgr-webhook.capmgr-system.svc", "127.0.0.1"}
	now := time.Now()
	first, fresh, err := Renew(nil, hosts, now)
	if err != nil || !fresh {
		t.Fatalf("%v, %v", fresh, err)
	}
	if _, fresh, err := Renew(first, hosts, now.Add(59*24*time.Hour)); fresh || err != nil {
		t.Errorf("renewed after 59 of 90 days: %v", err)
	}
	second, fresh, err := Renew(first, hosts, now.Add(61*24*time.Hour))
	if err != nil || !fresh {
		t.Fatalf("not renewed after 61 of 90 days: %v", err)
	}
	// Until every replica shows the new one, the API server takes both.
	old := map[string][]byte{CertKey: first[CertKey], KeyKey: first[KeyKey], CAKey: second[CAKey]}
	if !good(old, hosts, now) || !good(second, hosts, now) {
		t.Error("the authorities do not cover both certificates")
	}
	third, _, err := Renew(second, hosts, now.Add(200*24*time.Hour))
	if err != nil || strings.Count(string(third[CAKey]), "BEGIN") != 2 {
		t.Errorf("authorities pile up: %d, %v", strings.Count(string(third[CAKey]), "BEGIN"), err)
	}
	if _, fresh, _ := Renew(first, append(hosts, "10.0.0.1"), now); !fresh {
		t.Error("a host that was added is not in the certificate")
	}
	for name, broken := range map[string]map[string][]byte{"Empty": {}, "Garbage": {CertKey: []byte("x"), KeyKey: []byte("y")}} {
		if _, fresh, err := Renew(broken, hosts, now); !fresh || err != nil {
			t.Errorf("%s: fresh %v, %v", name, fresh, err)
		}
	}
}
