// Command capmgr decides in one place which gangs run, how many nodes are bought for them and which
// are given back, and says why whatever waits is waiting. Installed as kubectl-capmgr it is a
// kubectl plugin.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newCommand().ExecuteContext(ctx)
	stop()
	var code exitCode
	switch {
	case err == nil:
	case errors.As(err, &code):
		os.Exit(int(code))
	default:
		fmt.Fprintln(os.Stderr, "capmgr:", oneLine(err))
		os.Exit(255)
	}
}

// exitCode ends the process with a status that is an answer, not an error.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit status %d", int(c)) }
