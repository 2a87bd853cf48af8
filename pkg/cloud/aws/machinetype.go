package aws

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

const machineTypeTTL = time.Hour

// machineType is an instance type's capacity, before anything is reserved.
type machineType struct {
	name     string
	arch     string
	vcpus    int64
	memory   int64 // bytes
	pods     int64
	gpus     int64
	gpuMaker string
	gpuModel string
}

// machineType asks for one type at a time: in a list, one unknown type would fail them all.
func (p *Provider) machineType(ctx context.Context, name string) (machineType, error) {
	return p.types.get(name, machineTypeTTL, func() (machineType, error) {
		out, err := call(ctx, p.describes, describeTimeout, func(ctx context.Context) (*ec2.DescribeInstanceTypesOutput, error) {
			return p.api.types.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{
				InstanceTypes: []ec2types.InstanceType{ec2types.InstanceType(name)},
			})
		})
		if err != nil {
			return machineType{}, err
		}
		if len(out.InstanceTypes) == 0 {
			return machineType{}, reject("instance type %s is unknown in %s: correct the launch template", name, p.opts.Region)
		}
		return readMachineType(out.InstanceTypes[0]), nil
	})
}

func readMachineType(i ec2types.InstanceTypeInfo) machineType {
	m := machineType{name: string(i.InstanceType), arch: "amd64", pods: maxPods(i.NetworkInfo)}
	if i.VCpuInfo != nil {
		m.vcpus = int64(value(i.VCpuInfo.DefaultVCpus))
	}
	if i.MemoryInfo != nil {
		m.memory = value(i.MemoryInfo.SizeInMiB) << 20
	}
	if i.ProcessorInfo != nil {
		for _, a := range i.ProcessorInfo.SupportedArchitectures {
			if a == ec2types.ArchitectureTypeArm64 {
				m.arch = "arm64"
			}
		}
	}
	if i.GpuInfo != nil {
		for _, g := range i.GpuInfo.Gpus {
			m.gpus += int64(value(g.Count))
			m.gpuMaker, m.gpuModel = value(g.Manufacturer), value(g.Name)
		}
	}
	return m
}

// kubeletMaxPods is the kubelet's own default.
const kubeletMaxPods = 110

// maxPods is what the AWS network plugin can address: each interface's addresses but its own
// first one, and two pods on the host's network.
func maxPods(n *ec2types.NetworkInfo) int64 {
	if n == nil {
		return kubeletMaxPods
	}
	interfaces := int64(value(n.MaximumNetworkInterfaces))
	for _, card := range n.NetworkCards { // the plugin uses the default card alone
		if value(card.NetworkCardIndex) == value(n.DefaultNetworkCardIndex) && card.MaximumNetworkInterfaces != nil {
			interfaces = int64(*card.MaximumNetworkInterfaces)
		}
	}
	addresses := int64(value(n.Ipv4AddressesPerInterface))
	if interfaces == 0 || addresses == 0 {
		return kubeletMaxPods
	}
	return interfaces*(addresses-1) + 2
}
