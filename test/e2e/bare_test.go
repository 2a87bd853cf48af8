package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/capmgr/capmgr/test/localcluster"
)

// bare is a control plane on which nothing of ours is installed.
type bare struct {
	*localcluster.Cluster
	root, bin, share string
	kube             kubernetes.Interface
}

// built finds what these tests run, and fails the test when it was not built.
func built(t *testing.T) (bin, share string) {
	t.Helper()
	bin, share, err := localcluster.Output()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(bin, "capmgr")); err != nil {
		t.Fatalf("capmgr is not built, run `make build`: %v", err)
	}
	return bin, share
}

func raiseBare(t *testing.T) *bare {
	t.Helper()
	bin, share := built(t)
	one.Lock()
	defer one.Unlock()
	c, err := localcluster.Start(t.Context(), localcluster.Options{Dir: filepath.Join(t.TempDir(), "bare"), Bin: bin, Share: share})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &bare{c, filepath.Dir(filepath.Dir(bin)), bin, share, kubernetes.NewForConfigOrDie(c.Config)}
}

func (b *bare) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := b.Kubectl(t.Context(), nil, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The steps of an installation in their order, with what capmgr says while one is still missing.
func TestInstallation(t *testing.T) {
	t.Parallel()
	b := raiseBare(t)
	kind := filepath.Join(b.root, "deploy", "kind", "config.yaml")
	environment := []string{"KUBECONFIG=" + b.Kubeconfig, "AWS_REGION=us-east-1"}
	credentials := []string{"AWS_ACCESS_KEY_ID=AKIAFAKE", "AWS_SECRET_ACCESS_KEY=fake"}

	b.refuses(t, "without definitions", append(environment, credentials...), []string{"Queue", "scheduling.run.ai/v2", "deploy/base"}, "run", "--config", kind)
	b.kubectl(t, "apply", "--server-side", "--validate=strict", "-k", filepath.Join(b.root, "deploy", "base", "crds"))
	eventually(t, time.Minute, "the definitions to be served", func(ctx context.Context) (bool, string, error) { // kubectl gives up on one without a status
		out, err := b.Kubectl(ctx, nil, "wait", "--for=condition=Established", "--timeout=1s", "crd/queues.scheduling.run.ai", "crd/capacityrequests.capmgr.io")
		return err == nil, fmt.Sprintf("%s %v", out, err), nil
	})
	b.refuses(t, "without KubeRay", append(environment, credentials...), []string{"RayCluster", "ray.io/v1", "install KubeRay"}, "run", "--config", kind)
	if err := b.Apply(t.Context(), filepath.Join(b.share, "kuberay", "crds")); err != nil {
		t.Fatal(err)
	}
	b.refuses(t, "without Cluster Autoscaler's definition", environment, []string{"ProvisioningRequest", "autoscaling.x-k8s.io/v1", "--enable-provisioning-requests"},
		"run", "--config", filepath.Join(b.root, "deploy", "autoscaler", "config.yaml"))
	b.refuses(t, "without credentials", environment, []string{"aws credentials", "AWS_ROLE_ARN", "AWS_ACCESS_KEY_ID"}, "run", "--config", kind)
	b.refuses(t, "with half of the credentials", append(environment, "AWS_ACCESS_KEY_ID=AKIAFAKE"), []string{"AWS_SECRET_ACCESS_KEY"}, "run", "--config", kind)
	b.refuses(t, "without a region", append([]string{"KUBECONFIG=" + b.Kubeconfig}, credentials...), []string{"aws region", "AWS_REGION"}, "run", "--config", kind)
	b.refuses(t, "plan without credentials", environment, []string{"aws credentials"}, "plan", "--config", kind)
	b.refuses(t, "on a port that is taken", append(environment, credentials...), []string{"metrics", b.taken(t)},
		"run", "--config", kind, "--metrics-bind-address", b.taken(t), "--health-probe-bind-address=0")

	for _, overlay := range []string{"kind", "eks", "autoscaler"} {
		t.Run(overlay, func(t *testing.T) { b.installs(t, overlay) })
	}
	t.Run("impossible objects are refused", b.refusesObjects)
	t.Run("kubectl get shows what matters", b.showsColumns)
}

// taken is an address that this test listens on.
func (b *bare) taken(t *testing.T) string {
	t.Helper()
	return strings.TrimPrefix(b.Config.Host, "https://")
}

// installs applies an overlay strictly and waits for its pods: the namespace's pod security and the
// service account must admit them.
func (b *bare) installs(t *testing.T, overlay string) {
	rendered := b.kubectl(t, "kustomize", filepath.Join(b.root, "deploy", overlay))
	file := filepath.Join(t.TempDir(), overlay+".yaml")
	if err := os.WriteFile(file, []byte(rendered), 0o600); err != nil {
		t.Fatal(err)
	}
	first := b.kubectl(t, "apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", file)
	for _, want := range []string{"deployment.apps/capmgr", "poddisruptionbudget.policy/capmgr", "queue.scheduling.run.ai/team-a",
		"clusterrole.rbac.authorization.k8s.io/capmgr-manager-write", "role.rbac.authorization.k8s.io/capmgr-leader-election"} {
		if !strings.Contains(first, want) {
			t.Errorf("%s was not applied: %s", want, first)
		}
	}
	// The second time nothing changes: what is written is what the API server stores.
	versions := func() string {
		return b.kubectl(t, "get", "-f", file, "-o", `jsonpath={range .items[?(@.kind!="Deployment")]}{.kind}/{.metadata.name} {.metadata.generation} {end}`)
	}
	before := versions()
	b.kubectl(t, "apply", "--server-side", "--validate=strict", "-f", file)
	if after := versions(); after != before {
		t.Errorf("applying the same again changed objects:\n%s\n%s", before, after)
	}
	eventually(t, 30*time.Second, "the Deployment's two pods to be admitted", func(ctx context.Context) (bool, string, error) {
		d, err := b.kube.AppsV1().Deployments("capmgr-system").Get(ctx, "capmgr", metav1.GetOptions{})
		if err != nil {
			return false, "", err
		}
		pods, err := b.kube.CoreV1().Pods("capmgr-system").List(ctx, metav1.ListOptions{})
		newest := 0
		for _, p := range pods.Items {
			if p.Spec.Containers[0].Image == d.Spec.Template.Spec.Containers[0].Image {
				newest++
			}
		}
		return d.Status.ObservedGeneration == d.Generation && d.Status.UpdatedReplicas >= 1 && newest >= 2 && !failing(d),
			fmt.Sprintf("%d pods, %+v", len(pods.Items), d.Status), err
	})
}

func failing(d *appsv1.Deployment) bool {
	return slices.ContainsFunc(d.Status.Conditions, func(c appsv1.DeploymentCondition) bool {
		return c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue
	})
}

const capacityRequest = `
apiVersion: capmgr.io/v1alpha1
kind: CapacityRequest
metadata: {name: %s, namespace: default}
spec:
  gang: {apiVersion: ray.io/v1, kind: RayCluster, name: train, uid: u-1}
  queue: team-a
  attempt: %d
  hourlyCost: "4.024"
  nodes:
  - {nodeGroup: g5-xlarge, count: %d, clientToken: abc}
`

// refusesObjects shows the API server what no validation of ours would ever see.
func (b *bare) refusesObjects(t *testing.T) {
	queue := func(spec string) string {
		return "apiVersion: scheduling.run.ai/v2\nkind: Queue\nmetadata: {name: wrong}\nspec: " + spec
	}
	if err := b.apply(t, fmt.Sprintf(capacityRequest, "train-1", 1, 4)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ manifest, want string }{
		"a queue above itself":        {queue("{parentQueue: wrong, resources: {gpu: {limit: 1}}}"), "cannot be its own parent"},
		"a limit below no bound":      {queue("{resources: {gpu: {limit: -2}}}"), "-1 for no bound"},
		"a quota below no bound":      {queue("{resources: {cpu: {quota: -0.5}}}"), "-1 for no bound"},
		"a field that is none":        {queue("{resources: {gpu: {limits: 1}}}"), "limits"},
		"a text for a number":         {queue("{resources: {gpu: {limit: many}}}"), "limit"},
		"a purchase of nothing":       {fmt.Sprintf(capacityRequest, "none", 1, 0), "greater than or equal to 1"},
		"a purchase of thousands":     {fmt.Sprintf(capacityRequest, "lots", 1, 1001), "less than or equal to 1000"},
		"an attempt before the first": {fmt.Sprintf(capacityRequest, "early", 0, 1), "attempt"},
		"a purchase that is changed":  {fmt.Sprintf(capacityRequest, "train-1", 1, 5), "cannot be changed"},
	} {
		t.Run(name, func(t *testing.T) {
			err := b.apply(t, c.manifest)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the API server said %v, want a refusal with %q", err, c.want)
			}
		})
	}
}

func (b *bare) apply(t *testing.T, manifest string) error {
	t.Helper()
	_, err := b.Kubectl(t.Context(), strings.NewReader(manifest), "apply", "--server-side", "--validate=strict", "-f", "-")
	return err
}

func (b *bare) showsColumns(t *testing.T) {
	for args, want := range map[string][]string{
		"queues":                   {"NAME", "PRIORITY", "PARENT", "CHILDREN", "DISPLAYNAME"},
		"capacityrequests":         {"NAME", "NODEGROUP", "COUNT", "READY", "REASON", "COST", "AGE"},
		"capacityrequests -o wide": {"NAME", "NODEGROUP", "COUNT", "READY", "REASON", "COST", "AGE", "QUEUE", "GANG", "ATTEMPT"},
	} {
		out := b.kubectl(t, append([]string{"get"}, strings.Fields(args)...)...)
		header, _, _ := strings.Cut(out, "\n")
		if got := strings.Fields(header); !slices.Equal(got, want) {
			t.Errorf("kubectl get %s has the columns %v, want %v", args, got, want)
		}
	}
	if row := b.kubectl(t, "get", "queue", "team-a", "--no-headers"); !strings.Contains(row, "department-1") || !strings.Contains(row, "Team A") {
		t.Errorf("the row of team-a: %s", row)
	}
	if row := b.kubectl(t, "get", "capacityrequest", "train-1", "--no-headers"); !strings.Contains(row, "4.024") {
		t.Errorf("the row of train-1: %s", row)
	}
}

// refuses runs capmgr and checks that it ends with one clear line that has these words.
func (b *bare) refuses(t *testing.T, name string, environment, words []string, args ...string) {
	t.Helper()
	t.Run(name, func(t *testing.T) { refuses(t, b.bin, environment, words, args...) })
}

// refuses runs capmgr with just this environment and checks that it ends with an error that a person
// can act upon: one line, or a header and a line per finding, and nothing else.
func refuses(t *testing.T, bin string, environment, words []string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "capmgr"), args...)
	home := t.TempDir()
	cmd.Env = append([]string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "AWS_EC2_METADATA_DISABLED=true"}, environment...)
	cmd.Dir = home
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 255 || ctx.Err() != nil {
		t.Errorf("capmgr %s ended with %v (%v), want status 255", strings.Join(args, " "), err, ctx.Err())
	}
	text := errOut.String()
	t.Logf("it said:\n%s", text)
	if out.Len() > 0 {
		t.Errorf("an error is no output: %s", out.String())
	}
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("no word of %q in:\n%s", word, text)
		}
	}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if !strings.HasPrefix(lines[0], "capmgr: ") {
		t.Errorf("something comes before the error: %s", lines[0])
	}
	for k, line := range lines[1:] {
		// A configuration error has a header, then one finding per line, each with its field.
		if !strings.HasSuffix(lines[0], ":") || !strings.Contains(line, ": ") {
			t.Errorf("line %d is more than there is to say: %s", k+2, line)
		}
	}
	for _, noise := range []string{"goroutine ", ".go:", `"level"`, "panic", "IMDS role"} {
		if strings.Contains(text, noise) {
			t.Errorf("noise for developers (%q) in:\n%s", noise, text)
		}
	}
	return text
}

// What is wrong before any cluster is reached. Each error names the thing and comes alone.
func TestBadInput(t *testing.T) {
	t.Parallel()
	bin, _ := built(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const head = "apiVersion: config.capmgr.io/v1alpha1\nkind: CapacityManagerConfiguration\n"
	const group = "nodeGroups:\n- {name: a, provider: aws, aws: {autoScalingGroup: a}, maxNodes: 4, hourlyPrice: \"1.00\"}\n"
	good := write("good.yaml", head+group)
	nobody := closedPort(t)
	unreachable := write("unreachable", kubeconfig("https://"+nobody))
	for name, c := range map[string]struct {
		args, environment, words []string
		lines                    int
	}{
		"no configuration": {
			args: []string{"run", "--config", filepath.Join(dir, "none.yaml")}, words: []string{"none.yaml", "no such file"}, lines: 1},
		"an empty configuration": {
			args: []string{"run", "--config", write("empty.yaml", "")}, words: []string{"empty.yaml", "empty", "apiVersion"}, lines: 2},
		"broken YAML": {
			args: []string{"run", "--config", write("broken.yaml", head+"limits: {maxNodes: [")}, words: []string{"broken.yaml", "line"}, lines: 2},
		"another kind": {
			args: []string{"run", "--config", write("kind.yaml", "apiVersion: v1\nkind: ConfigMap\n")}, words: []string{"apiVersion", "kind"}, lines: 3},
		"an unknown field": {
			args:  []string{"run", "--config", write("field.yaml", head+"limits: {maxNode: 3}\n")},
			words: []string{"limits.maxNode", "maxNodes"}, lines: 2},
		"a ladder to nowhere": {
			args:  []string{"run", "--config", write("ladder.yaml", head+group+"queues: {team: {scaling: {maxGPUs: 1, ladder: [a, b]}}}\n")},
			words: []string{"queues.team.scaling.ladder[1]", `"b"`}, lines: 2},
		"several findings": {
			args: []string{"run", "--config", write("several.yaml", head+
				"limits: {maxNodes: -1, maxHourlyCost: \"a lot\"}\nobserveInterval: often\n"+group+"queues: {team: {scaling: {ladder: [b]}}}\n")},
			words: []string{"limits.maxNodes", "limits.maxHourlyCost", "observeInterval", "queues.team.scaling.ladder[0]"}, lines: 5},
		"plan, too": {
			args: []string{"plan", "--config", filepath.Join(dir, "field.yaml")}, words: []string{"limits.maxNode"}, lines: 2},
		"no kubeconfig": {
			args: []string{"run", "--config", good}, words: []string{"--kubeconfig", "KUBECONFIG"}, lines: 1},
		"a kubeconfig that is not there": {
			args: []string{"run", "--config", good, "--kubeconfig", filepath.Join(dir, "none")}, words: []string{"kubeconfig", filepath.Join(dir, "none")}, lines: 1},
		"a KUBECONFIG that is not there": {
			args: []string{"run", "--config", good}, environment: []string{"KUBECONFIG=" + filepath.Join(dir, "none")},
			words: []string{"KUBECONFIG", filepath.Join(dir, "none")}, lines: 1},
		"a kubeconfig that is none": {
			args: []string{"run", "--config", good, "--kubeconfig", write("notes", "just: [notes\n")}, words: []string{"kubeconfig", filepath.Join(dir, "notes")}, lines: 1},
		"nobody at the API server's address": {
			args: []string{"run", "--config", good, "--kubeconfig", unreachable}, words: []string{nobody, "refused"}, lines: 1},
		"plan, nobody there": {
			args: []string{"plan", "--config", good, "--kubeconfig", unreachable}, words: []string{nobody, "refused"}, lines: 1},
		"explain, nobody there": {
			args: []string{"explain", "raycluster/train", "--kubeconfig", unreachable}, words: []string{nobody, "refused"}, lines: 1},
		"explain, no kubeconfig": {
			args: []string{"explain", "raycluster/train"}, words: []string{"--kubeconfig", "KUBECONFIG"}, lines: 1},
		"an unknown output": {
			args: []string{"plan", "--config", good, "-o", "xml"}, words: []string{"xml", "text", "json"}, lines: 1},
		"an unknown command": {
			args: []string{"runn"}, words: []string{"runn"}, lines: 1},
		"an unknown flag": {
			args: []string{"run", "--confg=x"}, words: []string{"--confg"}, lines: 1},
		"an argument too many": {
			args: []string{"run", "now"}, words: []string{"now"}, lines: 1},
		"explain, no argument": {
			args: []string{"explain"}, words: []string{"explain", "raycluster"}, lines: 1},
	} {
		t.Run(name, func(t *testing.T) {
			text := refuses(t, bin, c.environment, c.words, c.args...)
			if n := strings.Count(text, "\n"); n != c.lines {
				t.Errorf("%d lines, want %d", n, c.lines)
			}
		})
	}
}

func kubeconfig(server string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: a, cluster: {server: %q}}]
users: [{name: a, user: {token: t}}]
contexts: [{name: a, context: {cluster: a, user: a}}]
current-context: a
`, server)
}

// closedPort is an address that nobody listens on.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
