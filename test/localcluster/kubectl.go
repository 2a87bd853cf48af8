package localcluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// fieldManager owns what Apply writes.
const fieldManager = "capmgr-localcluster"

// Kubectl runs kubectl as the administrator and returns its standard output;
// the error carries its standard error. Argument stdin may be nil.
func (c *Cluster) Kubectl(ctx context.Context, stdin io.Reader, args ...string) (stdout string, err error) {
	var out, problems bytes.Buffer
	all := append([]string{"--kubeconfig=" + c.Kubeconfig}, args...)
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, "kubectl"), all...) // #nosec G204 -- the caller's arguments are the purpose
	cmd.Env = baseEnv(c.Dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &problems
	cmd.WaitDelay = time.Second // a reader that never ends must not hold a killed kubectl
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("run kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(problems.String()))
	}
	return out.String(), nil
}

// Apply applies files, or all manifests in folders, server-side: KubeRay's CRDs
// are larger than the annotation that a client-side apply keeps. It waits for
// CRDs that it applies, and for the kinds of what it applies, to be served.
func (c *Cluster) Apply(ctx context.Context, paths ...string) error {
	args := []string{"apply", "--server-side", "--field-manager=" + fieldManager, "--output=name"}
	for _, path := range paths {
		absolute, err := filepath.Abs(path)
		if err != nil {
			return fmt.Errorf("resolve %s: %w", path, err)
		}
		args = append(args, "--filename="+absolute)
	}
	names, err := c.applyServed(ctx, args)
	if err != nil {
		return err
	}
	return c.established(ctx, names)
}

// install applies CRDs, those that it has applied before left out: KubeRay's
// take seconds even when nothing changes.
func (c *Cluster) install(ctx context.Context, paths ...string) error {
	for _, path := range paths {
		absolute, err := filepath.Abs(path)
		if err != nil {
			return fmt.Errorf("resolve %s: %w", path, err)
		}
		if _, done := c.installed.Load(absolute); done {
			continue
		}
		c.progress("installing CRDs from " + filepath.Join(filepath.Base(filepath.Dir(absolute)), filepath.Base(absolute)))
		if err := c.Apply(ctx, absolute); err != nil {
			return err
		}
		c.installed.Store(absolute, true)
	}
	return nil
}

// applyServed tries again while a kind is unknown: a CRD is established a
// moment before discovery, which kubectl asks, tells of it.
func (c *Cluster) applyServed(ctx context.Context, args []string) (names string, err error) {
	var final error
	err = await(ctx, "the kinds to be served", func(context.Context) error {
		// Not the short context of one question: large manifests take seconds.
		names, final = c.Kubectl(ctx, nil, args...)
		if final != nil && strings.Contains(final.Error(), "no matches for kind") {
			return final
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return names, final
}

// established waits until the CRDs among the names are served. kubectl itself gives up on one that has no
// status yet.
func (c *Cluster) established(ctx context.Context, names string) error {
	args := []string{"wait", "--for=condition=Established", "--timeout=1s"}
	for _, name := range strings.Fields(names) {
		if strings.HasPrefix(name, "customresourcedefinition.") {
			args = append(args, name)
		}
	}
	if len(args) == 3 {
		return nil
	}
	return await(ctx, "definitions to be served", func(ctx context.Context) error {
		_, err := c.Kubectl(ctx, nil, args...)
		return err
	})
}
