package fakeaws

import (
	"slices"
	"sort"
	"strings"
	"time"
)

type describeGroupsResult struct {
	AutoScalingGroups []xmlGroup `xml:"AutoScalingGroups>member"`
	NextToken         string     `xml:",omitempty"`
}

type xmlGroup struct {
	AutoScalingGroupName             string
	AutoScalingGroupARN              string
	LaunchTemplate                   xmlLaunchTemplate
	MinSize                          int
	MaxSize                          int
	DesiredCapacity                  int
	DefaultCooldown                  int
	AvailabilityZones                []string `xml:"AvailabilityZones>member"`
	AvailabilityZoneIDs              []string `xml:"AvailabilityZoneIds>member"`
	VPCZoneIdentifier                string
	HealthCheckType                  string
	HealthCheckGracePeriod           int
	CreatedTime                      string
	NewInstancesProtectedFromScaleIn bool
	TerminationPolicies              []string        `xml:"TerminationPolicies>member"`
	Instances                        []xmlMember     `xml:"Instances>member"`
	Tags                             []xmlTag        `xml:"Tags>member"`
	SuspendedProcesses               []xmlSuspension `xml:"SuspendedProcesses>member"`
}

type xmlLaunchTemplate struct {
	LaunchTemplateID   string `xml:"LaunchTemplateId"`
	LaunchTemplateName string
	Version            string
}

type xmlMember struct {
	InstanceID           string `xml:"InstanceId"`
	AutoScalingGroupName string `xml:",omitempty"` // only where the group is not around it
	InstanceType         string
	AvailabilityZone     string
	AvailabilityZoneID   string `xml:"AvailabilityZoneId"`
	LifecycleState       string
	HealthStatus         string
	LaunchTemplate       xmlLaunchTemplate
	ProtectedFromScaleIn bool
}

type xmlTag struct {
	ResourceID        string `xml:"ResourceId"`
	ResourceType      string
	Key               string
	Value             string
	PropagateAtLaunch bool
}

type xmlSuspension struct {
	ProcessName      string
	SuspensionReason string
}

func newXMLMember(i *instance) xmlMember {
	return xmlMember{
		InstanceID: i.ID, InstanceType: i.InstanceType, AvailabilityZone: i.Zone, AvailabilityZoneID: i.group.zoneID(),
		LifecycleState: i.State, HealthStatus: "Healthy", LaunchTemplate: newXMLLaunchTemplate(i.group),
		ProtectedFromScaleIn: i.Protected,
	}
}

func newXMLLaunchTemplate(g *group) xmlLaunchTemplate {
	return xmlLaunchTemplate{LaunchTemplateID: g.launchTemplate(), LaunchTemplateName: g.cfg.Name, Version: "1"}
}

func newXMLGroup(g *group, region string) xmlGroup {
	out := xmlGroup{
		AutoScalingGroupName: g.cfg.Name, AutoScalingGroupARN: g.arn(region), LaunchTemplate: newXMLLaunchTemplate(g),
		MinSize: g.min, MaxSize: g.max, DesiredCapacity: g.desired, DefaultCooldown: 300,
		AvailabilityZones: []string{g.cfg.Zone}, AvailabilityZoneIDs: []string{g.zoneID()}, VPCZoneIdentifier: g.subnet(),
		HealthCheckType: "EC2", CreatedTime: wireTime(g.created), TerminationPolicies: []string{"Default"},
		NewInstancesProtectedFromScaleIn: g.cfg.ProtectNewInstances, Tags: groupTags(g),
	}
	for _, i := range g.members {
		out.Instances = append(out.Instances, newXMLMember(i))
	}
	for name := range g.suspended {
		out.SuspendedProcesses = append(out.SuspendedProcesses, xmlSuspension{ProcessName: name, SuspensionReason: "User suspended"})
	}
	sort.Slice(out.SuspendedProcesses, func(a, b int) bool {
		return out.SuspendedProcesses[a].ProcessName < out.SuspendedProcesses[b].ProcessName
	})
	return out
}

func groupTags(g *group) []xmlTag {
	var out []xmlTag
	for key, tag := range g.tags {
		out = append(out, xmlTag{ResourceID: g.cfg.Name, ResourceType: resourceTypeGroup, Key: key, Value: tag.value, PropagateAtLaunch: tag.propagate})
	}
	sort.Slice(out, func(a, b int) bool { return out[a].Key < out[b].Key })
	return out
}

func describeAutoScalingGroups(w *world, p params) (answer, error) {
	names, filters := p.list("AutoScalingGroupNames"), p.each("Filters")
	var found []*group
	for _, g := range w.sortedGroups() {
		if len(names) > 0 && !slices.Contains(names, g.cfg.Name) {
			continue
		}
		ok, err := matchGroup(g, filters)
		if err != nil {
			return answer{}, err
		}
		if ok {
			found = append(found, g)
		}
	}
	shown, next, err := page(found, p, pagesOfGroups)
	if err != nil {
		return answer{}, err
	}
	body := describeGroupsResult{NextToken: next}
	for _, g := range shown {
		x := newXMLGroup(g, w.cfg.Region)
		if p["IncludeInstances"] == "false" {
			x.Instances = nil
		}
		body.AutoScalingGroups = append(body.AutoScalingGroups, x)
	}
	return answer{body: body}, nil
}

// matchGroup says whether the group passes all filters; a filter is passed by any of its values.
func matchGroup(g *group, filters []params) (bool, error) {
	for _, f := range filters {
		values, passed := f.list("Values"), false
		key, byKey := strings.CutPrefix(f["Name"], "tag:")
		switch {
		case byKey:
			tag, ok := g.tags[key]
			passed = ok && slices.Contains(values, tag.value)
		case f["Name"] == "tag-key", f["Name"] == "tag-value":
			for k, tag := range g.tags {
				passed = passed || slices.Contains(values, k) && f["Name"] == "tag-key" ||
					slices.Contains(values, tag.value) && f["Name"] == "tag-value"
			}
		default:
			return false, invalid("Filter type %s is not correct. Allowed Filter types are: tag-key tag-value tag:", f["Name"])
		}
		if !passed {
			return false, nil
		}
	}
	return true, nil
}

type describeInstancesResult struct {
	AutoScalingInstances []xmlMember `xml:"AutoScalingInstances>member"`
	NextToken            string      `xml:",omitempty"`
}

func describeAutoScalingInstances(w *world, p params) (answer, error) {
	ids := p.list("InstanceIds")
	if len(ids) > 50 {
		return answer{}, invalid("At most 50 instance IDs can be given, not %d", len(ids))
	}
	var found []*instance
	for _, i := range w.history {
		if i.State != Terminated && (len(ids) == 0 || slices.Contains(ids, i.ID)) {
			found = append(found, i)
		}
	}
	shown, next, err := page(found, p, pageNames{"MaxRecords", "NextToken", 50, 50, "InvalidNextToken"})
	if err != nil {
		return answer{}, err
	}
	body := describeInstancesResult{NextToken: next}
	for _, i := range shown {
		x := newXMLMember(i)
		x.AutoScalingGroupName = i.Group
		// This operation alone writes the health in capitals.
		x.HealthStatus = strings.ToUpper(x.HealthStatus)
		body.AutoScalingInstances = append(body.AutoScalingInstances, x)
	}
	return answer{body: body}, nil
}

type describeActivitiesResult struct {
	Activities []xmlActivity `xml:"Activities>member"`
	NextToken  string        `xml:",omitempty"`
}

type xmlActivity struct {
	ActivityID           string `xml:"ActivityId"`
	AutoScalingGroupName string
	AutoScalingGroupARN  string
	Description          string
	Cause                string
	StartTime            string
	EndTime              string `xml:",omitempty"`
	StatusCode           string
	StatusMessage        string `xml:",omitempty"`
	Progress             int
	Details              string
}

func newXMLActivity(a *activity, region string) xmlActivity {
	return xmlActivity{
		ActivityID: a.id, AutoScalingGroupName: a.group.cfg.Name, AutoScalingGroupARN: a.group.arn(region),
		Description: a.description, Cause: "At " + wireTime(a.start) + ": " + a.cause, StartTime: wireTime(a.start), EndTime: wireTime(a.end),
		StatusCode: a.status, StatusMessage: a.message, Progress: a.progress,
		Details: `{"Subnet ID":"` + a.group.subnet() + `","Availability Zone":"` + a.group.cfg.Zone + `"}`,
	}
}

func describeScalingActivities(w *world, p params) (answer, error) {
	groups := w.sortedGroups()
	if name := p["AutoScalingGroupName"]; name != "" {
		g, err := w.group(name)
		if err != nil {
			return answer{}, err
		}
		groups = []*group{g}
	}
	ids, filters := p.list("ActivityIds"), p.each("Filters")
	var found []*activity
	for _, g := range groups {
		for _, a := range g.activities {
			ok, err := matchActivity(a, filters)
			if err != nil {
				return answer{}, err
			}
			if ok && (len(ids) == 0 || slices.Contains(ids, a.id)) {
				found = append(found, a)
			}
		}
	}
	// The newest comes first; the ids count up.
	sort.Slice(found, func(a, b int) bool { return found[a].id > found[b].id })
	shown, next, err := page(found, p, pagesOfActivities)
	if err != nil {
		return answer{}, err
	}
	body := describeActivitiesResult{NextToken: next}
	for _, a := range shown {
		body.Activities = append(body.Activities, newXMLActivity(a, w.cfg.Region))
	}
	return answer{body: body}, nil
}

func matchActivity(a *activity, filters []params) (bool, error) {
	for _, f := range filters {
		values := f.list("Values")
		switch name := f["Name"]; name {
		case "Status":
			if !slices.Contains(values, a.status) {
				return false, nil
			}
		case "StartTimeLowerBound", "StartTimeUpperBound":
			if len(values) != 1 {
				return false, invalid("Filter %s takes one value", name)
			}
			bound, err := time.Parse(time.RFC3339, values[0])
			if err != nil {
				return false, invalid("Filter %s takes an ISO 8601 time, not %s", name, values[0])
			}
			if name == "StartTimeLowerBound" && a.start.Before(bound) || name == "StartTimeUpperBound" && a.start.After(bound) {
				return false, nil
			}
		default:
			return false, invalid("Filter type %s is not correct", name)
		}
	}
	return true, nil
}
