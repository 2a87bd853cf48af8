package snapshot

import (
	"fmt"
	"strings"
)

// Resources is an amount of what queues and nodes are made of, in integers, so that sums are
// exact and the order of additions cannot matter.
type Resources struct {
	MilliCPU int64 `json:"milliCPU,omitempty"` // thousandths of a core
	Memory   int64 `json:"memory,omitempty"`   // bytes
	MilliGPU int64 `json:"milliGPU,omitempty"` // thousandths of a device
}

// Add returns r + o.
func (r Resources) Add(o Resources) Resources {
	return Resources{r.MilliCPU + o.MilliCPU, r.Memory + o.Memory, r.MilliGPU + o.MilliGPU}
}

// Sub returns r - o; dimensions may become negative.
func (r Resources) Sub(o Resources) Resources {
	return Resources{r.MilliCPU - o.MilliCPU, r.Memory - o.Memory, r.MilliGPU - o.MilliGPU}
}

// Times returns n times r.
func (r Resources) Times(n int64) Resources {
	return Resources{r.MilliCPU * n, r.Memory * n, r.MilliGPU * n}
}

// IsZero says whether every dimension is zero.
func (r Resources) IsZero() bool { return r == Resources{} }

// Shortfall says whether any dimension is below zero.
func (r Resources) Shortfall() bool { return r.MilliCPU < 0 || r.Memory < 0 || r.MilliGPU < 0 }

// FitsIn says whether r is covered by room in every dimension that r asks for. A dimension that r
// does not ask for never blocks, even where room is negative (an overcommitted node).
func (r Resources) FitsIn(room Resources) bool { return r.Shortage(room) == "" }

// Shortage names the first dimension of r that room does not cover, scarcest first (gpu, memory,
// cpu), or "".
func (r Resources) Shortage(room Resources) string {
	switch {
	case r.MilliGPU > 0 && r.MilliGPU > room.MilliGPU:
		return "gpu"
	case r.Memory > 0 && r.Memory > room.Memory:
		return "memory"
	case r.MilliCPU > 0 && r.MilliCPU > room.MilliCPU:
		return "cpu"
	}
	return ""
}

// String prints the non-zero dimensions as a person reads them: "1 GPU, 500m CPU, 2.0 GiB".
func (r Resources) String() string {
	var parts []string
	if r.MilliGPU != 0 {
		parts = append(parts, GPUs(r.MilliGPU))
	}
	if r.MilliCPU != 0 {
		parts = append(parts, CPU(r.MilliCPU))
	}
	if r.Memory != 0 {
		parts = append(parts, Memory(r.Memory))
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// GPUs prints thousandths of a device: "1 GPU", "4 GPUs", "0.5 GPUs".
func GPUs(milli int64) string {
	if milli == 1000 {
		return "1 GPU"
	}
	return Thousandths(milli) + " GPUs"
}

// CPU prints thousandths of a core: "500m CPU", "4 CPUs".
func CPU(milli int64) string {
	switch {
	case milli == 1000:
		return "1 CPU"
	case milli%1000 == 0:
		return fmt.Sprintf("%d CPUs", milli/1000)
	}
	return fmt.Sprintf("%dm CPU", milli)
}

// Memory prints bytes in binary units with one decimal: "2.0 GiB".
func Memory(bytes int64) string {
	if bytes < 1<<30 && bytes > -(1<<30) {
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
}

// Thousandths prints milli as a decimal number without trailing zeros: 1500 is "1.5".
func Thousandths(milli int64) string {
	if milli%1000 == 0 {
		return fmt.Sprintf("%d", milli/1000)
	}
	return strings.TrimRight(fmt.Sprintf("%.3f", float64(milli)/1000), "0")
}

// Dollars is an amount of money or a price per hour in millionths of a US dollar.
type Dollars int64

// String prints the amount with cents, or with the tenths of a cent that cloud prices have:
// "$4.02", "$1.006".
func (d Dollars) String() string {
	if d%10_000 == 0 {
		return fmt.Sprintf("$%.2f", float64(d)/1e6)
	}
	return fmt.Sprintf("$%.3f", float64(d)/1e6)
}
