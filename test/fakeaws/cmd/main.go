// Command cmd serves fake AWS endpoints until it is told to stop.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/capmgr/capmgr/test/fakeaws"
)

// shutdownGrace is how long calls under way may take after the signal.
const shutdownGrace = 3 * time.Second

type options struct {
	listen, config, kubeconfig, addressFile string
}

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:0", "address to listen on")
	flag.StringVar(&o.config, "config", "", "configuration file (required)")
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "cluster in which instances become nodes; none if empty")
	flag.StringVar(&o.addressFile, "address-file", "", "file to write the chosen URL to")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "fakeaws:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, o options) error {
	if o.config == "" {
		return errors.New("--config is required")
	}
	cfg, err := fakeaws.LoadConfig(o.config)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	nodes, err := kubeNodes(o.kubeconfig, log)
	if err != nil {
		return err
	}
	server, err := fakeaws.New(cfg, fakeaws.Options{Nodes: nodes, Log: log})
	if err != nil {
		return fmt.Errorf("start server: %w", err)
	}
	defer server.Close()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	address := "http://" + listener.Addr().String()
	if err := writeAddress(o.addressFile, address); err != nil {
		return errors.Join(err, listener.Close())
	}
	log.Info("Serving", "address", address, "groups", len(cfg.Groups), "kubernetes", nodes != nil)
	return serve(ctx, listener, server)
}

func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		// A slow response may outlast the grace; its client gets no answer then.
		return server.Close()
	}
	return nil
}

// kubeNodes is nil, and not an empty KubeNodes, when there is no cluster.
func kubeNodes(kubeconfig string, log *slog.Logger) (fakeaws.Nodes, error) {
	if kubeconfig == "" {
		return nil, nil
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	// A group of a hundred nodes joins at once, like real ones do.
	cfg.QPS, cfg.Burst = 200, 400
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	return fakeaws.NewKubeNodes(client, fakeaws.RealClock{}, log), nil
}

// writeAddress writes the file in one step, so that a waiting parent never reads half of it.
func writeAddress(path, address string) error {
	if path == "" {
		return nil
	}
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	if err := os.WriteFile(temporary, []byte(address+"\n"), 0o600); err != nil {
		return fmt.Errorf("write address file: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("write address file: %w", err)
	}
	return nil
}
