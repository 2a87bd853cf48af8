package fakeaws

// autoScalingOperations are the actions of EC2 Auto Scaling that this server knows.
var autoScalingOperations = map[string]operation{
	"DescribeAutoScalingGroups":           describeAutoScalingGroups,
	"DescribeAutoScalingInstances":        describeAutoScalingInstances,
	"DescribeScalingActivities":           describeScalingActivities,
	"DescribeTags":                        describeTags,
	"CreateOrUpdateTags":                  createOrUpdateTags,
	"DeleteTags":                          deleteTags,
	"LaunchInstances":                     launchInstances,
	"TerminateInstanceInAutoScalingGroup": terminateInstanceInAutoScalingGroup,
	"SetDesiredCapacity":                  setDesiredCapacity,
	"SetInstanceProtection":               setInstanceProtection,
	"SuspendProcesses":                    suspendProcesses,
	"ResumeProcesses":                     resumeProcesses,
}

type launchInstancesResult struct {
	AutoScalingGroupName string
	ClientToken          string
	Instances            []xmlInstanceCollection `xml:"Instances>member"`
	Errors               []xmlLaunchError        `xml:"Errors>member"`
}

// xmlPlace is where instances are launched, in the words of LaunchInstances.
type xmlPlace struct {
	InstanceType       string
	MarketType         string
	SubnetID           string `xml:"SubnetId"`
	AvailabilityZone   string
	AvailabilityZoneID string `xml:"AvailabilityZoneId"`
}

type xmlInstanceCollection struct {
	xmlPlace
	InstanceIDs []string `xml:"InstanceIds>member"`
}

type xmlLaunchError struct {
	xmlPlace
	ErrorCode    string
	ErrorMessage string
}

func launchInstances(w *world, p params) (answer, error) {
	token, err := p.required("ClientToken")
	if err != nil {
		return answer{}, err
	}
	capacity, err := p.number("RequestedCapacity", 0)
	if err != nil {
		return answer{}, err
	}
	req := launchRequest{group: p["AutoScalingGroupName"], capacity: capacity, zone: p["AvailabilityZones.1"],
		zoneID: p["AvailabilityZoneIds.1"], subnet: p["SubnetIds.1"], retry: p["RetryStrategy"]}
	replayed := w.tokens[token] != nil
	record, err := w.launchInstances(token, req)
	if err != nil {
		return answer{}, err
	}
	g := w.groups[req.group]
	place := xmlPlace{InstanceType: g.cfg.InstanceType, MarketType: g.cfg.CapacityType, SubnetID: g.subnet(),
		AvailabilityZone: g.cfg.Zone, AvailabilityZoneID: g.zoneID()}
	body := launchInstancesResult{AutoScalingGroupName: req.group, ClientToken: token}
	if len(record.ids) > 0 {
		body.Instances = []xmlInstanceCollection{{xmlPlace: place, InstanceIDs: record.ids}}
	}
	if why := record.refusal; why != nil {
		body.Errors = []xmlLaunchError{{xmlPlace: place, ErrorCode: why.code, ErrorMessage: why.message}}
	}
	return answer{body: body, ids: record.ids, replayed: replayed}, nil
}

type terminateResult struct {
	Activity   *xmlActivity
	Activities []xmlActivity `xml:"Activities>member"`
}

func terminateInstanceInAutoScalingGroup(w *world, p params) (answer, error) {
	decrement, err := p.flag("ShouldDecrementDesiredCapacity")
	if err != nil {
		return answer{}, err
	}
	req := terminateRequest{group: p["AutoScalingGroupName"], decrement: decrement, ids: p.list("InstanceIds")}
	single := p["InstanceId"]
	switch {
	case single != "" && len(req.ids) > 0:
		return answer{}, invalid("InstanceId and InstanceIds must not be given together")
	case single != "":
		req.ids = []string{single}
	case req.group == "":
		return answer{}, invalid("AutoScalingGroupName must be given with InstanceIds")
	case len(req.ids) > 100:
		return answer{}, invalid("At most 100 instance IDs can be given, not %d", len(req.ids))
	}
	if req.group != "" {
		if _, err := w.group(req.group); err != nil {
			return answer{}, err
		}
	}
	activities, err := w.terminateInGroup(req)
	if err != nil {
		return answer{}, err
	}
	var body terminateResult
	for _, a := range activities {
		body.Activities = append(body.Activities, newXMLActivity(a, w.cfg.Region))
	}
	// The answer to a single instance is in another member than the answer to a batch.
	if single != "" {
		body = terminateResult{Activity: &body.Activities[0]}
	}
	return answer{body: body, ids: req.ids}, nil
}

func setDesiredCapacity(w *world, p params) (answer, error) {
	g, err := w.group(p["AutoScalingGroupName"])
	if err != nil {
		return answer{}, err
	}
	if _, err := p.required("DesiredCapacity"); err != nil {
		return answer{}, err
	}
	desired, err := p.number("DesiredCapacity", 0)
	if err != nil {
		return answer{}, err
	}
	return answer{}, w.setDesired(g, desired, "SetDesiredCapacity")
}

func setInstanceProtection(w *world, p params) (answer, error) {
	g, err := w.group(p["AutoScalingGroupName"])
	if err != nil {
		return answer{}, err
	}
	protect, err := p.flag("ProtectedFromScaleIn")
	if err != nil {
		return answer{}, err
	}
	ids := p.list("InstanceIds")
	if len(ids) > 50 {
		return answer{}, invalid("At most 50 instance IDs can be given, not %d", len(ids))
	}
	for _, id := range ids {
		if i := w.instances[id]; i == nil || i.group != g || !i.Alive() {
			return answer{}, invalid("The instance %s is not part of Auto Scaling group %s.", id, g.cfg.Name)
		}
	}
	for _, id := range ids {
		w.instances[id].Protected = protect
	}
	return answer{}, nil
}

// processNames are what can be suspended; naming none means all.
var processNames = []string{"Launch", "Terminate", "AddToLoadBalancer", "AlarmNotification", "AZRebalance", "HealthCheck", "InstanceRefresh", "ReplaceUnhealthy", "ScheduledActions"}

func suspendProcesses(w *world, p params) (answer, error) { return setSuspended(w, p, true) }

func resumeProcesses(w *world, p params) (answer, error) { return setSuspended(w, p, false) }

func setSuspended(w *world, p params, suspended bool) (answer, error) {
	g, err := w.group(p["AutoScalingGroupName"])
	if err != nil {
		return answer{}, err
	}
	names := p.list("ScalingProcesses")
	if len(names) == 0 {
		names = processNames
	}
	known := map[string]bool{}
	for _, name := range processNames {
		known[name] = true
	}
	for _, name := range names {
		if !known[name] {
			return answer{}, invalid("Unknown scaling process %s", name)
		}
	}
	for _, name := range names {
		if suspended {
			g.suspended[name] = true
		} else {
			delete(g.suspended, name)
		}
	}
	w.reconcile(g, byShortage)
	return answer{}, nil
}
