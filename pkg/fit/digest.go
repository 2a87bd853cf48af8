package fit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// digest collects the canonical text of a class. Every value is quoted, so that no two different
// inputs have the same text.
type digest struct{ text strings.Builder }

// set writes lines whose order and repetition mean nothing.
func (d *digest) set(name string, lines []string) {
	lines = slices.Clone(lines)
	slices.Sort(lines)
	d.text.WriteString(name)
	d.text.WriteByte('\n')
	for _, l := range slices.Compact(lines) {
		d.text.WriteByte('\t')
		d.text.WriteString(l)
		d.text.WriteByte('\n')
	}
}

// sum is half of a SHA-256: users choose what goes in, so accidents must not be constructible.
func (d *digest) sum() string {
	h := sha256.Sum256([]byte(d.text.String()))
	return hex.EncodeToString(h[:16])
}

// quoted writes values so that their borders cannot be mistaken.
func quoted(values ...string) string {
	var b strings.Builder
	for i, v := range values {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strconv.Quote(v))
	}
	return b.String()
}

// pair is an entry of a map of strings.
type pair struct{ key, value string }

func (p pair) String() string { return quoted(p.key, p.value) }

func sortedPairs(m map[string]string) []pair {
	pairs := make([]pair, 0, len(m))
	for k, v := range m {
		pairs = append(pairs, pair{k, v})
	}
	slices.SortFunc(pairs, func(a, b pair) int { return strings.Compare(a.key, b.key) })
	return pairs
}

func pairLines(m map[string]string) []string {
	lines := make([]string, 0, len(m))
	for _, p := range sortedPairs(m) {
		lines = append(lines, p.String())
	}
	return lines
}

// resourceLines writes amounts in the units in which kube-scheduler compares them. Nothing and zero
// are the same.
func resourceLines(list corev1.ResourceList) []string {
	var lines []string
	for name, q := range list {
		n := q.Value()
		if name == corev1.ResourceCPU {
			n = q.MilliValue()
		}
		if n != 0 {
			lines = append(lines, quoted(string(name), strconv.FormatInt(n, 10)))
		}
	}
	return lines
}

// jsonLines writes API values whole. encoding/json orders maps by key.
func jsonLines[T any](values []T) []string {
	lines := make([]string, 0, len(values))
	for _, v := range values {
		text, err := json.Marshal(v)
		if err != nil {
			text = []byte(quoted(err.Error())) // API types always encode
		}
		lines = append(lines, string(text))
	}
	return lines
}
