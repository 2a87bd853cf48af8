package fakegcs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
)

// Proxy is a SOCKS5 proxy behind which heads are reached at the addresses that their clusters name, for a
// manager that is another process. It knows no other address.
type Proxy struct {
	URL string // for ALL_PROXY

	listener net.Listener
	open     sync.WaitGroup

	mu    sync.Mutex
	heads map[string]*Server // by address
	conns map[net.Conn]bool
}

// StartProxy begins to listen on a port of this machine. Stop it.
func StartProxy(ctx context.Context) (*Proxy, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start a proxy: %w", err)
	}
	p := &Proxy{URL: "socks5://" + l.Addr().String(), listener: l, heads: map[string]*Server{}, conns: map[net.Conn]bool{}}
	p.open.Go(p.accept)
	return p, nil
}

// Stop cuts all connections.
func (p *Proxy) Stop() error {
	err := p.listener.Close()
	p.mu.Lock()
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.open.Wait()
	return err
}

// Route has a head answer at an address from now on.
func (p *Proxy) Route(address string, head *Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heads[address] = head
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return // stopped
		}
		p.keep(c, true)
		p.open.Go(func() {
			defer p.keep(c, false)
			_ = p.serve(c)
		})
	}
}

func (p *Proxy) keep(c net.Conn, is bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if is {
		p.conns[c] = true
		return
	}
	delete(p.conns, c)
	_ = c.Close()
}

// Bytes of SOCKS5; see RFC 1928.
const (
	version     = 5
	noAuth      = 0
	connect     = 1
	ipv4        = 1
	domain      = 3
	succeeded   = 0
	unreachable = 4
)

// serve answers one connection.
func (p *Proxy) serve(c net.Conn) error {
	greeting := make([]byte, 2)
	if _, err := io.ReadFull(c, greeting); err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, c, int64(greeting[1])); err != nil {
		return err
	}
	if _, err := c.Write([]byte{version, noAuth}); err != nil {
		return err
	}
	address, err := request(c)
	if err != nil {
		return err
	}
	p.mu.Lock()
	head := p.heads[address]
	p.mu.Unlock()
	reply := []byte{version, succeeded, 0, ipv4, 0, 0, 0, 0, 0, 0}
	if head == nil {
		reply[1] = unreachable
		_, err := c.Write(reply)
		return err
	}
	to, err := head.Dial(context.Background(), address)
	if err != nil {
		return err
	}
	p.keep(to, true)
	defer p.keep(to, false)
	if _, err := c.Write(reply); err != nil {
		return err
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(c, to)
		_ = c.Close()
	})
	_, err = io.Copy(to, c)
	_ = to.Close()
	back.Wait()
	return err
}

// request reads where a connection is to go.
func request(c net.Conn) (address string, err error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(c, head); err != nil {
		return "", err
	}
	if head[1] != connect {
		return "", errors.New("not a connection")
	}
	n := net.IPv4len
	switch head[3] {
	case ipv4:
	case domain:
		length := make([]byte, 1)
		if _, err := io.ReadFull(c, length); err != nil {
			return "", err
		}
		n = int(length[0])
	default:
		return "", fmt.Errorf("an address of type %d", head[3])
	}
	host, port := make([]byte, n), make([]byte, 2)
	if _, err := io.ReadFull(c, host); err != nil {
		return "", err
	}
	if _, err := io.ReadFull(c, port); err != nil {
		return "", err
	}
	name := string(host)
	if head[3] == ipv4 {
		name = net.IP(host).String()
	}
	return net.JoinHostPort(name, strconv.Itoa(int(binary.BigEndian.Uint16(port)))), nil
}
