package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/capmgr/capmgr/test/localcluster"
)

// environment is how the manager finds the fake AWS; the credentials open nothing.
func (s *Stack) environment() []string {
	env := []string{
		"AWS_ENDPOINT_URL=" + s.awsURL, "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=AKIAFAKE", "AWS_SECRET_ACCESS_KEY=fake", "AWS_EC2_METADATA_DISABLED=true",
		"KUBECONFIG=" + s.account,
	}
	if s.proxy != "" {
		env = append(env, "ALL_PROXY="+s.proxy)
	}
	return env
}

// Manager is a running `capmgr run`.
type Manager struct {
	*localcluster.Process
	probe string // address of its health checks
}

// StartManager runs `capmgr run` under its service account and waits until it is ready.
func (s *Stack) StartManager(ctx context.Context) error {
	m, err := s.LaunchManager(ctx, ManagerProcess)
	if err != nil {
		return err
	}
	return m.AwaitReady(ctx)
}

// LaunchManager starts `capmgr run` and waits for nothing. Each of several managers needs a name of
// its own; one that has ended may be started again under the same name.
func (s *Stack) LaunchManager(ctx context.Context, name string) (*Manager, error) {
	port, err := localcluster.FreePort()
	if err != nil {
		return nil, err
	}
	probe := fmt.Sprintf("127.0.0.1:%d", port)
	p, err := s.StartProcess(ctx, localcluster.ProcessSpec{
		Name: name, Path: filepath.Join(s.bin, "capmgr"), Env: s.environment(),
		Args: []string{"run", "--config=" + s.config, "--metrics-bind-address=0", "--health-probe-bind-address=" + probe, "-v=1"},
	})
	if err != nil {
		return nil, err
	}
	return &Manager{p, probe}, nil
}

// AwaitReady waits until the manager says that it is ready, and fails when it ends before that.
func (m *Manager) AwaitReady(ctx context.Context) error {
	return poll(ctx, 60*time.Second, m.Name+" to be ready", func(ctx context.Context) (bool, error) {
		select {
		case <-m.Done():
			return false, fmt.Errorf("it ended; its log is %s: %w", m.LogPath, errors.Join(m.Err(), errors.New("capmgr is not running")))
		default:
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.probe+"/readyz", nil)
		if err != nil {
			return false, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false, nil //nolint:nilerr // not listening yet
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK, nil
	})
}

// Capmgr runs a subcommand as the administrator and returns what it printed and its exit status.
func (s *Stack) Capmgr(ctx context.Context, args ...string) (stdout, stderr string, status int, err error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "capmgr"), args...) //nolint:gosec // our own binary
	cmd.Env = append(os.Environ(), append(s.environment(), "KUBECONFIG="+s.Kubeconfig)...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return out.String(), errOut.String(), exit.ExitCode(), nil
	}
	return out.String(), errOut.String(), 0, err
}

// ConfigPath is the configuration file that the manager runs with.
func (s *Stack) ConfigPath() string { return s.config }

// SamplePath is the path of one of KubeRay's own samples, as downloaded.
func (s *Stack) SamplePath(name string) string {
	return filepath.Join(s.share, "kuberay", "samples", name)
}
