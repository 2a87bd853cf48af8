package stack

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

// deploy applies what deploy/kind ships, but for the Deployment: the manager runs as a process,
// under the same service account.
func (s *Stack) deploy(ctx context.Context) error {
	manifests, err := s.Render(ctx, "kind")
	if err != nil {
		return err
	}
	kept, err := without(manifests, "Deployment")
	if err != nil {
		return err
	}
	if err := s.ApplyText(ctx, kept); err != nil {
		return err
	}
	s.account, err = s.ServiceAccountKubeconfig(ctx, "capmgr-system", "capmgr")
	return err
}

// AccountConfig is how capmgr's service account reaches the API server.
func (s *Stack) AccountConfig() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", s.account)
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig of capmgr's account: %w", err)
	}
	config.QPS = -1
	return config, nil
}

// Render returns an overlay of deploy/ as one YAML stream.
func (s *Stack) Render(ctx context.Context, overlay string) (string, error) {
	return s.Kubectl(ctx, nil, "kustomize", filepath.Join(s.Root, "deploy", overlay))
}

// ApplyText applies a YAML stream with strict validation, as a user's `kubectl apply` would.
func (s *Stack) ApplyText(ctx context.Context, manifests string) error {
	_, err := s.Kubectl(ctx, strings.NewReader(manifests),
		"apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", "-")
	return err
}

// without drops the objects of one kind from a YAML stream.
func without(manifests, kind string) (string, error) {
	var kept []string
	for _, doc := range strings.Split(manifests, "\n---\n") {
		var head struct {
			Kind string `json:"kind"`
		}
		if err := yaml.Unmarshal([]byte(doc), &head); err != nil {
			return "", fmt.Errorf("read rendered manifests: %w", err)
		}
		if head.Kind != kind {
			kept = append(kept, doc)
		}
	}
	return strings.Join(kept, "\n---\n"), nil
}

// AddNode makes a node outside every node group, and waits until it is Ready.
func (s *Stack) AddNode(ctx context.Context, name, cpu, memory string, gpus int64) error {
	room := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
		corev1.ResourcePods: resource.MustParse("110"), corev1.ResourceEphemeralStorage: resource.MustParse("100Gi"),
	}
	if gpus > 0 {
		room["nvidia.com/gpu"] = *resource.NewQuantity(gpus, resource.DecimalSI)
	}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
			corev1.LabelTopologyZone: "us-east-1a", corev1.LabelInstanceTypeStable: "local"}},
		Status: corev1.NodeStatus{Capacity: room, Allocatable: room},
	}
	if _, err := s.Kube.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create node %s: %w", name, err)
	}
	return poll(ctx, 30*time.Second, "node "+name+" to be Ready", func(ctx context.Context) (bool, error) {
		n, err := s.Kube.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		return nodeReady(n), nil
	})
}

func nodeReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
