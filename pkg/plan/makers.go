package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// ForMakers returns a verdict on each object whose pods are gangs of their own, out of those on its pods.
func ForMakers(verdicts []*Verdict) (out []*Verdict) {
	var makers []Owner
	pods := map[string][]*Verdict{}
	for _, v := range verdicts {
		if v.Maker.UID == "" {
			continue
		}
		if pods[v.Maker.UID] == nil {
			makers = append(makers, v.Maker)
		}
		pods[v.Maker.UID] = append(pods[v.Maker.UID], v)
	}
	for _, o := range makers {
		v := ForMaker(o, pods[o.UID])
		out = append(out, &v)
	}
	return out
}

// ForMaker is the verdict on an object out of those on its pods: how many run, and of the others what is
// said of the most. Pods of which nothing is said yet are counted, and no more; where there are no others
// that wait, it is Early.
func ForMaker(maker Owner, pods []*Verdict) Verdict {
	running := 0
	by := map[Reason][]*Verdict{}
	for _, v := range pods {
		switch {
		case v.Reason == Running:
			running++
		case !v.Early:
			by[v.Reason] = append(by[v.Reason], v)
		}
	}
	var waiting []*Verdict
	for _, group := range by {
		if waiting == nil || cmp.Or(cmp.Compare(len(waiting), len(group)), cmp.Compare(group[0].Reason, waiting[0].Reason)) < 0 {
			waiting = group
		}
	}
	count := fmt.Sprintf("%d of %d pods run", running, len(pods))
	if len(waiting) == 0 {
		return Verdict{Gang: maker, Queue: pods[0].Queue, Reason: Running, Message: count, Early: running < len(pods)}
	}
	first := slices.MinFunc(waiting, func(x, y *Verdict) int { return strings.Compare(x.Gang.Name, y.Gang.Name) })
	v := *first
	v.Gang, v.Maker, v.Also, v.Previous = maker, Owner{}, [2]Owner{}, ""
	who := first.Gang.Name + " waits"
	if more := len(waiting) - 1; more > 0 {
		who = fmt.Sprintf("%s and %d more wait", first.Gang.Name, more)
	}
	v.Message = fmt.Sprintf("%s; %s: %s", count, who, first.Message)
	return v
}
