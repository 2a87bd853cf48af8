package fakeaws

import (
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// ec2Operations are the actions of EC2 that this server knows.
var ec2Operations = map[string]operation{
	"DescribeInstances":              ec2DescribeInstances,
	"DescribeInstanceTypes":          describeInstanceTypes,
	"DescribeLaunchTemplateVersions": describeLaunchTemplateVersions,
	"CreateTags":                     ec2CreateTags,
}

// terminatedShown is how long EC2 goes on showing a terminated instance.
const terminatedShown = time.Hour

type xmlReservation struct {
	ReservationID string           `xml:"reservationId"`
	OwnerID       string           `xml:"ownerId"`
	Instances     []xmlEC2Instance `xml:"instancesSet>item"`
}

type xmlEC2Instance struct {
	InstanceID        string          `xml:"instanceId"`
	ImageID           string          `xml:"imageId"`
	State             xmlEC2State     `xml:"instanceState"`
	PrivateDNSName    string          `xml:"privateDnsName"`
	PrivateIPAddress  string          `xml:"privateIpAddress"`
	InstanceType      string          `xml:"instanceType"`
	LaunchTime        string          `xml:"launchTime"`
	Placement         xmlEC2Placement `xml:"placement"`
	SubnetID          string          `xml:"subnetId"`
	Architecture      string          `xml:"architecture"`
	InstanceLifecycle string          `xml:"instanceLifecycle,omitempty"`
	StateReason       *xmlStateReason `xml:"stateReason"`
	Tags              []xmlEC2Tag     `xml:"tagSet>item"`
}

type xmlEC2State struct {
	Code int    `xml:"code"`
	Name string `xml:"name"`
}

type xmlEC2Placement struct {
	AvailabilityZone   string `xml:"availabilityZone"`
	AvailabilityZoneID string `xml:"availabilityZoneId"`
	Tenancy            string `xml:"tenancy"`
}

type xmlStateReason struct {
	Code    string `xml:"code"`
	Message string `xml:"message"`
}

type xmlEC2Tag struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

// imageID is the one image that all instances boot from.
const imageID = "ami-00000000000000001"

var ec2States = map[string]xmlEC2State{
	Pending: {0, "pending"}, InService: {16, "running"}, Terminating: {32, "shutting-down"}, Terminated: {48, "terminated"},
}

func newXMLEC2Instance(i *instance, region string) xmlEC2Instance {
	out := xmlEC2Instance{
		InstanceID: i.ID, ImageID: imageID, State: ec2States[i.State], PrivateIPAddress: i.privateIP,
		PrivateDNSName: "ip-" + strings.ReplaceAll(i.privateIP, ".", "-") + "." + region + ".compute.internal",
		InstanceType:   i.InstanceType, LaunchTime: wireTime(i.Launched), SubnetID: i.group.subnet(), Architecture: "x86_64",
		Placement: xmlEC2Placement{AvailabilityZone: i.Zone, AvailabilityZoneID: i.group.zoneID(), Tenancy: "default"},
	}
	if i.CapacityType == Spot {
		out.InstanceLifecycle = "spot"
	}
	switch i.TerminatedBy {
	case "":
	case bySpotInterruption:
		out.StateReason = &xmlStateReason{"Server.SpotInstanceTermination", "Server.SpotInstanceTermination: Spot instance termination"}
	case byHardwareFailure:
		out.StateReason = &xmlStateReason{"Server.InternalError", "Server.InternalError: Internal error"}
	default:
		out.StateReason = &xmlStateReason{"Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown"}
	}
	for key, value := range i.tags {
		out.Tags = append(out.Tags, xmlEC2Tag{Key: key, Value: value})
	}
	sort.Slice(out.Tags, func(a, b int) bool { return out.Tags[a].Key < out.Tags[b].Key })
	return out
}

// visible says whether EC2 still knows the instance.
func (w *world) visible(i *instance) bool {
	return i != nil && (i.TerminatedAt == nil || w.clock.Now().Before(i.TerminatedAt.Add(terminatedShown)))
}

func ec2DescribeInstances(w *world, p params) (answer, error) {
	ids := p.list("InstanceId")
	for _, id := range ids {
		if !w.visible(w.instances[id]) {
			return answer{}, refuse("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", id)
		}
	}
	var found []*instance
	for _, i := range w.history {
		if !w.visible(i) || (len(ids) > 0 && !slices.Contains(ids, i.ID)) {
			continue
		}
		ok, err := matchInstance(i, p.each("Filter"))
		if err != nil {
			return answer{}, err
		}
		if ok {
			found = append(found, i)
		}
	}
	shown, next, err := page(found, p, pagesOfEC2)
	if err != nil {
		return answer{}, err
	}
	var reservations items[xmlReservation]
	for _, i := range shown {
		reservations.Items = append(reservations.Items, xmlReservation{
			ReservationID: "r-" + strings.TrimPrefix(i.ID, "i-"), OwnerID: "000000000000",
			Instances: []xmlEC2Instance{newXMLEC2Instance(i, w.cfg.Region)},
		})
	}
	return answer{body: ec2List("reservationSet", reservations, next)}, nil
}

func ec2List(name string, list any, next string) []any {
	body := []any{named{name, list}}
	if next != "" {
		body = append(body, text("nextToken", next))
	}
	return body
}

func matchInstance(i *instance, filters []params) (bool, error) {
	for _, f := range filters {
		var value string
		present := true
		key, byKey := strings.CutPrefix(f["Name"], "tag:")
		switch {
		case byKey:
			value, present = i.tags[key]
		case f["Name"] == "tag-key":
			present = slices.ContainsFunc(f.list("Value"), func(key string) bool { _, ok := i.tags[key]; return ok })
			if present {
				continue
			}
		case f["Name"] == "instance-id":
			value = i.ID
		case f["Name"] == "instance-type":
			value = i.InstanceType
		case f["Name"] == "availability-zone":
			value = i.Zone
		case f["Name"] == "instance-state-name":
			value = ec2States[i.State].Name
		case f["Name"] == "instance-lifecycle":
			value, present = "spot", i.CapacityType == Spot
		default:
			return false, refuse("InvalidParameterValue", "The filter '%s' is invalid", f["Name"])
		}
		if !present || !slices.Contains(f.list("Value"), value) {
			return false, nil
		}
	}
	return true, nil
}

func ec2CreateTags(w *world, p params) (answer, error) {
	ids, tags := p.list("ResourceId"), p.each("Tag")
	for _, id := range ids {
		if !w.visible(w.instances[id]) {
			return answer{}, refuse("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", id)
		}
	}
	for _, id := range ids {
		for _, tag := range tags {
			w.instances[id].tags[tag["Key"]] = tag["Value"]
		}
	}
	return answer{body: []any{text("return", "true")}}, nil
}

type xmlTemplateVersion struct {
	LaunchTemplateID   string `xml:"launchTemplateId"`
	LaunchTemplateName string `xml:"launchTemplateName"`
	VersionNumber      int    `xml:"versionNumber"`
	DefaultVersion     bool   `xml:"defaultVersion"`
	CreateTime         string `xml:"createTime"`
	Data               struct {
		ImageID      string `xml:"imageId"`
		InstanceType string `xml:"instanceType"`
	} `xml:"launchTemplateData"`
}

// describeLaunchTemplateVersions knows one template per group, named like it, with one version.
func describeLaunchTemplateVersions(w *world, p params) (answer, error) {
	id, name := p["LaunchTemplateId"], p["LaunchTemplateName"]
	if (id == "") == (name == "") {
		return answer{}, refuse("MissingParameter", "Either LaunchTemplateId or LaunchTemplateName must be given")
	}
	for _, v := range p.list("LaunchTemplateVersion") {
		if n, err := strconv.Atoi(v); v != "$Latest" && v != "$Default" && (err != nil || n != 1) {
			return answer{}, refuse("InvalidLaunchTemplateId.VersionNotFound", "Could not find launch template version %s", v)
		}
	}
	var found items[xmlTemplateVersion]
	for _, g := range w.sortedGroups() {
		if g.launchTemplate() != id && g.cfg.Name != name {
			continue
		}
		v := xmlTemplateVersion{LaunchTemplateID: g.launchTemplate(), LaunchTemplateName: g.cfg.Name, VersionNumber: 1,
			DefaultVersion: true, CreateTime: wireTime(g.created)}
		v.Data.ImageID, v.Data.InstanceType = imageID, g.cfg.InstanceType
		found.Items = append(found.Items, v)
	}
	if len(found.Items) == 0 && name != "" {
		return answer{}, refuse("InvalidLaunchTemplateName.NotFoundException", "The launch template %s does not exist", name)
	}
	if len(found.Items) == 0 {
		return answer{}, refuse("InvalidLaunchTemplateId.NotFound", "The launch template %s does not exist", id)
	}
	return answer{body: ec2List("launchTemplateVersionSet", found, "")}, nil
}
