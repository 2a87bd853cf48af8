package main

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
)

var (
	//go:embed manifests/elastic.yaml
	elasticManifest string
	//go:embed manifests/decode.yaml
	decodeManifest string
	//go:embed manifests/sweep.yaml
	sweepManifest string
)

// elastic lets a RayJob that wants four workers start with the two that there is room for, grow when the
// other queue's work ends, and shrink by name when it returns. The job runs all the time.
func (d *story) elastic(ctx context.Context) error {
	d.t.doing("decode takes the two GPUs of queue speech")
	if err := d.s.Client.Delete(ctx, &corev1.Pod{ObjectMeta: meta("build-pod")}); err != nil {
		return fmt.Errorf("delete build-pod: %w", err)
	}
	for _, name := range []string{"gpu-3", "gpu-4"} {
		if err := d.s.AddNode(ctx, name, "8", "32Gi", 1); err != nil {
			return err
		}
	}
	for _, manifest := range []string{elasticManifest, decodeManifest} {
		if err := d.s.ApplyText(ctx, manifest); err != nil {
			return err
		}
	}
	if err := d.awaitReady(ctx, "decode", 60*time.Second); err != nil {
		return err
	}
	d.t.doing("RayJob sweep wants four workers, and there is room for two")
	applied := time.Now()
	if err := d.s.ApplyText(ctx, sweepManifest); err != nil {
		return err
	}
	job, err := d.awaitRunning(ctx, "sweep")
	if err != nil {
		return err
	}
	if err := d.awaitWorkers(ctx, job, 2); err != nil {
		return err
	}
	d.t.figure("sweep runs with 2 of 4 workers after", seconds(time.Since(applied)))
	out, _, _, err := d.s.Capmgr(ctx, "explain", "rayjob/sweep")
	if err != nil {
		return err
	}
	d.quote("$ capmgr explain rayjob/sweep", out)

	d.t.doing("decode ends")
	ended := time.Now()
	if err := d.s.Client.Delete(ctx, &rayv1.RayCluster{ObjectMeta: meta("decode")}); err != nil {
		return fmt.Errorf("delete decode: %w", err)
	}
	if err := d.awaitWorkers(ctx, job, 4); err != nil {
		return err
	}
	d.t.figure("decode ended; sweep has all 4 after", seconds(time.Since(ended)))

	d.t.doing("decode is back, and takes its queue's own two GPUs")
	back := time.Now()
	if err := d.s.ApplyText(ctx, decodeManifest); err != nil {
		return err
	}
	if err := d.awaitReady(ctx, "decode", 60*time.Second); err != nil {
		return err
	}
	d.t.figure("decode returned; it runs again after", seconds(time.Since(back)))
	if err := d.awaitWorkers(ctx, job, 2); err != nil {
		return err
	}
	if err := d.shrunkByName(ctx, job); err != nil {
		return err
	}
	return d.finish(ctx, "sweep", job)
}

// awaitRunning waits until a RayJob runs, and returns its RayCluster's name.
func (d *story) awaitRunning(ctx context.Context, name string) (cluster string, err error) {
	err = await(ctx, 60*time.Second, "RayJob "+name+" to run", func(ctx context.Context) (bool, string, error) {
		j := &rayv1.RayJob{}
		err := d.s.Client.Get(ctx, key(name), j)
		cluster = j.Status.RayClusterName
		return j.Status.JobDeploymentStatus == rayv1.JobDeploymentStatusRunning, fmt.Sprintf("%q; verdict %s", j.Status.JobDeploymentStatus, j.Annotations["capmgr.io/verdict"]), err
	})
	return cluster, err
}

// awaitWorkers waits until so many workers of a RayCluster run, and none waits.
func (d *story) awaitWorkers(ctx context.Context, cluster string, want int) error {
	return await(ctx, 60*time.Second, fmt.Sprintf("%d workers of %s", want, cluster), func(ctx context.Context) (bool, string, error) {
		pods, err := d.pods(ctx, cluster)
		bound, there := 0, 0
		for _, p := range pods {
			if p.Labels["ray.io/node-type"] != "worker" || p.DeletionTimestamp != nil {
				continue
			}
			there++
			if p.Spec.NodeName != "" {
				bound++
			}
		}
		return bound == want && there == want, fmt.Sprintf("%d, of which %d are bound", there, bound), err
	})
}

// shrunkByName finds capmgr's own account of who left.
func (d *story) shrunkByName(ctx context.Context, cluster string) error {
	return await(ctx, 10*time.Second, "a WorkerGroupResized event that names two workers", func(ctx context.Context) (bool, string, error) {
		events, err := d.events(ctx, cluster)
		for _, e := range events {
			if _, names, ok := strings.Cut(e.Message, "leaving: "); ok && strings.Contains(e.Message, "from 4 to 2") && strings.Count(names, ",") == 1 {
				d.t.figure("left by name", names)
				return true, "", nil
			}
		}
		return false, fmt.Sprintf("%d events", len(events)), err
	})
}

// finish checks that a job has been the same all the time, and lets it end.
func (d *story) finish(ctx context.Context, name, cluster string) error {
	j := &rayv1.RayJob{}
	if err := d.s.Client.Get(ctx, key(name), j); err != nil {
		return err
	}
	if err := expect(j.Status.JobDeploymentStatus == rayv1.JobDeploymentStatusRunning && j.Status.RayClusterName == cluster,
		name+" to run as ever", "%s on %s", j.Status.JobDeploymentStatus, j.Status.RayClusterName); err != nil {
		return err
	}
	d.dashboards.Finish(j.Status.JobId)
	return await(ctx, 60*time.Second, "RayJob "+name+" to complete", func(ctx context.Context) (bool, string, error) {
		err := d.s.Client.Get(ctx, key(name), j)
		return j.Status.JobDeploymentStatus == rayv1.JobDeploymentStatusComplete, string(j.Status.JobDeploymentStatus), err
	})
}
