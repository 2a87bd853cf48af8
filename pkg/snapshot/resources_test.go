package snapshot_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

func TestResourcesReadAsAPersonWritesThem(t *testing.T) {
	cases := map[string]struct {
		reason string
		in     snapshot.Resources
		want   string
	}{
		"Nothing":     {"an empty request is said, not left blank", snapshot.Resources{}, "nothing"},
		"OneGPU":      {"one device is not several", snapshot.Resources{MilliGPU: 1000}, "1 GPU"},
		"GPUs":        {"devices are counted", snapshot.Resources{MilliGPU: 4000}, "4 GPUs"},
		"HalfAGPU":    {"a fraction of a device is a decimal number", snapshot.Resources{MilliGPU: 500}, "0.5 GPUs"},
		"OneCPU":      {"a core is not a thousand millicores", snapshot.Resources{MilliCPU: 1000}, "1 CPU"},
		"CPUs":        {"whole cores", snapshot.Resources{MilliCPU: 16000}, "16 CPUs"},
		"MilliCPU":    {"parts of a core as Kubernetes writes them", snapshot.Resources{MilliCPU: 1500}, "1500m CPU"},
		"Small":       {"memory below a GiB is in MiB", snapshot.Resources{Memory: 512 << 20}, "512 MiB"},
		"Memory":      {"memory is in binary units", snapshot.Resources{Memory: 3 << 29}, "1.5 GiB"},
		"All":         {"what is scarce comes first", snapshot.Resources{MilliCPU: 500, Memory: 2 << 30, MilliGPU: 1000}, "1 GPU, 500m CPU, 2.0 GiB"},
		"Overcommit":  {"what is below zero says so", snapshot.Resources{MilliCPU: -2000, Memory: -(1 << 31)}, "-2 CPUs, -2.0 GiB"},
		"LessThanMiB": {"a little memory is not nothing", snapshot.Resources{MilliCPU: 1}, "1m CPU"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.in.String()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestDollarsKeepTheTenthsOfACentThatPricesHave(t *testing.T) {
	for in, want := range map[snapshot.Dollars]string{
		0: "$0.00", 4_020_000: "$4.02", 1_006_000: "$1.006", 402_400: "$0.402", 12_000_000: "$12.00",
	} {
		if got := in.String(); got != want {
			t.Errorf("%d micro-dollars: got %s, want %s", int64(in), got, want)
		}
	}
}

func TestShortageNamesTheScarcestFirst(t *testing.T) {
	full := snapshot.Resources{MilliCPU: 1000, Memory: 1 << 30, MilliGPU: 1000}
	cases := map[string]struct {
		reason        string
		request, room snapshot.Resources
		want          string
	}{
		"Fits":        {"exactly enough is enough", full, full, ""},
		"GPU":         {"a GPU is dearer than the rest", full, snapshot.Resources{}, "gpu"},
		"Memory":      {"memory cannot be shared out in time as CPU can", full, snapshot.Resources{MilliGPU: 1000}, "memory"},
		"CPU":         {"the last", full, snapshot.Resources{MilliGPU: 1000, Memory: 1 << 30}, "cpu"},
		"NotAsked":    {"a node that is over its memory does not keep away who asks for none", snapshot.Resources{MilliCPU: 1}, snapshot.Resources{MilliCPU: 1, Memory: -1}, ""},
		"AskedOfNone": {"asking for nothing fits everywhere", snapshot.Resources{}, snapshot.Resources{MilliCPU: -1, Memory: -1, MilliGPU: -1}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := c.request.Shortage(c.room); got != c.want || c.request.FitsIn(c.room) != (got == "") {
				t.Errorf("%s: got %q, want %q", c.reason, got, c.want)
			}
		})
	}
}

func TestCeilingBindsOnlyWhatIsAskedFor(t *testing.T) {
	gpu := func(milli int64) snapshot.Resources { return snapshot.Resources{MilliGPU: milli} }
	none := snapshot.Ceiling{}
	free := snapshot.Ceiling{MilliCPU: snapshot.Unlimited, Memory: snapshot.Unlimited, MilliGPU: snapshot.Unlimited}
	cases := map[string]struct {
		reason       string
		ceiling      snapshot.Ceiling
		use, request snapshot.Resources
		want         string
	}{
		"Unlimited":  {"-1 lifts the ceiling", free, gpu(1 << 50), gpu(1), ""},
		"Zero":       {"0 allows nothing, which is what an unset KAI limit means", none, gpu(1), gpu(1), "gpu"},
		"AtTheLimit": {"reaching a limit is allowed", snapshot.Ceiling{MilliGPU: 2000}, gpu(2000), gpu(1000), ""},
		"Above":      {"a thousandth above is above", snapshot.Ceiling{MilliGPU: 2000}, gpu(2001), gpu(1), "gpu"},
		"NotAsked":   {"others are over the GPU limit, and this gang asks for none", snapshot.Ceiling{MilliCPU: 8000}, snapshot.Resources{MilliGPU: 9000, MilliCPU: 1000}, snapshot.Resources{MilliCPU: 1000}, ""},
		"CPU":        {"each dimension counts", snapshot.Ceiling{MilliCPU: 500}, snapshot.Resources{MilliCPU: 1000}, snapshot.Resources{MilliCPU: 1000}, "cpu"},
		"Memory":     {"memory too", snapshot.Ceiling{Memory: 1}, snapshot.Resources{Memory: 2}, snapshot.Resources{Memory: 2}, "memory"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := c.ceiling.Exceeded(c.use, c.request); got != c.want {
				t.Errorf("%s: got %q, want %q", c.reason, got, c.want)
			}
		})
	}
}

func TestSubUndoesAdd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawResources(t, "a"), drawResources(t, "b")
		if got := a.Add(b).Sub(b); got != a {
			t.Fatalf("(%v + %v) - %v = %v", a, b, b, got)
		}
		if a.Add(b) != b.Add(a) {
			t.Fatalf("the order of additions matters: %v, %v", a, b)
		}
		if !a.FitsIn(a.Add(b)) {
			t.Fatalf("%v does not fit where there is %v more", a, b)
		}
	})
}

func drawResources(t *rapid.T, label string) snapshot.Resources {
	draw := func(dim string) int64 { return rapid.Int64Range(0, 1<<40).Draw(t, label+"."+dim) }
	return snapshot.Resources{MilliCPU: draw("cpu"), Memory: draw("memory"), MilliGPU: draw("gpu")}
}
