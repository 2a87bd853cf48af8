package v1alpha1

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (v *validator) scaling(s *Scaling, path *field.Path) {
	if s == nil {
		return
	}
	v.gpus(s, path)
	maxNodes := path.Child("maxNodes")
	for _, group := range sortedKeys(s.MaxNodes) {
		at, n := child(maxNodes, group), s.MaxNodes[group]
		v.groupExists(group, at)
		v.notNegative(&n, at)
	}
	ladder := path.Child("ladder")
	for i, group := range s.Ladder {
		v.groupExists(group, ladder.Index(i))
		if first := slices.Index(s.Ladder, group); first < i {
			v.duplicate(ladder.Index(i), group, ladder.Index(first))
		}
	}
	if d := s.PreferScaleUpFor; d != nil && d.Duration < 0 {
		v.invalid(path.Child("preferScaleUpFor"), d.Duration.String(), "must be 0s or longer, not %s", d.Duration)
	}
}

func (v *validator) gpus(s *Scaling, path *field.Path) {
	if s.MinGPUs < 0 {
		v.invalid(path.Child("minGPUs"), s.MinGPUs, "must be 0 or more, not %d", s.MinGPUs)
	}
	v.notNegative(s.MaxGPUs, path.Child("maxGPUs"))
	if s.MaxGPUs != nil && *s.MaxGPUs >= 0 && s.MinGPUs > *s.MaxGPUs {
		v.invalid(path.Child("minGPUs"), s.MinGPUs, "must be at most maxGPUs, %d; it is %d", *s.MaxGPUs, s.MinGPUs)
	}
	if s.MinGPUs > 0 && v.onlyDelegated(s.Ladder) {
		v.invalid(path.Child("minGPUs"), s.MinGPUs, "none of the groups that can be bought from keeps nodes warm: other autoscalers "+
			"make nodes for pods that wait, and remove idle ones; use a group of provider aws, or leave it out")
	}
}

// onlyDelegated says whether all the groups of a ladder, or all there are, are grown by others.
func (v *validator) onlyDelegated(ladder []string) bool {
	groups, others := 0, 0
	for i := range v.config.NodeGroups {
		g := &v.config.NodeGroups[i]
		if len(ladder) > 0 && !slices.Contains(ladder, g.Name) {
			continue
		}
		groups++
		if g.Delegated() {
			others++
		}
	}
	return groups > 0 && groups == others
}

// noWarmDefault refuses GPUs that would be kept once for every queue that anybody makes.
func (v *validator) noWarmDefault(path *field.Path) {
	if s := v.config.Defaults.Scaling; s != nil && s.MinGPUs > 0 {
		v.invalid(path, s.MinGPUs, "must be left out here, where it would hold for every queue; set it on the queues that need it")
	}
}

// groupExists reports a reference to a group that is not configured.
func (v *validator) groupExists(name string, path *field.Path) {
	names := make([]string, 0, len(v.config.NodeGroups))
	for _, g := range v.config.NodeGroups {
		names = append(names, g.Name)
	}
	if slices.Contains(names, name) {
		return
	}
	slices.Sort(names)
	remedy := "configured: " + strings.Join(names, ", ")
	if len(names) == 0 {
		remedy = "no node group is configured"
	} else if near := nearest(name, names); near != "" {
		remedy = "did you mean " + near + "?"
	}
	err := field.NotFound(path, name)
	err.Detail = fmt.Sprintf("there is no node group %q; %s", name, remedy)
	v.errs = append(v.errs, err)
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
