package fakeaws

import (
	"net/url"
	"strconv"
	"strings"
	"time"
)

// params are a request's parameters, as the query protocols flatten them: Tags.member.1.Key in the one,
// Tag.1.Key in the other. Path parameters of EKS are put in the same form.
type params map[string]string

func newParams(form url.Values) params {
	p := params{}
	for key, values := range form {
		if len(values) > 0 {
			// One of the two query protocols writes member between a list and its index.
			p[strings.ReplaceAll(key, ".member.", ".")] = values[0]
		}
	}
	return p
}

// list reads the strings of a list.
func (p params) list(name string) []string {
	var out []string
	for n := 1; ; n++ {
		value, ok := p[name+"."+strconv.Itoa(n)]
		if !ok {
			return out
		}
		out = append(out, value)
	}
}

// each reads the structures of a list.
func (p params) each(name string) []params {
	var out []params
	for n := 1; ; n++ {
		prefix := name + "." + strconv.Itoa(n) + "."
		item := params{}
		for key, value := range p {
			if rest, ok := strings.CutPrefix(key, prefix); ok {
				item[rest] = value
			}
		}
		if len(item) == 0 {
			return out
		}
		out = append(out, item)
	}
}

// number reads an integer; fallback is for a missing one.
func (p params) number(name string, fallback int) (int, error) {
	text, ok := p[name]
	if !ok {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, invalid("%s must be a number, not %q", name, text)
	}
	return n, nil
}

// flag reads a boolean that must be there.
func (p params) flag(name string) (bool, error) {
	b, err := strconv.ParseBool(p[name])
	if err != nil {
		return false, invalid("%s must be true or false, not %q", name, p[name])
	}
	return b, nil
}

// required reads a parameter that must not be empty.
func (p params) required(name string) (string, error) {
	if p[name] == "" {
		return "", invalid("%s must not be empty", name)
	}
	return p[name], nil
}

// flat is the form in which calls are recorded: a list of strings becomes one entry, in its order.
func (p params) flat() map[string][]string {
	out := map[string][]string{}
	for key, value := range p {
		if key == "Action" || key == "Version" {
			continue
		}
		name, index := listIndex(key)
		switch index {
		case 0:
			out[key] = []string{value}
		case 1:
			out[name] = p.list(name)
		}
	}
	return out
}

// listIndex splits InstanceIds.2; a key without an index has index 0.
func listIndex(key string) (string, int) {
	dot := strings.LastIndexByte(key, '.')
	if dot < 0 {
		return key, 0
	}
	index, err := strconv.Atoi(key[dot+1:])
	if err != nil {
		return key, 0
	}
	return key[:dot], index
}

// wireTime writes times as the query protocols do.
func wireTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}
