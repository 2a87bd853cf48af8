package fakeaws

import (
	"net/http"
	"slices"
	"sort"

	corev1 "k8s.io/api/core/v1"
)

// eksOperations are the operations of EKS that this server knows.
var eksOperations = map[string]operation{
	"DescribeCluster":   describeCluster,
	"ListNodegroups":    listNodegroups,
	"DescribeNodegroup": describeNodegroup,
}

func notFound(message string) error {
	return &apiError{http.StatusNotFound, "ResourceNotFoundException", message}
}

func (w *world) checkCluster(p params) error {
	if name := p["clusterName"]; name != w.cfg.ClusterName {
		return notFound("No cluster found for name: " + name + ".")
	}
	return nil
}

func describeCluster(w *world, p params) (answer, error) {
	if err := w.checkCluster(p); err != nil {
		return answer{}, err
	}
	name := w.cfg.ClusterName
	return answer{body: map[string]any{"cluster": map[string]any{
		"name": name, "arn": "arn:aws:eks:" + w.cfg.Region + ":000000000000:cluster/" + name,
		"status": "ACTIVE", "version": "1.33", "endpoint": w.cfg.ClusterEndpoint, "tags": map[string]string{},
	}}}, nil
}

// nodegroups are the managed node groups, each with its Auto Scaling groups.
func (w *world) nodegroups() map[string][]*group {
	out := map[string][]*group{}
	for _, g := range w.sortedGroups() {
		if name := g.cfg.EKSNodegroup; name != "" {
			out[name] = append(out[name], g)
		}
	}
	return out
}

func listNodegroups(w *world, p params) (answer, error) {
	if err := w.checkCluster(p); err != nil {
		return answer{}, err
	}
	names := []string{}
	for name := range w.nodegroups() {
		names = append(names, name)
	}
	sort.Strings(names)
	shown, next, err := page(names, p, pagesOfEKS)
	if err != nil {
		return answer{}, err
	}
	body := map[string]any{"nodegroups": shown}
	if next != "" {
		body["nextToken"] = next
	}
	return answer{body: body}, nil
}

func describeNodegroup(w *world, p params) (answer, error) {
	if err := w.checkCluster(p); err != nil {
		return answer{}, err
	}
	name := p["nodegroupName"]
	groups := w.nodegroups()[name]
	if len(groups) == 0 {
		return answer{}, notFound("No node group found for name: " + name + ".")
	}
	first := groups[0]
	size := map[string]int{}
	var members []map[string]string
	var types, subnets []string
	for _, g := range groups {
		size["minSize"] += g.min
		size["maxSize"] += g.max
		size["desiredSize"] += g.desired
		members = append(members, map[string]string{"name": g.cfg.Name})
		types, subnets = append(types, g.cfg.InstanceType), append(subnets, g.subnet())
	}
	slices.Sort(types)
	slices.Sort(subnets)
	return answer{body: map[string]any{"nodegroup": map[string]any{
		"clusterName": w.cfg.ClusterName, "nodegroupName": name,
		"nodegroupArn":  "arn:aws:eks:" + w.cfg.Region + ":000000000000:nodegroup/" + w.cfg.ClusterName + "/" + name,
		"status":        "ACTIVE",
		"createdAt":     float64(first.created.UnixMilli()) / 1000,
		"capacityType":  eksCapacityType(first.cfg.CapacityType),
		"instanceTypes": slices.Compact(types),
		"subnets":       slices.Compact(subnets),
		"scalingConfig": size,
		"labels":        first.wantsLabels(),
		"taints":        eksTaints(first.cfg.Taints),
		"tags":          first.cfg.Tags,
		"resources":     map[string]any{"autoScalingGroups": members},
	}}}, nil
}

func eksCapacityType(capacityType string) string {
	if capacityType == Spot {
		return "SPOT"
	}
	return "ON_DEMAND"
}

// eksTaints words the effects as EKS does.
func eksTaints(taints []corev1.Taint) []map[string]string {
	effects := map[corev1.TaintEffect]string{
		corev1.TaintEffectNoSchedule: "NO_SCHEDULE", corev1.TaintEffectNoExecute: "NO_EXECUTE",
		corev1.TaintEffectPreferNoSchedule: "PREFER_NO_SCHEDULE",
	}
	var out []map[string]string
	for _, t := range taints {
		out = append(out, map[string]string{"key": t.Key, "value": t.Value, "effect": effects[t.Effect]})
	}
	return out
}
