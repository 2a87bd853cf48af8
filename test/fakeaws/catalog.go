package fakeaws

import "sort"

// Shape is what an instance type offers.
type Shape struct {
	Name      string
	VCPUs     int
	MemoryMiB int
	GPUs      int
	// MaxPods is the type's number of pod addresses, from which the kubelet's memory reserve follows.
	MaxPods int
	// OnDemandPrice is in US dollars per hour, us-east-1, Linux.
	OnDemandPrice float64
	Network       string
}

// What one NVIDIA A10G is called and how much memory EC2 reports for it.
const (
	gpuManufacturer = "NVIDIA"
	gpuName         = "A10G"
	gpuMemoryMiB    = 22888
)

// spotShare is the spot price as a part of the on-demand price; the real one moves.
const spotShare = 0.4

var shapes = map[string]Shape{
	"m5.large":    {"m5.large", 2, 8 << 10, 0, 29, 0.096, "Up to 10 Gigabit"},
	"m5.xlarge":   {"m5.xlarge", 4, 16 << 10, 0, 58, 0.192, "Up to 10 Gigabit"},
	"m5.2xlarge":  {"m5.2xlarge", 8, 32 << 10, 0, 58, 0.384, "Up to 10 Gigabit"},
	"m5.4xlarge":  {"m5.4xlarge", 16, 64 << 10, 0, 234, 0.768, "Up to 10 Gigabit"},
	"g5.xlarge":   {"g5.xlarge", 4, 16 << 10, 1, 58, 1.006, "Up to 10 Gigabit"},
	"g5.2xlarge":  {"g5.2xlarge", 8, 32 << 10, 1, 58, 1.212, "Up to 10 Gigabit"},
	"g5.4xlarge":  {"g5.4xlarge", 16, 64 << 10, 1, 234, 1.624, "Up to 25 Gigabit"},
	"g5.8xlarge":  {"g5.8xlarge", 32, 128 << 10, 1, 234, 2.448, "25 Gigabit"},
	"g5.16xlarge": {"g5.16xlarge", 64, 256 << 10, 1, 234, 4.096, "25 Gigabit"},
	"g5.12xlarge": {"g5.12xlarge", 48, 192 << 10, 4, 737, 5.672, "40 Gigabit"},
	"g5.24xlarge": {"g5.24xlarge", 96, 384 << 10, 4, 737, 8.144, "50 Gigabit"},
	"g5.48xlarge": {"g5.48xlarge", 192, 768 << 10, 8, 345, 16.288, "100 Gigabit"},
}

// ShapeOf returns the shape of an instance type that the catalog knows.
func ShapeOf(instanceType string) (Shape, bool) {
	s, ok := shapes[instanceType]
	return s, ok
}

// shapeNames lists the catalog in a fixed order.
func shapeNames() []string {
	names := make([]string, 0, len(shapes))
	for name := range shapes {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Price is the price per hour of one instance in the given capacity type.
func (s Shape) Price(capacityType string) float64 {
	if capacityType == Spot {
		return s.OnDemandPrice * spotShare
	}
	return s.OnDemandPrice
}

// CapacityMemoryMiB is the memory a node of this shape reports: the hypervisor and the firmware keep
// about 7.5 % of what the vendor's table promises.
func (s Shape) CapacityMemoryMiB() int { return s.MemoryMiB * 925 / 1000 }

// AllocatableMemoryMiB leaves out the kubelet's reserve, 255 MiB and 11 MiB per pod, and the eviction
// threshold of 100 MiB.
func (s Shape) AllocatableMemoryMiB() int {
	return s.CapacityMemoryMiB() - 255 - 11*s.MaxPods - 100
}

// AllocatableMilliCPU leaves out the kubelet's reserve: 6 % of the first core, 1 % of the second,
// 0.5 % of the next two and 0.25 % of the others.
func (s Shape) AllocatableMilliCPU() int {
	reserved := 0.0
	for core := range s.VCPUs {
		switch {
		case core == 0:
			reserved += 60
		case core == 1:
			reserved += 10
		case core < 4:
			reserved += 5
		default:
			reserved += 2.5
		}
	}
	return s.VCPUs*1000 - int(reserved)
}
