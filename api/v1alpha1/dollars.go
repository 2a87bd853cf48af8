package v1alpha1

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Dollars is an amount of US dollars, or a rate in dollars per hour, counted in
// millionths of a dollar. Binary fractions cannot hold 0.10; sums of prices that
// decide whether a node is bought must not depend on their order.
//
// In files and objects it is a decimal string with at most six places, "12.50".
type Dollars int64

const (
	// MicroDollar is the unit that Dollars counts in.
	MicroDollar Dollars = 1
	// Dollar is one dollar.
	Dollar = 1_000_000 * MicroDollar
	// MaxDollars is the largest amount that ParseDollars accepts, a million. The
	// largest cluster, all of nodes at that price, still fits an int64.
	MaxDollars = 1_000_000 * Dollar
)

const dollarDecimals = 6

// ParseDollars reads a decimal amount: digits, and optionally a point with one to
// six digits. Signs, exponents, separators and currency signs are refused; the
// error says what to write instead.
func ParseDollars(s string) (Dollars, error) {
	switch {
	case s == "":
		return 0, errors.New(`must not be empty; write an amount such as "12.50"`)
	case strings.HasPrefix(s, "-"):
		return 0, fmt.Errorf(`must not be negative, %q is`, s)
	case strings.Contains(s, "$"):
		return 0, fmt.Errorf(`must be a plain decimal; write %q without the dollar sign`, s)
	}
	whole, fraction, point := strings.Cut(s, ".")
	if !digits(whole) || point && !digits(fraction) {
		return 0, fmt.Errorf(`must be a decimal number of dollars such as "12.50", not %q`, s)
	}
	if len(fraction) > dollarDecimals {
		return 0, fmt.Errorf(`must have at most six decimals, %q has %d`, s, len(fraction))
	}
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n > int64(MaxDollars/Dollar) {
		return 0, fmt.Errorf(`must be at most %d dollars, not %q`, int64(MaxDollars/Dollar), s)
	}
	micros, _ := strconv.ParseInt(fraction+strings.Repeat("0", dollarDecimals-len(fraction)), 10, 64)
	amount := Dollars(n)*Dollar + Dollars(micros)
	if amount > MaxDollars {
		return 0, fmt.Errorf(`must be at most %d dollars, not %q`, int64(MaxDollars/Dollar), s)
	}
	return amount, nil
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// Micros is the amount in millionths of a dollar.
func (d Dollars) Micros() int64 { return int64(d) }

// String writes the amount with two decimals, and with more only where it has them:
// 12.50, 1.006. It is exact, and ParseDollars reads it back.
func (d Dollars) String() string {
	sign, micros := "", uint64(d) //nolint:gosec // a negative amount is negated below
	if d < 0 {
		// Amounts are not negative, but differences between them are, in logs.
		sign, micros = "-", -micros
	}
	s := fmt.Sprintf("%s%d.%06d", sign, micros/uint64(Dollar), micros%uint64(Dollar))
	for strings.HasSuffix(s, "0") && s[len(s)-3] != '.' {
		s = s[:len(s)-1]
	}
	return s
}

// MarshalJSON writes the decimal string.
func (d Dollars) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads a decimal string. A bare number is refused: it may already
// have lost its last digit on the way here.
func (d *Dollars) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf(`must be a decimal number of dollars in quotes, such as "12.50", not %s`, data)
	}
	amount, err := ParseDollars(s)
	if err != nil {
		return err
	}
	*d = amount
	return nil
}
