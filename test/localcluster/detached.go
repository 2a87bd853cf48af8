package localcluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// left is a process that a detached run left behind. A number alone does not
// name it: the kernel gives numbers out again.
type left struct {
	Name    string `json:"name"`
	Pid     int    `json:"pid"`
	Exe     string `json:"exe"`
	Started string `json:"started"` // in clock ticks since boot
}

func pidsFile(dir string) string { return filepath.Join(dir, "pids") }

// writePids notes the running processes of a detached run, one JSON object a
// line; with none left it removes the file.
func writePids(dir string, list []*Process) error {
	if len(list) == 0 {
		if err := os.Remove(pidsFile(dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove the list of processes: %w", err)
		}
		return nil
	}
	var lines bytes.Buffer
	for _, p := range list {
		l := left{Name: p.Name, Pid: p.Pid()}
		var err error
		if l.Exe, l.Started, err = identity(l.Pid); err != nil {
			continue // it has ended meanwhile
		}
		line, err := json.Marshal(l)
		if err != nil {
			return fmt.Errorf("note process %s: %w", l.Name, err)
		}
		lines.Write(append(line, '\n'))
	}
	// Renamed into place: a list cut short would leave processes behind.
	if err := os.WriteFile(pidsFile(dir)+".new", lines.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write the list of processes: %w", err)
	}
	if err := os.Rename(pidsFile(dir)+".new", pidsFile(dir)); err != nil {
		return fmt.Errorf("write the list of processes: %w", err)
	}
	return nil
}

// identity returns what tells a process from any other that has or will have
// its number: its program and when it started.
func identity(pid int) (exe, started string, err error) {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	// A zombie has no program any more, so it counts as ended, as it should.
	if exe, err = os.Readlink(filepath.Join(proc, "exe")); err != nil {
		return "", "", err
	}
	stat, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return "", "", err
	}
	// The name, second field, may hold spaces and brackets; the start time is
	// field 22, which is the 20th after the name's closing bracket.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return "", "", fmt.Errorf("read %s/stat: %d fields", proc, len(fields))
	}
	// Rebuilding a program that runs marks the old file, not another program.
	return strings.TrimSuffix(exe, " (deleted)"), fields[19], nil
}

// StopDetached ends what a detached run in dir left, the last started first,
// and forgets it. A process that is no longer the one that was started is left
// alone. Where no run was left, it does nothing.
func StopDetached(dir string) error {
	list, err := readPids(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range slices.Backward(list) {
		errs = append(errs, l.stop())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return writePids(dir, nil)
}

func readPids(dir string) ([]left, error) {
	text, err := os.ReadFile(pidsFile(dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the list of processes: %w", err)
	}
	var list []left
	for line := range strings.Lines(string(text)) {
		var l left
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			return nil, fmt.Errorf("read the list of processes: %w", err)
		}
		list = append(list, l)
	}
	return list, nil
}

// runs says whether the process is still there.
func (l left) runs() bool {
	exe, started, err := identity(l.Pid)
	return err == nil && exe == l.Exe && started == l.Started
}

// stop ends the process: politely, then with its whole group.
func (l left) stop() error {
	for _, s := range []struct {
		pid    int
		signal syscall.Signal
	}{{l.Pid, syscall.SIGTERM}, {-l.Pid, syscall.SIGKILL}} {
		if !l.runs() {
			return nil
		}
		if err := syscall.Kill(s.pid, s.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop %s: %w", l.Name, err)
		}
		l.wait()
	}
	if l.runs() {
		return fmt.Errorf("stop %s: process %d survives SIGKILL", l.Name, l.Pid)
	}
	return nil
}

// wait returns when the process has ended or had its time. It is another's
// child, which nothing can wait for but by looking.
func (l left) wait() {
	for end := time.Now().Add(grace); l.runs() && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
}
