package aws

import (
	"testing"

	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/cloud"
)

// typeRow is what EC2 says of an instance type, beside what its nodes were published to offer.
type typeRow struct {
	name                  string
	vcpus                 int32
	mib                   int64
	gpus                  int32
	interfaces, addresses int32
	milliCPU, allocMiB    int64
	pods                  int64
	price                 float64
}

var g5Rows = []typeRow{
	{"g5.xlarge", 4, 16384, 1, 4, 15, 3920, 14162, 58, 1.006},
	{"g5.2xlarge", 8, 32768, 1, 4, 15, 7910, 29317, 58, 1.212},
	{"g5.4xlarge", 16, 65536, 1, 8, 30, 15890, 57691, 234, 1.624},
	{"g5.8xlarge", 32, 131072, 1, 8, 30, 31850, 118312, 234, 2.448},
	{"g5.12xlarge", 48, 196608, 4, 15, 50, 47810, 173400, 737, 5.672},
	{"g5.16xlarge", 64, 262144, 1, 8, 30, 63770, 239554, 234, 4.096},
	{"g5.24xlarge", 96, 393216, 4, 15, 50, 95690, 355262, 737, 8.144},
	{"g5.48xlarge", 192, 786432, 8, 7, 50, 191450, 723299, 345, 16.288},
}

func (r typeRow) info() ec2types.InstanceTypeInfo {
	return ec2types.InstanceTypeInfo{
		InstanceType:  ec2types.InstanceType(r.name),
		VCpuInfo:      &ec2types.VCpuInfo{DefaultVCpus: &r.vcpus},
		MemoryInfo:    &ec2types.MemoryInfo{SizeInMiB: &r.mib},
		ProcessorInfo: &ec2types.ProcessorInfo{SupportedArchitectures: []ec2types.ArchitectureType{ec2types.ArchitectureTypeX8664}},
		NetworkInfo:   &ec2types.NetworkInfo{MaximumNetworkInterfaces: &r.interfaces, Ipv4AddressesPerInterface: &r.addresses},
		GpuInfo: &ec2types.GpuInfo{Gpus: []ec2types.GpuDeviceInfo{
			{Name: ptr("A10G"), Manufacturer: ptr("NVIDIA"), Count: &r.gpus},
		}},
	}
}

func TestG5Shapes(t *testing.T) {
	p := (&fakeAPI{}).provider(t, newClock())
	if len(g5Rows) != len(g5Allocatable) || len(g5Rows) != len(g5Prices) {
		t.Fatalf("%d rows, %d shapes, %d prices", len(g5Rows), len(g5Allocatable), len(g5Prices))
	}
	for _, row := range g5Rows {
		t.Run(row.name, func(t *testing.T) {
			m := readMachineType(row.info())
			asg := group("g5-a")
			got, err := p.shapeOf(&asg, nil, recipe{instanceType: row.name, capacityType: onDemand}, m)
			if err != nil {
				t.Fatal(err)
			}
			want := cloud.Shape{
				MilliCPU: row.milliCPU, Memory: row.allocMiB << 20, GPUs: int64(row.gpus), GPUModel: "A10G", Pods: row.pods,
				Labels: map[string]string{
					"node.kubernetes.io/instance-type": row.name,
					"topology.kubernetes.io/zone":      "us-east-1a",
					"topology.kubernetes.io/region":    "us-east-1",
					"kubernetes.io/os":                 "linux",
					"kubernetes.io/arch":               "amd64",
					"k8s.amazonaws.com/accelerator":    "nvidia-a10g",
					"nvidia.com/gpu.product":           "NVIDIA-A10G",
				},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("shape (-want +got):\n%s", diff)
			}
			m.name = "unlisted" // the rules must say what the table says
			byRule := allocatable(m)
			byRule.Memory = byRule.Memory >> 20 << 20
			if diff := cmp.Diff(g5Allocatable[row.name], byRule); diff != "" {
				t.Errorf("rules (-table +rules):\n%s", diff)
			}
			if got := p.pricePerHour(row.name); got != row.price {
				t.Errorf("price %v, want %v", got, row.price)
			}
		})
	}
}

func TestReservedMilliCPU(t *testing.T) {
	for cores, want := range map[int64]int64{0: 0, 1: 60, 2: 70, 3: 75, 4: 80, 8: 90, 96: 310} {
		if got := reservedMilliCPU(cores); got != want {
			t.Errorf("%d cores: %dm, want %dm", cores, got, want)
		}
	}
}

func TestMaxPods(t *testing.T) {
	n := ptr(int32(7))
	for name, tc := range map[string]struct {
		info *ec2types.NetworkInfo
		want int64
	}{
		"nothing said":                        {nil, 110},
		"no addresses said":                   {&ec2types.NetworkInfo{MaximumNetworkInterfaces: n}, 110},
		"one card":                            {&ec2types.NetworkInfo{MaximumNetworkInterfaces: n, Ipv4AddressesPerInterface: ptr(int32(50))}, 345},
		"several cards: the default one only": {&ec2types.NetworkInfo{MaximumNetworkInterfaces: ptr(int32(60)), Ipv4AddressesPerInterface: ptr(int32(50)), NetworkCards: []ec2types.NetworkCardInfo{{NetworkCardIndex: ptr(int32(0)), MaximumNetworkInterfaces: ptr(int32(15))}, {NetworkCardIndex: ptr(int32(1)), MaximumNetworkInterfaces: n}}}, 737},
	} {
		if got := maxPods(tc.info); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}

func TestPrices(t *testing.T) {
	p := newProvider(clients{}, Options{Region: "eu-west-1", Prices: map[string]float64{"m5.large": 0.107}})
	for name, want := range map[string]float64{"g5.xlarge": 0, "m5.large": 0.107, "p5.48xlarge": 0} {
		if got := p.pricePerHour(name); got != want {
			t.Errorf("%s in eu-west-1: %v, want %v", name, got, want)
		}
	}
}
