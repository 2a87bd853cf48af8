package v1alpha1

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseDollars(t *testing.T) {
	tests := map[string]struct {
		in   string
		want Dollars
		err  string
	}{
		"Whole":        {in: "12", want: 12 * Dollar},
		"Cents":        {in: "12.50", want: 12*Dollar + 500_000},
		"Micro":        {in: "0.000001", want: MicroDollar},
		"LeadingZeros": {in: "007.1", want: 7*Dollar + 100_000},
		"Max":          {in: "1000000", want: MaxDollars},
		"Empty":        {in: "", err: "empty"},
		"Negative":     {in: "-1", err: "negative"},
		"Currency":     {in: "$1", err: "without the dollar sign"},
		"Separator":    {in: "1,000.00", err: "decimal number"},
		"Exponent":     {in: "1e3", err: "decimal number"},
		"NoWhole":      {in: ".5", err: "decimal number"},
		"NoFraction":   {in: "5.", err: "decimal number"},
		"Space":        {in: " 5", err: "decimal number"},
		"TooExact":     {in: "1.0000001", err: "at most six decimals"},
		"TooMuch":      {in: "1000000.000001", err: "at most 1000000"},
		"Overflow":     {in: strings.Repeat("9", 30), err: "at most 1000000"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseDollars(tc.in)
			if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
				t.Fatalf("ParseDollars(%q) error %v, want one with %q", tc.in, err, tc.err)
			}
			if got != tc.want {
				t.Errorf("ParseDollars(%q) = %d, want %d", tc.in, got, tc.want)
			}
		})
	}
}

func TestDollarsString(t *testing.T) {
	for want, d := range map[string]Dollars{
		"0.00": 0, "12.00": 12 * Dollar, "12.50": 12*Dollar + 500_000, "1.006": 1_006_000,
		"0.000001": MicroDollar, "-0.10": -100_000, "-9223372036854.775808": -1 << 63,
	} {
		if got := d.String(); got != want {
			t.Errorf("%d prints as %q, want %q", int64(d), got, want)
		}
	}
}

func TestDollarsAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Dollars(rapid.Int64Range(0, int64(MaxDollars)).Draw(t, "micros"))
		data, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var back Dollars
		if err := json.Unmarshal(data, &back); err != nil || back != d {
			t.Fatalf("%s came back as %d: %v", data, back, err)
		}
	})
}
