package kubelet

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
)

// serveNames answers for the cluster's DNS, as far as Ray's workers ask: where the pods of a headless
// service are. The address is there once the bridge is, with the first pod.
func serveNames(t *testing.T, kube kubernetes.Interface) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var conn net.PacketConn
		for conn == nil && ctx.Err() == nil {
			var err error
			if conn, err = (&net.ListenConfig{}).ListenPacket(ctx, "udp", gateway+":53"); err != nil {
				select {
				case <-ctx.Done():
				case <-time.After(200 * time.Millisecond):
				}
			}
		}
		if conn == nil {
			return
		}
		go func() { <-ctx.Done(); conn.Close() }()
		buffer := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			if answer := answerTo(ctx, kube, buffer[:n]); answer != nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
}

func answerTo(ctx context.Context, kube kubernetes.Interface, query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	m.Response, m.Authoritative, m.RecursionAvailable = true, true, false
	m.Answers, m.Authorities, m.Additionals = nil, nil, nil
	addresses := podsBehind(ctx, kube, q.Name.String())
	if addresses == nil {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, a := range addresses {
		if ip := net.ParseIP(a).To4(); ip != nil && q.Type == dnsmessage.TypeA {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: 1},
				Body:   &dnsmessage.AResource{A: [4]byte(ip)}})
		}
	}
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}

// podsBehind are the addresses of the pods that a service selects; nil when there is no such service.
func podsBehind(ctx context.Context, kube kubernetes.Interface, name string) []string {
	parts := strings.SplitN(strings.TrimSuffix(name, "."), ".", 3)
	if len(parts) != 3 || parts[2] != "svc.cluster.local" {
		return nil
	}
	s, err := kube.CoreV1().Services(parts[1]).Get(ctx, parts[0], metav1.GetOptions{})
	if err != nil {
		return nil
	}
	pods, err := kube.CoreV1().Pods(parts[1]).List(ctx, metav1.ListOptions{LabelSelector: labels.Set(s.Spec.Selector).String()})
	if err != nil {
		return nil
	}
	out := []string{}
	for _, p := range pods.Items {
		if p.Status.Phase == corev1.PodRunning {
			out = append(out, p.Status.PodIP)
		}
	}
	return out
}
