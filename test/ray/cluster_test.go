package ray

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// cluster is a real Ray on this machine: a head, and raylets that stand for workers.
type cluster struct {
	address string
	home    string // short, because Ray puts sockets there; also the mark of its processes
	env     []string
}

// startHead starts Ray's GCS and the head's raylet, without a dashboard and without a CPU for work.
func startHead(t *testing.T, env ...string) *cluster {
	t.Helper()
	if os.Getenv("CAPMGR_RAY") == "" {
		t.Skip("needs a real Ray: run make test-ray")
	}
	home, err := os.MkdirTemp("", "ray") //nolint:usetesting // t.TempDir's path is too long for a socket's
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{home: home}
	c.env = append(os.Environ(), append(env, "RAY_TMPDIR="+home, "RAY_USAGE_STATS_ENABLED=0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV=0")...)
	t.Cleanup(c.end)
	port := freePort(t)
	c.address = net.JoinHostPort(ownAddress(t), strconv.Itoa(port))
	c.start(t, "head-pod", "headgroup", "--head", fmt.Sprintf("--port=%d", port),
		"--num-cpus=0", "--include-dashboard=false", "--temp-dir="+home)
	return c
}

// worker starts a raylet and names it as KubeRay names one.
func (c *cluster) worker(t *testing.T, pod, group string, flags ...string) {
	t.Helper()
	c.start(t, pod, group, append(flags, "--address="+c.address)...)
}

// start runs ray start, which returns when the raylet has joined and leaves its processes behind.
func (c *cluster) start(t *testing.T, pod, group string, flags ...string) {
	t.Helper()
	args := append([]string{"start", "--disable-usage-stats", "--include-log-monitor=false",
		"--object-store-memory=80000000", "--node-ip-address=" + ownAddress(t)}, flags...)
	cmd := exec.CommandContext(t.Context(), filepath.Join(os.Getenv("CAPMGR_RAY"), "ray"), args...)
	cmd.Env = slices.Concat(c.env, []string{"RAY_CLOUD_INSTANCE_ID=" + pod, "RAY_NODE_TYPE_NAME=" + group})
	// Its processes keep the output open: a pipe would be waited for.
	out := filepath.Join(c.home, pod+".out")
	f, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(out)
		t.Fatalf("start the Ray node %s: %v\n%s", pod, err, said)
	}
}

// run starts a Python program on the cluster, waits until it prints a line, and returns how to end
// it.
func (c *cluster) run(t *testing.T, program string) (end func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(os.Getenv("CAPMGR_RAY"), "python"), program, c.address)
	cmd.Env = c.env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		_ = cmd.Wait()
		t.Fatalf("%s ended before it waited: %s", program, stderr.String())
	}
	return func() {
		stdin.Close()
		_ = cmd.Wait() // how it ends says nothing: its cluster may be gone
	}
}

// end kills every process that was started for this cluster and no other: they all carry its
// folder's name in their environment. ray stop would end every Ray of the machine.
func (c *cluster) end() {
	mark := []byte("RAY_TMPDIR=" + c.home + "\x00")
	for range 20 {
		left := 0
		files, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, file := range files {
			env, err := os.ReadFile(file)
			if err != nil || !bytes.Contains(append(env, 0), mark) {
				continue
			}
			pid, err := strconv.Atoi(strings.Split(file, "/")[2])
			if err == nil && syscall.Kill(pid, syscall.SIGKILL) == nil {
				left++
			}
		}
		if left == 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	_ = os.RemoveAll(c.home)
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // listens for a moment
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// ownAddress is where Ray of this machine is reached; Ray does not take the loopback for one.
func ownAddress(t *testing.T) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			return n.IP.String()
		}
	}
	return "127.0.0.1"
}
