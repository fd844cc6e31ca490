// Package apistest is the suite that every apis.Store passes.
package apistest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/revocations"
)

// Fixture is a store over fresh, empty data, and what its transactions also write to.
type Fixture struct {
	APIs        apis.Store
	Clients     clients.Store
	Revocations revocations.Store
	Trail       audit.Trail
}

const orders = "https://api.test/orders"

// Run runs the suite. Each test gets its own fixture.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(t *testing.T, f Fixture)
	}{
		{"an API comes back as it was", testRoundTrip},
		{"the order of a listing", testList},
		{"no API", testNotFound},
		{"a taken identifier or name", testTaken},
		{"an update of every field", testUpdate},
		{"an update that fails", testUpdateFails},
		{"two scopes of one name", testScopeTaken},
		{"a deleted scope", testDropScope},
		{"a deleted API", testDelete},
		{"holders", testHolders},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, open(t))
		})
	}
}

func event(action string) audit.Event {
	return audit.Event{Actor: audit.Actor{ID: "local", Source: "unix"}, Action: action, Subject: "subject"}
}

func moment(offset time.Duration) time.Time {
	return time.Date(2026, 2, 3, 4, 5, 6, 789_000, time.UTC).Add(offset)
}

// full returns an API with everything that it can have; its scopes are read and write.
func full(identifier string) *apis.API {
	return &apis.API{
		Identifier: identifier, Name: `näme of "` + identifier + `"`, Alg: apis.RS256, Typ: apis.TypJWT,
		TokenTTL: 90*time.Second + time.Nanosecond, Disabled: true,
		Scopes: []apis.Scope{
			{
				Name: "read", Description: "Reads ünd more", Group: "Reports", Kind: apis.Action, CreatedAt: moment(0),
				Routes: []apis.Route{{Method: "GET", Path: "/v1/orders/*"}, {Method: "*", Path: "/v1/**"}},
			},
			{Name: "write", Kind: apis.Feature, CreatedAt: moment(time.Second)},
		},
		CreatedAt: moment(0), UpdatedAt: moment(time.Minute),
	}
}

func (f Fixture) create(t *testing.T, a *apis.API) {
	t.Helper()
	if err := f.APIs.CreateAPI(t.Context(), a, event("api.create")); err != nil {
		t.Fatalf("CreateAPI(%s): %v", a.Identifier, err)
	}
}

func (f Fixture) expect(t *testing.T, want *apis.API) {
	t.Helper()
	got, err := f.APIs.API(t.Context(), want.Identifier)
	if err != nil {
		t.Fatalf("API(%s): %v", want.Identifier, err)
	}
	equal(t, want, got)
}

func equal(t *testing.T, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// grant creates a client that holds these scopes and may introspect nothing.
func (f Fixture) grant(t *testing.T, id string, grants ...clients.Grant) {
	t.Helper()
	c := &clients.Client{
		ID: id, Name: id, AuthMethod: clients.SecretBasic, Grants: grants, Generation: 1, CreatedAt: moment(0), UpdatedAt: moment(0),
	}
	if err := f.Clients.CreateClient(t.Context(), c, event("client.create")); err != nil {
		t.Fatal(err)
	}
}

func testRoundTrip(t *testing.T, f Fixture) {
	f.create(t, full("https://api.test/other"))
	f.create(t, full(orders))
	f.expect(t, full(orders))
	f.create(t, &apis.API{Identifier: "urn:least", Name: "least"})
	f.expect(t, &apis.API{Identifier: "urn:least", Name: "least"})
}

func testList(t *testing.T, f Fixture) {
	want := []*apis.API{full("urn:B"), full("urn:a"), full("urn:c")} // by bytes
	for _, i := range []int{1, 2, 0} {
		f.create(t, want[i])
	}
	got, err := f.APIs.APIs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	equal(t, want, got)
}

func testNotFound(t *testing.T, f Fixture) {
	f.create(t, full(orders))
	for _, identifier := range []string{"", orders + "/", "https://API.test/orders", orders + "\x00", "\xff", "' OR 1=1 --"} {
		if a, err := f.APIs.API(t.Context(), identifier); !errors.Is(err, apis.ErrNotFound) {
			t.Errorf("API(%q) = %v, %v; want ErrNotFound", identifier, a, err)
		}
		if err := f.APIs.DeleteAPI(t.Context(), identifier, event("api.delete")); !errors.Is(err, apis.ErrNotFound) {
			t.Errorf("DeleteAPI(%q) = %v, want ErrNotFound", identifier, err)
		}
		_, err := f.APIs.UpdateAPI(t.Context(), identifier, func(*apis.API) (audit.Event, error) {
			t.Errorf("UpdateAPI(%q) called its closure", identifier)
			return event("api.update"), nil
		})
		if !errors.Is(err, apis.ErrNotFound) {
			t.Errorf("UpdateAPI(%q) = %v, want ErrNotFound", identifier, err)
		}
		if _, err := f.APIs.Holders(t.Context(), identifier, nil); !errors.Is(err, apis.ErrNotFound) {
			t.Errorf("Holders(%q) = %v, want ErrNotFound", identifier, err)
		}
	}
}

func testTaken(t *testing.T, f Fixture) {
	f.create(t, full(orders))
	sameName := full("urn:other")
	sameName.Name = full(orders).Name
	for _, a := range []*apis.API{full(orders), sameName} {
		if err := f.APIs.CreateAPI(t.Context(), a, event("api.create")); !errors.Is(err, apis.ErrTaken) {
			t.Errorf("CreateAPI(%s) = %v, want ErrTaken", a.Identifier, err)
		}
	}
	f.create(t, full("urn:other"))
	_, err := f.APIs.UpdateAPI(t.Context(), "urn:other", func(a *apis.API) (audit.Event, error) {
		a.Name = full(orders).Name
		return event("api.update"), nil
	})
	if !errors.Is(err, apis.ErrTaken) {
		t.Errorf("UpdateAPI = %v, want ErrTaken", err)
	}
	f.expect(t, full("urn:other"))
}
