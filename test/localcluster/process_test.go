package localcluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// parentEnv makes this test binary play a parent: it starts a child in the
// given directory, prints its number and waits to be killed.
const parentEnv = "LOCALCLUSTER_TEST_PARENT"

func TestMain(m *testing.M) {
	if mode, dir, ok := strings.Cut(os.Getenv(parentEnv), ":"); ok {
		playParent(mode == "detached", dir)
		return
	}
	os.Exit(m.Run())
}

func playParent(detached bool, dir string) {
	p, err := newChildren(dir, detached).start(sleeper())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.Pid())
	<-p.Done()
}

// sleeper is a child that lasts until it is ended.
func sleeper() ProcessSpec {
	return ProcessSpec{Name: "sleeper", Path: "sleep", Args: []string{"600"}}
}

func runDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "logs"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func testChildren(t *testing.T, detached bool) *children {
	t.Helper()
	c := newChildren(runDir(t), detached)
	t.Cleanup(func() {
		if err := c.stopAll(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func mustStart(t *testing.T, c *children, spec ProcessSpec) *Process {
	t.Helper()
	p, err := c.start(spec)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// orphan has another process start a child and then killed, and returns the
// child's number.
func orphan(t *testing.T, mode, dir string) int {
	t.Helper()
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentEnv+"="+mode+":"+dir)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("the parent says %q", line)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	if _, _, err := identity(pid); err != nil {
		t.Fatalf("the child is gone before its parent: %v", err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // killed, as asked
	return pid
}

func awaitGone(t *testing.T, pid int) {
	t.Helper()
	gone := func(context.Context) (bool, error) {
		_, _, err := identity(pid)
		return err != nil, nil
	}
	if err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 10*time.Second, true, gone); err != nil {
		t.Fatalf("process %d is still there: %v", pid, err)
	}
}

func TestChildrenDieWithTheirParent(t *testing.T) {
	awaitGone(t, orphan(t, "attached", runDir(t)))
}

func TestDetachedChildrenOutliveTheirParent(t *testing.T) {
	dir := runDir(t)
	pid := orphan(t, "detached", dir)
	if _, _, err := identity(pid); err != nil {
		t.Fatalf("the child died with its parent: %v", err)
	}
	if err := StopDetached(dir); err != nil {
		t.Fatal(err)
	}
	awaitGone(t, pid)
	if exists(pidsFile(dir)) {
		t.Error("the list of processes is still there")
	}
	if err := StopDetached(dir); err != nil {
		t.Errorf("nothing is left, and yet: %v", err)
	}
}

func TestStopDetachedSparesStrangers(t *testing.T) {
	c := testChildren(t, true)
	p := mustStart(t, c, sleeper())
	list, err := readPids(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 {
		t.Fatalf("%d processes are listed, want 1", len(list))
	}
	cases := map[string]func(*left){
		"another program":      func(l *left) { l.Exe = "/bin/other" },
		"another process's id": func(l *left) { l.Started = "1" },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			stranger := list[0]
			change(&stranger)
			if err := stranger.stop(); err != nil {
				t.Fatal(err)
			}
			if !running(p) {
				t.Error("a process was ended that only has the number of a listed one")
			}
		})
	}
}

func TestEarlyDeathIsToldAtOnceWithTheLog(t *testing.T) {
	c := testChildren(t, false)
	p := mustStart(t, c, ProcessSpec{Name: "broken", Path: "sh", Args: []string{"-c", "echo no such flag >&2; exit 3"}})
	never := func(context.Context) error { return errors.New("not ready") }
	err := await(t.Context(), "broken", never, p)
	if err == nil {
		t.Fatal("the wait succeeded")
	}
	for _, want := range []string{"wait for broken", "exit status 3", "no such flag"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q: %v", want, err)
		}
	}
}

func TestLogQuotesOnlyTheLatestRun(t *testing.T) {
	c := testChildren(t, false)
	for _, word := range []string{"first", "second"} {
		p := mustStart(t, c, ProcessSpec{Name: "talker", Path: "echo", Args: []string{word}})
		<-p.Done()
		if got := p.log.tail(); got != word {
			t.Errorf("the log of this run ends with %q, want %q", got, word)
		}
		if err := p.Err(); err != nil {
			t.Errorf("a process that succeeded: %v", err)
		}
	}
}

func TestStopKillsWhoIgnoresIt(t *testing.T) {
	c := testChildren(t, false)
	p := mustStart(t, c, ProcessSpec{Name: "stubborn", Path: "sh", Args: []string{"-c", "trap '' TERM; echo deaf; sleep 600 & wait; sleep 600"}})
	deaf := func(context.Context) error {
		if p.log.tail() != "deaf" {
			return errors.New("not yet")
		}
		return nil
	}
	if err := await(t.Context(), "the trap", deaf, p); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	awaitGroupGone(t, p.Pid())
	if err := p.Err(); err != nil {
		t.Errorf("a process that was told to end: %v", err)
	}
}

// awaitGroupGone waits for what the process itself had started as well.
func awaitGroupGone(t *testing.T, pid int) {
	t.Helper()
	gone := func(context.Context) (bool, error) { return groupGone(pid), nil }
	if err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 10*time.Second, true, gone); err != nil {
		t.Fatalf("process group %d is still there: %v", pid, err)
	}
}

// groupGone says whether no process of the group runs; one that has ended but
// that nobody has collected does not count.
func groupGone(pgid int) bool {
	pids, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return false
	}
	for _, path := range pids {
		pid, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			continue
		}
		group, err := syscall.Getpgid(pid)
		if err != nil || group != pgid {
			continue
		}
		if _, _, err := identity(pid); err == nil {
			return false
		}
	}
	return true
}

func TestTwoOfAName(t *testing.T) {
	c := testChildren(t, false)
	mustStart(t, c, sleeper())
	if _, err := c.start(sleeper()); err == nil {
		t.Error("a second process took a running one's name")
	}
}

func TestNothingStartsAfterStop(t *testing.T) {
	c := testChildren(t, false)
	p := mustStart(t, c, sleeper())
	if err := c.stopAll(); err != nil {
		t.Fatal(err)
	}
	if running(p) {
		t.Error("a process runs after stopAll")
	}
	if _, err := c.start(sleeper()); err == nil {
		t.Error("a process was started after stopAll")
	}
}

func TestServerTriesOtherPorts(t *testing.T) {
	c := &Cluster{children: testChildren(t, false)}
	attempts := 0
	ports, err := c.startServer(t.Context(), server{
		name:  "unlucky",
		ports: 1,
		spec: func([]int) (ProcessSpec, error) {
			if attempts++; attempts < 3 {
				return ProcessSpec{Path: "sh", Args: []string{"-c", "echo bind: address already in use; exit 1"}}, nil
			}
			return sleeper(), nil
		},
		ready: func(context.Context, []int) error {
			if attempts < 3 {
				return errors.New("not ready")
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if attempts != 3 || len(ports) != 1 {
		t.Errorf("%d attempts gave ports %v, want 3 and one port", attempts, ports)
	}
}

func TestFreePortsDiffer(t *testing.T) {
	ports, err := freePorts(20)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, port := range ports {
		if seen[port] {
			t.Errorf("port %d was given twice", port)
		}
		seen[port] = true
		listener, err := net.Listen("tcp", address(port))
		if err != nil {
			t.Errorf("port %d is not free: %v", port, err)
			continue
		}
		listener.Close()
	}
}
