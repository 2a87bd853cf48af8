package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/capmgr/capmgr/test/fakeaws"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	o := options{listen: "127.0.0.1:0", config: filepath.Join(dir, "config.yaml"), addressFile: filepath.Join(dir, "address")}
	config := "region: us-east-1\nclusterName: ray\ngroups:\n- {name: a, instanceType: m5.large, zone: us-east-1a, max: 1}\n"
	if err := os.WriteFile(o.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, o) }()

	deadline := time.Now().Add(20 * time.Second)
	var address []byte
	for len(address) == 0 {
		if time.Now().After(deadline) {
			t.Fatal("no address was written in time")
		}
		address, _ = os.ReadFile(o.addressFile)
		time.Sleep(time.Millisecond)
	}
	groups, err := fakeaws.NewAdmin(strings.TrimSpace(string(address))).Groups(t.Context())
	if err != nil || len(groups) != 1 || groups[0].Name != "a" {
		t.Errorf("groups %+v, %v", groups, err)
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("did not end in time")
	}
}

func TestRunRefuses(t *testing.T) {
	if err := run(t.Context(), options{}); err == nil || !strings.Contains(err.Error(), "--config") {
		t.Errorf("without a configuration: %v", err)
	}
	if err := run(t.Context(), options{config: filepath.Join(t.TempDir(), "none.yaml")}); err == nil {
		t.Error("a missing configuration was accepted")
	}
}
