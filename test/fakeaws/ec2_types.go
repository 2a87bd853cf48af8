package fakeaws

import (
	"fmt"
	"slices"
	"strings"
)

type xmlInstanceType struct {
	InstanceType          string      `xml:"instanceType"`
	CurrentGeneration     bool        `xml:"currentGeneration"`
	SupportedUsageClasses []string    `xml:"supportedUsageClasses>item"`
	BareMetal             bool        `xml:"bareMetal"`
	Hypervisor            string      `xml:"hypervisor"`
	Architectures         []string    `xml:"processorInfo>supportedArchitectures>item"`
	VCPUs                 int         `xml:"vCpuInfo>defaultVCpus"`
	MemoryMiB             int         `xml:"memoryInfo>sizeInMiB"`
	GPUs                  *xmlGPUInfo `xml:"gpuInfo"`
	NetworkPerformance    string      `xml:"networkInfo>networkPerformance"`
}

type xmlGPUInfo struct {
	GPUs           []xmlGPU `xml:"gpus>item"`
	TotalMemoryMiB int      `xml:"totalGpuMemoryInMiB"`
}

type xmlGPU struct {
	Name         string `xml:"name"`
	Manufacturer string `xml:"manufacturer"`
	Count        int    `xml:"count"`
	MemoryMiB    int    `xml:"memoryInfo>sizeInMiB"`
}

func newXMLInstanceType(s Shape) xmlInstanceType {
	out := xmlInstanceType{
		InstanceType: s.Name, CurrentGeneration: true, SupportedUsageClasses: []string{OnDemand, Spot}, Hypervisor: "nitro",
		Architectures: []string{"x86_64"}, VCPUs: s.VCPUs, MemoryMiB: s.MemoryMiB, NetworkPerformance: s.Network,
	}
	if s.GPUs > 0 {
		out.GPUs = &xmlGPUInfo{
			GPUs:           []xmlGPU{{Name: gpuName, Manufacturer: gpuManufacturer, Count: s.GPUs, MemoryMiB: gpuMemoryMiB}},
			TotalMemoryMiB: s.GPUs * gpuMemoryMiB,
		}
	}
	return out
}

func describeInstanceTypes(_ *world, p params) (answer, error) {
	wanted := p.list("InstanceType")
	for _, f := range p.each("Filter") {
		if f["Name"] != "instance-type" {
			return answer{}, refuse("InvalidParameterValue", "The filter '%s' is invalid", f["Name"])
		}
	}
	var missing []string
	for _, name := range wanted {
		if _, ok := ShapeOf(name); !ok {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return answer{}, refuse("InvalidInstanceType", "The following supplied instance types do not exist: [%s]", strings.Join(missing, ", "))
	}
	var found []xmlInstanceType
	for _, name := range shapeNames() {
		if len(wanted) > 0 && !slices.Contains(wanted, name) {
			continue
		}
		if slices.ContainsFunc(p.each("Filter"), func(f params) bool { return !slices.Contains(f.list("Value"), name) }) {
			continue
		}
		shape, _ := ShapeOf(name)
		found = append(found, newXMLInstanceType(shape))
	}
	shown, next, err := page(found, p, pageNames{"MaxResults", "NextToken", 100, 100, "InvalidNextToken"})
	if err != nil {
		return answer{}, fmt.Errorf("describe instance types: %w", err)
	}
	return answer{body: ec2List("instanceTypeSet", items[xmlInstanceType]{Items: shown}, next)}, nil
}
