package clientstest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/internal/clients"
)

func (f Fixture) ids(t *testing.T, filter clients.Filter) []string {
	t.Helper()
	list, err := f.Clients.Clients(t.Context(), filter)
	if err != nil {
		t.Fatalf("Clients(%+v): %v", filter, err)
	}
	ids := make([]string, len(list))
	for i, c := range list {
		ids[i] = c.ID
	}
	return ids
}

func testPages(t *testing.T, f Fixture) {
	// Capitals sort before small letters: listings compare bytes, whatever the database's locale is.
	var want []string
	for i := range 105 {
		want = append(want, fmt.Sprintf("client_%c%03d", "aB"[i%2], i))
	}
	for _, id := range want {
		f.create(t, least(id))
	}
	slices.Sort(want)
	if diff := cmp.Diff(want[:100], f.ids(t, clients.Filter{})); diff != "" {
		t.Errorf("the first page (-want +got):\n%s", diff)
	}
	var got []string
	for page := f.ids(t, clients.Filter{Limit: 40}); len(page) > 0; page = f.ids(t, clients.Filter{Limit: 40, After: got[len(got)-1]}) {
		got = append(got, page...)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("all pages (-want +got):\n%s", diff)
	}
	if n := len(f.ids(t, clients.Filter{Limit: 5000})); n != 105 {
		t.Errorf("a large page has %d clients", n)
	}
}

func testFilters(t *testing.T, f Fixture) {
	for id, labels := range map[string]map[string]string{
		"client_1": {"team": "a", "env": "prod"}, "client_2": {"team": "b", "env": "prod"}, "client_3": {`"key" $.[0]`: "it's"},
	} {
		c := least(id)
		c.Labels = labels
		c.Name = "job_" + id
		f.create(t, c)
	}
	other := least("client_4")
	other.Name = "job%client"
	f.create(t, other)
	full := full("client_5")
	full.Labels = map[string]string{"team": "A"}
	f.create(t, full)
	for _, test := range []struct {
		filter clients.Filter
		want   []string
	}{
		{clients.Filter{Labels: map[string]string{"team": "a"}}, []string{"client_1"}},
		{clients.Filter{Labels: map[string]string{"env": "prod"}}, []string{"client_1", "client_2"}},
		{clients.Filter{Labels: map[string]string{"env": "prod", "team": "b"}}, []string{"client_2"}},
		{clients.Filter{Labels: map[string]string{"env": "prod"}, After: "client_1"}, []string{"client_2"}},
		{clients.Filter{Labels: map[string]string{`"key" $.[0]`: "it's"}}, []string{"client_3"}},
		{clients.Filter{Labels: map[string]string{"team": ""}}, []string{}},
		{clients.Filter{Labels: map[string]string{"team\x00": "a"}}, []string{}},
		{clients.Filter{Name: "job_"}, []string{"client_1", "client_2", "client_3"}},
		{clients.Filter{Name: "job%"}, []string{"client_4"}},
		{clients.Filter{Name: "JOB"}, []string{}},
		{clients.Filter{Name: "näme"}, []string{"client_5"}},
		{clients.Filter{Name: "\xff"}, []string{}},
		{clients.Filter{Name: "job_", Limit: 2}, []string{"client_1", "client_2"}},
	} {
		if diff := cmp.Diff(test.want, f.ids(t, test.filter)); diff != "" {
			t.Errorf("Clients(%+v) (-want +got):\n%s", test.filter, diff)
		}
	}
	// A listing has whole clients.
	list, err := f.Clients.Clients(t.Context(), clients.Filter{Name: "näme"})
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	equal(t, full, list[0])
}
