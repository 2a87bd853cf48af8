package fakeaws

import "testing"

// The numbers are those of the project's table of GPU instance types.
func TestAllocatable(t *testing.T) {
	cases := map[string]struct {
		gpus, milliCPU, memoryMiB int
		price                     float64
	}{
		"g5.xlarge":   {1, 3920, 14162, 1.006},
		"g5.2xlarge":  {1, 7910, 29317, 1.212},
		"g5.4xlarge":  {1, 15890, 57691, 1.624},
		"g5.8xlarge":  {1, 31850, 118312, 2.448},
		"g5.16xlarge": {1, 63770, 239554, 4.096},
		"g5.12xlarge": {4, 47810, 173400, 5.672},
		"g5.24xlarge": {4, 95690, 355262, 8.144},
		"g5.48xlarge": {8, 191450, 723299, 16.288},
		"m5.large":    {0, 1930, 6903, 0.096},
	}
	for name, c := range cases {
		s, ok := ShapeOf(name)
		if !ok || s.Name != name {
			t.Errorf("%s is not in the catalog: %+v", name, s)
			continue
		}
		if s.GPUs != c.gpus || s.AllocatableMilliCPU() != c.milliCPU || s.AllocatableMemoryMiB() != c.memoryMiB || s.Price(OnDemand) != c.price {
			t.Errorf("%s: %d GPUs, %dm, %d MiB, $%v; want %+v", name, s.GPUs, s.AllocatableMilliCPU(), s.AllocatableMemoryMiB(), s.Price(OnDemand), c)
		}
		if spot := s.Price(Spot); spot <= 0 || spot >= s.Price(OnDemand) {
			t.Errorf("%s: spot price %v", name, spot)
		}
	}
}
