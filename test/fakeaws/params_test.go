package fakeaws

import (
	"fmt"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParams(t *testing.T) {
	form := url.Values{"Action": {"X"}, "Version": {"1"}, "Name": {"n"},
		"Filters.member.1.Name": {"a"}, "Filters.member.1.Values.member.1": {"b"}, "Filter.2.Value.1": {"never reached"}}
	for n := 1; n <= 12; n++ {
		form.Set(fmt.Sprintf("Ids.member.%d", n), fmt.Sprint("i", n))
	}
	p := newParams(form)
	ids := []string{"i1", "i2", "i3", "i4", "i5", "i6", "i7", "i8", "i9", "i10", "i11", "i12"}
	if diff := cmp.Diff(ids, p.list("Ids")); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]params{{"Name": "a", "Values.1": "b"}}, p.each("Filters")); diff != "" {
		t.Errorf("structures (-want +got):\n%s", diff)
	}
	want := map[string][]string{"Name": {"n"}, "Ids": ids, "Filters.1.Name": {"a"}, "Filters.1.Values": {"b"}, "Filter.2.Value": {"never reached"}}
	if diff := cmp.Diff(want, p.flat()); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
}
