package ray

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/capmgr/capmgr/pkg/ray/demand"
)

// HostOf is what a node of the i-th worker group will declare to Ray, and its labels there: what
// KubeRay makes of the group's resources, else of rayStartParams, else of the first container's
// limits. A GPU's model is not known before a node has come up.
func HostOf(rc *rayv1.RayCluster, i int) (demand.Shape, map[string]string) {
	g := &rc.Spec.WorkerGroupSpecs[i]
	params := maps.Clone(g.RayStartParams)
	if params == nil {
		params = map[string]string{}
	}
	custom := overridden(params, g.Resources)
	if text := params["resources"]; custom == nil && text != "" {
		custom = parseCustom(text)
	}
	if len(g.Template.Spec.Containers) > 0 {
		inferred(params, g.Template.Spec.Containers[0].Resources)
	}
	var shape demand.Shape
	shape.MilliCPU = 1000 * parsed(params["num-cpus"])
	shape.MilliGPU = 1000 * parsed(params["num-gpus"])
	shape.Memory = parsed(params["memory"])
	for _, name := range slices.Sorted(maps.Keys(custom)) {
		if model, ok := strings.CutPrefix(name, demand.AcceleratorPrefix); ok {
			shape.Accelerator = model
			continue
		}
		shape.Custom = append(shape.Custom, demand.Custom{Name: name, Milli: int64(math.Round(min(custom[name], most) * 1000))})
	}
	return shape, g.Labels
}

// most is more than any node has, and far from where thousandths of it overflow.
const most = 1 << 40

// overridden puts the group's own resources over the start parameters, as KubeRay does.
func overridden(params map[string]string, own map[string]string) (custom map[string]float64) {
	for name, text := range own {
		q, err := resource.ParseQuantity(text)
		if err != nil {
			continue // KubeRay leaves it out as well
		}
		switch lower := strings.ToLower(name); {
		case lower == "cpu":
			params["num-cpus"] = strconv.FormatInt(q.Value(), 10)
		case lower == "memory":
			params["memory"] = strconv.FormatInt(q.Value(), 10)
		case strings.HasSuffix(lower, "gpu"):
			params["num-gpus"] = strconv.FormatInt(q.Value(), 10)
		default:
			if custom == nil {
				custom = map[string]float64{}
			}
			custom[name] = q.AsApproximateFloat64()
		}
	}
	return custom
}

// parseCustom reads the parameter resources: JSON in quotes for the shell, such as '"{\"x\": 1}"'.
func parseCustom(text string) map[string]float64 {
	text = strings.Trim(text, `'"`)
	text = strings.ReplaceAll(text, `\"`, `"`)
	var custom map[string]float64
	if json.Unmarshal([]byte(text), &custom) != nil {
		return nil // ray start refuses it too: such a node never comes up
	}
	maps.DeleteFunc(custom, func(_ string, amount float64) bool { return !(amount > 0) })
	return custom
}

// inferred fills in what the container's resources say and the parameters do not.
func inferred(params map[string]string, r corev1.ResourceRequirements) {
	set := func(key string, q resource.Quantity) {
		if _, there := params[key]; !there && !q.IsZero() {
			params[key] = strconv.FormatInt(q.Value(), 10)
		}
	}
	set("num-cpus", r.Limits[corev1.ResourceCPU])
	set("num-cpus", r.Requests[corev1.ResourceCPU])
	set("memory", r.Limits[corev1.ResourceMemory])
	for _, name := range slices.Sorted(maps.Keys(r.Limits)) {
		if strings.HasSuffix(string(name), "gpu") {
			set("num-gpus", r.Limits[name])
		}
	}
}

func parsed(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return min(n, most)
}
