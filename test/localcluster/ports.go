package localcluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
)

// Ports are taken from below the range that the kernel gives to outgoing
// connections (32768 and up by default). A port from inside that range is not
// safe to leave and come back to: while the API server is down, one of the many
// connection attempts to it may be given its very port as source, and so
// connect to itself and hold the port.
const lowestPort, portsEnd = 20000, 32768

// portAttempts is how often other ports are tried after a collision.
const portAttempts = 5

// freePorts returns n different ports that nobody listens on just now.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range 100 * n {
		port := lowestPort + rand.IntN(portsEnd-lowestPort) // #nosec G404 -- not a secret
		listener, err := net.Listen("tcp", address(port))
		if err != nil {
			continue
		}
		defer listener.Close() // held until all are chosen, so that they differ
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("find %d free ports from %d to %d: all tried are taken", n, lowestPort, portsEnd-1)
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// server describes a process that listens on ports chosen for it.
type server struct {
	name  string
	ports int
	spec  func(ports []int) (ProcessSpec, error)
	ready func(ctx context.Context, ports []int) error
	needs []*Process
}

// startServer starts a server and waits until it is ready. Between choosing a
// port and listening on it another process may take it: then others are tried.
func (c *Cluster) startServer(ctx context.Context, s server) ([]int, error) {
	var last error
	for range portAttempts {
		ports, err := freePorts(s.ports)
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", s.name, err)
		}
		last = c.startServerOn(ctx, s, ports)
		if last == nil {
			return ports, nil
		}
		if !errors.Is(last, errPortTaken) {
			break
		}
	}
	return nil, last
}

// errPortTaken marks a server that ended because it could not listen.
var errPortTaken = errors.New("its port is taken")

// startServerOn starts a server on these ports and waits until it is ready; on
// an error it no longer runs.
func (c *Cluster) startServerOn(ctx context.Context, s server, ports []int) error {
	spec, err := s.spec(ports)
	if err != nil {
		return fmt.Errorf("prepare %s: %w", s.name, err)
	}
	spec.Name = s.name
	p, err := c.children.start(spec)
	if err != nil {
		return err
	}
	ready := func(ctx context.Context) error { return s.ready(ctx, ports) }
	err = await(ctx, s.name, ready, append([]*Process{p}, s.needs...)...)
	if err == nil {
		return nil
	}
	if !running(p) && strings.Contains(p.log.tail(), "address already in use") {
		return fmt.Errorf("%w: %w", errPortTaken, err)
	}
	return errors.Join(err, p.Stop(context.WithoutCancel(ctx)))
}

// FreePort returns a port of 127.0.0.1 that nobody listens on just now, for a
// process that is started beside the cluster.
func FreePort() (int, error) {
	ports, err := freePorts(1)
	if err != nil {
		return 0, err
	}
	return ports[0], nil
}
