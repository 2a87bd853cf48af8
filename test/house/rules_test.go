package house

import "strings"

// rule is one rule of the house.
type rule struct {
	name   string
	check  func(rooms []room) []string // what breaks it, one line each
	broken []fixture                   // each of them breaks it
	kept   []fixture                   // none of them does
}

// manager is the program whose links the rules speak of.
const manager = "cmd/capmgr"

// pure are the rooms that decide: the same snapshot in, the same plan out.
var pure = []string{"pkg/snapshot", "pkg/plan", "pkg/scheduler", "pkg/scaling"}

var rules = []rule{
	{
		name:  "the snapshot imports nothing of ours",
		check: importsOnly(map[string][]string{"pkg/snapshot": {}}),
		broken: []fixture{
			{path: "pkg/snapshot", source: `import _ "github.com/capmgr/capmgr/api/v1alpha1"`},
		},
		kept: []fixture{{path: "pkg/snapshot", source: `import _ "k8s.io/api/core/v1"`}},
	},
	{
		// The lower rooms name all they may use, so that a new import is a decision. The upper ones
		// may use what is below them, and never what is above.
		name: "rooms import only the rooms below them",
		check: both(importsOnly(map[string][]string{
			"api":           {"api"},
			"pkg/plan":      {"pkg/snapshot"},
			"pkg/scaling":   {"pkg/snapshot", "pkg/plan"},
			"pkg/scheduler": {"pkg/snapshot", "pkg/plan", "pkg/scaling"},
			"pkg/fit":       {"pkg/snapshot"},
			"pkg/ray":       {"pkg/ray", "pkg/snapshot", "api"},
			"pkg/cloud":     {"pkg/cloud"},
			"pkg/webhook":   {"pkg/snapshot", "pkg/ray", "api"},
			"pkg/state":     {"pkg/snapshot", "pkg/fit", "pkg/ray", "pkg/cloud", "api"},
			"pkg/execute":   {"pkg/snapshot", "pkg/plan", "pkg/fit", "pkg/ray", "pkg/cloud", "pkg/state", "pkg/webhook", "api"},
		}), importsNone([]string{"pkg"}, "cmd", "test", "tools")),
		broken: []fixture{
			{path: "pkg/scheduler", source: `import _ "github.com/capmgr/capmgr/pkg/fit"`},
			{path: "pkg/cloud/aws", source: `import _ "github.com/capmgr/capmgr/pkg/snapshot"`},
			{path: "pkg/state", source: `import _ "github.com/capmgr/capmgr/pkg/scheduler"`},
			{path: "pkg/anything", source: `import _ "github.com/capmgr/capmgr/test/fakeaws"`},
		},
		kept: []fixture{
			{path: "pkg/cloud/aws", source: `import _ "github.com/capmgr/capmgr/pkg/cloud"`},
			{path: "pkg/loop", source: `import _ "github.com/capmgr/capmgr/pkg/scheduler"`},
		},
	},
	{
		name: "deciding is linked with no client and no SDK",
		check: linksNone(pure, "k8s.io/client-go", "sigs.k8s.io/controller-runtime", "github.com/aws",
			"k8s.io/autoscaler", "k8s.io/kubernetes", "github.com/ray-project"),
		broken: []fixture{
			{path: "pkg/plan", deps: []string{"k8s.io/client-go/rest"}},
			{path: "pkg/scaling", deps: []string{"github.com/aws/smithy-go"}},
		},
		kept: []fixture{{path: "pkg/execute", deps: []string{"k8s.io/client-go/rest"}}},
	},
	{
		name: "deciding has no I/O and no randomness",
		check: importsNone(pure, "os", "net", "syscall", "log", "math/rand", "math/rand/v2", "crypto/rand", "runtime",
			"k8s.io/klog"),
		broken: []fixture{
			{path: "pkg/scheduler", source: `import "os/exec"`},
			{path: "pkg/scheduler", source: `import "net/http"`},
			{path: "pkg/plan", source: `import dice "math/rand/v2"`},
		},
		kept: []fixture{{path: "pkg/plan", source: `import "io"`}}, // printing is given its writer
	},
	{
		name:  "deciding reads no clock",
		check: readsNoClock,
		broken: []fixture{
			{path: "pkg/scheduler", source: "import \"time\"\nvar t = time.Now()"},
			{path: "pkg/scaling", source: "import clock \"time\"\nvar now = clock.Now"},
			{path: "pkg/snapshot", source: "import . \"time\"\nvar t = Now()"},
		},
		kept: []fixture{{path: "pkg/scheduler", source: "import \"time\"\nvar d = 3 * time.Minute"}},
	},
	{
		name:  "deciding starts no goroutine and waits for none",
		check: startsNothing,
		broken: []fixture{
			{path: "pkg/scheduler", source: "func f() { go f() }"},
			{path: "pkg/scaling", source: "func f(c chan int) { c <- 1 }"},
			{path: "pkg/plan", source: "func f() { select {} }"},
			{path: "pkg/plan", source: "import \"sync\"\nvar mu sync.Mutex"},
		},
		kept: []fixture{{path: "pkg/execute", source: "func f() { go f() }"}},
	},
	{
		name:  "only pkg/execute writes",
		check: writesNothing,
		broken: []fixture{
			{path: "pkg/state", source: `import "sigs.k8s.io/controller-runtime/pkg/client"`},
			{path: "pkg/ray", source: `import "k8s.io/client-go/dynamic"`},
			{path: "pkg/loop", source: "func f(ctx any, e E) { e.Client.Status().Update(ctx, nil) }"},
			{path: manager, source: "func f(ctx any, w W) { w.provider.Terminate(ctx, nil) }"},
			{path: manager, source: "func f(ctx any, w W) { w.provider.Withdraw(ctx, nil) }"},
			{path: "pkg/cloud/signal", source: `import "sigs.k8s.io/controller-runtime/pkg/client"`},
			{path: asker, source: "func f(ctx any, p P) { p.client.Patch(ctx, nil) }"},
			{path: asker, source: "func f(ctx any, p P) { p.client.Status().Update(ctx, nil) }"},
			{path: "pkg/state", source: "func f(ctx any, p P) { p.Drain(ctx, \"uid\", nil) }"},
			{path: manager, source: "func f(cmd C, k K) { k.Pods(\"a\").EvictV1(cmd.Context(), nil) }"},
		},
		kept: []fixture{
			{path: "pkg/execute", source: "func f(ctx any, c C) { c.Create(ctx, nil) }"},
			{path: "pkg/cloud/aws", source: "func f(ctx any, c C) { c.Terminate(ctx, nil) }"},
			{path: asker, source: "import \"sigs.k8s.io/controller-runtime/pkg/client\"\nfunc f(ctx any, c client.Client) { c.Create(ctx, nil) }"},
			{path: "pkg/ray/gcs", source: "func f(ctx any, c C) { c.Drain(ctx, nil) }"},
			{path: manager, source: "import \"os\"\nvar f, _ = os.Create(\"plan.json\")"},
		},
	},
	{
		// Its home is moving: one room must be enough to follow it.
		name: "Cluster Autoscaler's library stays behind pkg/fit",
		check: importedOnlyBy([]string{"k8s.io/autoscaler", "k8s.io/kubernetes"}, map[string][]string{
			"k8s.io/autoscaler/cluster-autoscaler/apis": {"pkg/cloud/provreq", "test/autoscaler"}, // which plays the other side
			"": {"pkg/fit", "tools", "test/bench"}, // the bench has it as its yardstick
		}),
		broken: []fixture{
			{path: "pkg/state", source: `import _ "k8s.io/autoscaler/cluster-autoscaler/simulator/framework"`},
			{path: "pkg/fit", source: `import _ "k8s.io/autoscaler/cluster-autoscaler/apis/provisioningrequest/autoscaling.x-k8s.io/v1"`},
		},
		kept: []fixture{{path: "pkg/fit", source: `import _ "k8s.io/autoscaler/cluster-autoscaler/simulator/framework"`}},
	},
	{
		name: "the AWS SDK stays behind pkg/cloud/aws",
		check: importedOnlyBy([]string{"github.com/aws"}, map[string][]string{
			"": {"pkg/cloud/aws", "test/fakeaws"},
		}),
		broken: []fixture{{path: "pkg/execute", source: `import _ "github.com/aws/aws-sdk-go-v2/service/ec2"`}},
		kept:   []fixture{{path: "pkg/cloud/aws", source: `import _ "github.com/aws/aws-sdk-go-v2/service/ec2"`}},
	},
	{
		name: "the cloud knows nothing of Kubernetes",
		check: linksNoneExactly([]string{"pkg/cloud", "pkg/cloud/aws", "pkg/cloud/signal"},
			"k8s.io", "sigs.k8s.io", "github.com/ray-project"),
		broken: []fixture{{path: "pkg/cloud", deps: []string{"k8s.io/api/core/v1"}}},
		kept:   []fixture{{path: "pkg/cloud/provreq", deps: []string{"k8s.io/api/core/v1"}}},
	},
	{
		// One of them writes to the cluster: the executor drives it, and nobody else is linked with it.
		name: "who has nodes made is handed to the executor",
		check: importedOnlyBy([]string{module + asker, module + "pkg/cloud/signal"}, map[string][]string{
			"": {"pkg/execute", "cmd", "test"},
		}),
		broken: []fixture{
			{path: "pkg/state", source: `import _ "github.com/capmgr/capmgr/pkg/cloud/provreq"`},
			{path: "pkg/loop", source: `import _ "github.com/capmgr/capmgr/pkg/cloud/signal"`},
		},
		kept: []fixture{{path: manager, source: `import _ "github.com/capmgr/capmgr/pkg/cloud/provreq"`}},
	},
	{
		name: "of KubeRay only its API types are linked",
		check: func(rooms []room) []string {
			return links(rooms, func(r room) bool { return under(r.Path, "cmd", "pkg") }, func(dep string) bool {
				return under(dep, "github.com/ray-project") && dep != "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
			})
		},
		broken: []fixture{{path: manager, deps: []string{"github.com/ray-project/kuberay/ray-operator/controllers/ray/utils"}}},
		kept:   []fixture{{path: manager, deps: []string{"github.com/ray-project/kuberay/ray-operator/apis/ray/v1"}}},
	},
	{
		// The simulator is a library; the autoscaler around it would bring flags, SDKs of thirty
		// clouds and a second main loop. Of its core, the rules for draining use one leaf.
		name: "the manager is linked with no autoscaler but the simulator",
		check: linksNoneBut([]string{manager}, autoscaler+"core/scaledown/pdb",
			autoscaler+"cloudprovider/builder", autoscaler+"cloudprovider/aws", autoscaler+"config/flags",
			autoscaler+"core", autoscaler+"context", autoscaler+"processors"),
		broken: []fixture{
			{path: manager, deps: []string{autoscaler + "core"}},
			{path: manager, deps: []string{autoscaler + "core/scaledown/planner"}},
			{path: manager, deps: []string{autoscaler + "cloudprovider/builder"}},
			{path: manager, deps: []string{autoscaler + "processors/nodes"}},
		},
		kept: []fixture{{path: manager, deps: []string{autoscaler + "cloudprovider", autoscaler + "simulator/framework", autoscaler + "core/scaledown/pdb"}}},
	},
	{
		// The answers of heads are values: who decides by them is not linked with the wire.
		name: "what Ray said is free of how it was said",
		check: both(
			linksNone([]string{"pkg/ray/demand"}, "google.golang.org", "k8s.io/client-go", "github.com/ray-project"),
			importedOnlyBy([]string{"github.com/capmgr/capmgr/pkg/ray/gcs/autoscalerpb"}, map[string][]string{
				"": {"pkg/ray/gcs", "test"},
			})),
		broken: []fixture{
			{path: "pkg/ray/demand", deps: []string{"google.golang.org/grpc"}},
			{path: "pkg/state", source: `import _ "github.com/capmgr/capmgr/pkg/ray/gcs/autoscalerpb"`},
		},
		kept: []fixture{
			{path: "pkg/ray/gcs", deps: []string{"google.golang.org/grpc"}, source: `import _ "github.com/capmgr/capmgr/pkg/ray/gcs/autoscalerpb"`},
		},
	},
	{
		// It needs cgo, and the manager's image has no C library.
		name:   "the manager is not linked with NVML",
		check:  linksNone([]string{manager}, "github.com/NVIDIA/go-nvml"),
		broken: []fixture{{path: manager, deps: []string{"github.com/NVIDIA/go-nvml/pkg/nvml"}}},
		kept:   []fixture{{path: "cmd/agent", deps: []string{"github.com/NVIDIA/go-nvml/pkg/nvml"}}},
	},
	{
		// Users find every reason in docs/reasons.md.
		name:  "every reason is of the list",
		check: reasonsAreListed,
		broken: []fixture{
			{path: "pkg/scheduler", source: `var b = &blocked{"NoLuck", "", ""}`},
			{path: "pkg/scheduler", source: `var b = &blocked{reason: "NoLuck"}`},
			{path: "pkg/scaling", source: `var d = &Denial{Reason: "NoLuck"}`},
			{path: "pkg/execute", source: "import \"github.com/capmgr/capmgr/pkg/plan\"\nvar r = plan.Reason(\"NoLuck\")"},
		},
		kept: []fixture{
			{path: "pkg/scheduler", source: "import \"github.com/capmgr/capmgr/pkg/plan\"\nvar b = &blocked{plan.NoNodeFits, \"\", \"\"}"},
			{path: "pkg/execute", source: `var c = Condition{Reason: "AnotherWriter"}`},
		},
	},
	{
		name:   "main.go is wiring, under 40 lines",
		check:  mainIsShort,
		broken: []fixture{{path: manager, source: strings.Repeat("// wiring\n", 40)}},
		kept:   []fixture{{path: manager, source: strings.Repeat("// wiring\n", 38)}},
	},
}

const autoscaler = "k8s.io/autoscaler/cluster-autoscaler/"
