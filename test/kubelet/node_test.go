package kubelet

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/test/localcluster"
	"github.com/capmgr/capmgr/test/stack"
)

const (
	nodeName  = "real-1"
	podSubnet = "10.233.0.0/24"
	gateway   = "10.233.0.1" // of the bridge, which is this machine
)

// node is a kubelet and its container runtime, as children of this process.
type node struct {
	s      *stack.Stack
	dir    string
	socket string
	group  string // control group of its own: the machine may be a node already
}

// startNode brings a real node up and waits until it is Ready.
func startNode(t *testing.T, s *stack.Stack, images ...string) *node {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "capmgr-node-") //nolint:usetesting // sockets need short paths
	if err != nil {
		t.Fatal(err)
	}
	n := &node{s: s, dir: dir, socket: filepath.Join(dir, "containerd.sock"), group: filepath.Base(dir)}
	t.Cleanup(func() { n.stop(t) })
	n.write(t, "containerd.toml", containerdConfig(dir))
	n.write(t, "cni/10-bridge.conflist", cniConfig())
	n.start(t, "containerd", lookPath(t, "containerd"), "--config="+filepath.Join(dir, "containerd.toml"))
	n.await(t, "containerd to answer", func() error { return n.ctr(t.Context(), "version") })
	for _, image := range images {
		if err := n.ctr(t.Context(), "images", "import", "--no-unpack", image); err != nil {
			t.Fatalf("import %s: %v", image, err)
		}
	}
	n.makeGroup(t)
	n.write(t, "kubelet.yaml", kubeletConfig(n.socket, n.group, freePort(t), freePort(t)))
	n.start(t, "kubelet", filepath.Join(s.Root, "_output", "bin", "kubelet"),
		"--config="+filepath.Join(dir, "kubelet.yaml"), "--kubeconfig="+s.Kubeconfig, "--root-dir="+filepath.Join(dir, "kubelet"),
		"--cert-dir="+filepath.Join(dir, "pki"), "--hostname-override="+nodeName, "--v=2")
	n.await(t, "the node to be Ready", func() error {
		node, err := s.Kube.CoreV1().Nodes().Get(t.Context(), nodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("conditions %+v", node.Status.Conditions)
	})
	return n
}

// claim makes the node claim devices that it does not have.
func (n *node) claim(t *testing.T, gpus int) {
	t.Helper()
	patch := fmt.Sprintf(`[{"op":"add","path":"/status/capacity/nvidia.com~1gpu","value":"%d"}]`, gpus)
	if _, err := n.s.Kube.CoreV1().Nodes().Patch(t.Context(), nodeName, types.JSONPatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	n.await(t, "the devices to be allocatable", func() error {
		node, err := n.s.Kube.CoreV1().Nodes().Get(t.Context(), nodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if q := node.Status.Allocatable["nvidia.com/gpu"]; q.Value() != int64(gpus) {
			return fmt.Errorf("%d devices", q.Value())
		}
		return nil
	})
}

func (n *node) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(n.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (n *node) start(t *testing.T, name, path string, args ...string) {
	t.Helper()
	if _, err := n.s.StartProcess(t.Context(), localcluster.ProcessSpec{Name: name, Path: path, Args: args}); err != nil {
		t.Fatal(err)
	}
}

func (n *node) ctr(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "ctr", append([]string{"--address=" + n.socket, "--namespace=k8s.io"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ctr %v: %w: %s", args, err, out)
	}
	return nil
}

func (n *node) await(t *testing.T, what string, try func() error) {
	t.Helper()
	awaitFor(t, 90*time.Second, what, try)
}

func awaitFor(t *testing.T, most time.Duration, what string, try func() error) {
	t.Helper()
	for end := time.Now().Add(most); ; time.Sleep(200 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited %s for %s: %v", most, what, err)
		}
	}
}

// stop ends the node, and whatever of it outlived its parents: by then the test has deleted its pods,
// and what is left is left of a failure.
func (n *node) stop(t *testing.T) {
	t.Helper()
	for _, name := range []string{"kubelet", "containerd"} {
		if p := n.s.Process(name); p != nil {
			if err := p.Stop(context.Background()); err != nil {
				t.Errorf("stop %s: %v", name, err)
			}
		}
	}
	n.endShims()
	n.unmount()
	n.dropGroup(t)
	for _, link := range []string{"cap-br0"} {
		_ = exec.Command("ip", "link", "delete", link).Run() // where a pod has brought it up
	}
	if err := os.RemoveAll(n.dir); err != nil {
		t.Errorf("clean up: %v", err)
	}
}

// groups are the folders of the node's control group, one for each hierarchy that there is.
func (n *node) groups(t *testing.T) (out []string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(mounts), "\n") {
		if f := strings.Fields(line); len(f) > 2 && strings.HasPrefix(f[2], "cgroup") {
			out = append(out, filepath.Join(f[1], n.group))
		}
	}
	return out
}

func (n *node) makeGroup(t *testing.T) {
	t.Helper()
	for _, dir := range n.groups(t) {
		if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
		// A new group of this kind has neither processors nor memory before it is given some.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if all, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file)); err == nil {
				_ = os.WriteFile(filepath.Join(dir, file), all, 0o600) // where the kernel wants it
			}
		}
	}
}

// dropGroup removes the control groups, the deepest first. By then no process is in them.
func (n *node) dropGroup(t *testing.T) {
	t.Helper()
	for _, dir := range n.groups(t) {
		var all []string
		_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				all = append(all, path)
			}
			return nil
		})
		for _, path := range slices.Backward(all) {
			if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
				t.Logf("a control group is left: %v", err)
			}
		}
	}
}

// endShims kills the containers' parents: they carry the address of this containerd.
func (n *node) endShims() {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(line), n.socket) || !strings.Contains(string(line), "containerd-shim") {
			continue
		}
		if pid, err := strconv.Atoi(strings.Split(file, "/")[2]); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// unmount takes off what is mounted below the node's folder, the deepest first.
func (n *node) unmount() {
	mounts, _ := os.ReadFile("/proc/self/mounts")
	lines := strings.Split(string(mounts), "\n")
	for _, line := range slices.Backward(lines) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], n.dir) {
			_ = syscall.Unmount(fields[1], syscall.MNT_DETACH)
		}
	}
}

func lookPath(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func freePort(t *testing.T) int {
	t.Helper()
	port, err := localcluster.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// containerdConfig is for a machine without privileges to lower its own score in memory pressure, and
// without AppArmor.
func containerdConfig(dir string) string {
	return fmt.Sprintf(`version = 2
root = "%[1]s/containerd/root"
state = "%[1]s/containerd/state"
disabled_plugins = ["io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "%[1]s/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "%[2]s"
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "%[1]s/cni"
`, dir, pauseName)
}

func cniConfig() string {
	return fmt.Sprintf(`{"cniVersion": "0.4.0", "name": "capmgr-test", "plugins": [
  {"type": "bridge", "bridge": "cap-br0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "%s"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
`, podSubnet)
}

func kubeletConfig(socket, group string, port, health int) string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://%s
port: %d
healthzPort: %d
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupRoot: /%s
enforceNodeAllocatable: []
oomScoreAdj: 0
failSwapOn: false
clusterDomain: cluster.local
clusterDNS: [%s]
resolvConf: ""
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: "1%%", nodefs.available: "0%%", imagefs.available: "0%%"}
maxPods: 30
`, socket, port, health, group, gateway)
}
