package gcs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/capmgr/capmgr/pkg/ray/demand"
	"github.com/capmgr/capmgr/pkg/ray/gcs/autoscalerpb"
)

// Target is one head and how to speak with it.
type Target struct {
	UID     string      // of the RayCluster: a recreated one is another
	Name    string      // for people: "namespace/name"
	Address string      // host:port of the GCS
	Token   string      // "" where the cluster asks for none
	TLS     *tls.Config // nil: plain text, which is Ray's default; compared by pointer
}

// Dialer opens the connections.
type Dialer func(ctx context.Context, address string) (net.Conn, error)

// Client speaks with one head over one connection, which is opened when it is first needed.
type Client struct {
	target  Target
	timeout time.Duration
	conn    *grpc.ClientConn
	api     autoscalerpb.AutoscalerStateServiceClient
}

const (
	// largest is far above the answer of a thousand nodes; gRPC's own bound is not.
	largest = 64 << 20
	// passivePause is the time between two questions to a head that waits to be promoted.
	passivePause = 200 * time.Millisecond
)

// NewClient prepares a client whose every call ends within timeout.
func NewClient(t Target, dial Dialer, timeout time.Duration) (*Client, error) {
	secure := insecure.NewCredentials()
	if t.TLS != nil {
		secure = credentials.NewTLS(t.TLS)
	}
	// The dialer resolves names, so that whoever brings it sees the name; and no proxy of the
	// environment stands between a manager and the pods of its own cluster.
	conn, err := grpc.NewClient("passthrough:///"+t.Address,
		grpc.WithTransportCredentials(secure),
		grpc.WithContextDialer(dial),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(largest)))
	if err != nil {
		return nil, fmt.Errorf("prepare the connection to %s at %s: %w", t.Name, t.Address, err)
	}
	return &Client{target: t, timeout: timeout, conn: conn, api: autoscalerpb.NewAutoscalerStateServiceClient(conn)}, nil
}

// Close ends the connection and the calls that are under way.
func (c *Client) Close() error { return c.conn.Close() }

// Status asks what the cluster waits for and what its nodes do.
func (c *Client) Status(ctx context.Context) (demand.State, error) {
	reply, err := call(ctx, c, c.api.GetClusterStatus, &autoscalerpb.GetClusterStatusRequest{})
	if err != nil {
		return demand.State{}, fmt.Errorf("ask the head of %s at %s for its demand: %w", c.target.Name, c.target.Address, err)
	}
	return Read(reply), nil
}

// call makes one call within the client's timeout. A passive head has not failed, it is about to be
// promoted: it is asked again until the time is up.
func call[Request, Reply any](ctx context.Context, c *Client,
	method func(context.Context, Request, ...grpc.CallOption) (Reply, error), in Request,
) (Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if c.target.Token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.target.Token)
	}
	var refused error
	for {
		out, err := method(ctx, in)
		if refused != nil && ctx.Err() != nil {
			err = refused // says more than that the time is up
		}
		if !Passive(err) || ctx.Err() != nil {
			return out, err
		}
		refused = err
		select {
		case <-ctx.Done():
			return out, err
		case <-time.After(passivePause):
		}
	}
}

// Passive says whether a head refused because another one leads, or will.
func Passive(err error) bool {
	s, ok := statusOf(err)
	return ok && (strings.Contains(s.Message(), "passive (read-only) mode") || strings.Contains(s.Message(), "GcsPassive"))
}

// Denied says whether a head did not accept the token.
func Denied(err error) bool {
	s, _ := statusOf(err)
	return s.Code() == codes.Unauthenticated || s.Code() == codes.PermissionDenied
}

// Unsupported says whether the head's Ray is too old, or too new, for the question.
func Unsupported(err error) bool {
	s, _ := statusOf(err)
	return s.Code() == codes.Unimplemented
}

func statusOf(err error) (*status.Status, bool) {
	var s interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &s) {
		return nil, false // whose code is OK
	}
	return s.GRPCStatus(), true
}
