package localcluster

import (
	"os/exec"
	"runtime"
)

// launcher starts all children of a cluster from one operating-system thread.
// The kernel sends a child its parent-death signal when the thread that forked
// it ends, not when the process does; the Go runtime ends threads as it likes,
// except one that a goroutine has locked and not left.
type launcher struct {
	requests chan launch
}

type launch struct {
	cmd  *exec.Cmd
	done chan error
}

func newLauncher() *launcher {
	l := &launcher{requests: make(chan launch)}
	go l.run()
	return l
}

// run never unlocks: its thread must stay until close, and ends with it.
func (l *launcher) run() {
	runtime.LockOSThread()
	for r := range l.requests {
		r.done <- r.cmd.Start()
	}
}

func (l *launcher) start(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	l.requests <- launch{cmd: cmd, done: done}
	return <-done
}

// close ends the thread, and with it every child that is still there.
func (l *launcher) close() {
	close(l.requests)
}
