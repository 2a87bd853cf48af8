package localcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// grace is how long a process may take to end after SIGTERM.
const grace = 10 * time.Second

// ProcessSpec describes a child process.
type ProcessSpec struct {
	// Name is unique among the running processes of a cluster and names the log.
	Name string
	// Path is the program's file.
	Path string
	// Args are its arguments, without the program's name.
	Args []string
	// Env is added to a small environment: PATH, and HOME and TMPDIR inside the
	// run directory. The caller's own environment is not passed on, so that a
	// run does not depend on who started it.
	Env []string
}

// Process is a child process of a cluster.
type Process struct {
	// Name is the process's name in its cluster.
	Name string
	// LogPath is the file that has its standard output and error.
	LogPath string

	cmd    *exec.Cmd
	log    logSection
	asked  atomic.Bool
	done   chan struct{}
	exited error
}

// newProcess prepares a process that runs in dir; the caller starts it.
func newProcess(spec ProcessSpec, dir string, detached bool) (*Process, error) {
	path := spec.Path
	if strings.ContainsRune(path, filepath.Separator) {
		absolute, err := filepath.Abs(path)
		if err != nil {
			return nil, fmt.Errorf("resolve %s: %w", path, err)
		}
		path = absolute
	}
	cmd := exec.Command(path, spec.Args...) // #nosec G204 -- starting given programs is the purpose
	cmd.Dir = dir
	cmd.Env = append(baseEnv(dir), spec.Env...)
	// A group of its own keeps a terminal's Ctrl-C to the parent, who then stops
	// the children in order; a session of its own survives the terminal too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if detached {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	}
	return &Process{
		Name:    spec.Name,
		LogPath: filepath.Join(dir, "logs", spec.Name+".log"),
		cmd:     cmd,
		done:    make(chan struct{}),
	}, nil
}

// baseEnv is the environment of every child. HOME matters: KWOK and kubectl
// read the user's configuration there.
func baseEnv(dir string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + os.TempDir()}
}

// launch starts the process and watches over its end.
func (p *Process) launch(l *launcher) error {
	// Appended to, because a process that is started again has one log.
	file, err := os.OpenFile(p.LogPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the log of %s: %w", p.Name, err)
	}
	defer file.Close() // the child has its own handle
	p.log, err = sectionFrom(file)
	if err != nil {
		return fmt.Errorf("measure the log of %s: %w", p.Name, err)
	}
	p.cmd.Stdout, p.cmd.Stderr = file, file
	if err := l.start(p.cmd); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	go p.reap()
	return nil
}

func (p *Process) reap() {
	err := p.cmd.Wait()
	// Whatever the process itself started goes with it.
	_ = syscall.Kill(-p.Pid(), syscall.SIGKILL)
	if err != nil && !p.asked.Load() {
		p.exited = fmt.Errorf("%s exited: %w", p.Name, err)
	}
	close(p.done)
}

// Pid returns the process's number.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says why the process ended: nil while it runs, when it succeeded, and
// when it was told to end through Signal, Kill or Stop.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.exited
	default:
		return nil
	}
}

// Signal sends the process a signal; one that has ended is left alone.
func (p *Process) Signal(sig os.Signal) error {
	p.asked.Store(true)
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.Name, err)
	}
	return nil
}

// Kill ends the process at once, as a crash would.
func (p *Process) Kill() error { return p.Signal(os.Kill) }

// Stop asks the process to end, kills it when it has not done so in ten seconds
// or when ctx ends, and returns when it is gone.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
	}
	if err := p.Kill(); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(grace):
		return fmt.Errorf("stop %s: process %d survives SIGKILL", p.Name, p.Pid())
	}
}

// died says that the process ended while it was needed, with its last words.
func (p *Process) died() error {
	err := p.Err()
	if err == nil {
		err = fmt.Errorf("%s exited", p.Name)
	}
	return fmt.Errorf("%w; its log ends with:\n%s", err, p.log.tail())
}
