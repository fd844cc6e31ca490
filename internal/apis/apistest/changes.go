package apistest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/revocations"
)

func (f Fixture) update(t *testing.T, change func(*apis.API)) *apis.API {
	t.Helper()
	got, err := f.APIs.UpdateAPI(t.Context(), orders, func(a *apis.API) (audit.Event, error) {
		change(a)
		return event("api.update"), nil
	})
	if err != nil {
		t.Fatalf("UpdateAPI: %v", err)
	}
	return got
}

func testUpdate(t *testing.T, f Fixture) {
	f.create(t, full(orders))
	f.create(t, full("urn:other"))
	edit := func(a *apis.API) {
		a.Name, a.Alg, a.Typ, a.TokenTTL, a.Disabled = "renamed", apis.EdDSA, apis.TypAccessToken, time.Hour, false
		a.UpdatedAt = moment(time.Hour)
		a.Scopes = []apis.Scope{{Name: "admin", Group: "A"}, a.Scopes[0]}
		a.Scopes[1].Routes, a.Scopes[1].Description = nil, "changed"
	}
	want := full(orders)
	edit(want)
	equal(t, want, f.update(t, edit))
	f.expect(t, want)
	f.expect(t, full("urn:other"))
}

func testUpdateFails(t *testing.T, f Fixture) {
	f.create(t, full(orders))
	refusal := errors.New("no")
	for name, change := range map[string]func(*apis.API) error{
		"the closure refuses":    func(a *apis.API) error { a.Scopes, a.Name = nil, "renamed"; return refusal },
		"the identifier changes": func(a *apis.API) error { a.Identifier = "urn:other"; return nil },
	} {
		got, err := f.APIs.UpdateAPI(t.Context(), orders, func(a *apis.API) (audit.Event, error) {
			return event("api.update"), change(a)
		})
		if got != nil || (!errors.Is(err, refusal) && !errors.Is(err, apis.ErrInvalid)) {
			t.Errorf("%s: UpdateAPI = %v, %v", name, got, err)
		}
	}
	f.expect(t, full(orders))
	if events, err := f.Trail.Events(t.Context(), audit.Filter{Action: "api.update"}); err != nil || len(events) != 0 {
		t.Errorf("events of what was not done: %v, %v", events, err)
	}
}

func testScopeTaken(t *testing.T, f Fixture) {
	double := full(orders)
	double.Scopes = append(double.Scopes, apis.Scope{Name: "read"})
	if err := f.APIs.CreateAPI(t.Context(), double, event("api.create")); !errors.Is(err, apis.ErrScopeTaken) {
		t.Errorf("CreateAPI = %v, want ErrScopeTaken", err)
	}
	if _, err := f.APIs.API(t.Context(), orders); !errors.Is(err, apis.ErrNotFound) {
		t.Errorf("the refused API is there: %v", err)
	}
}

func (f Fixture) revoked(t *testing.T, client string, generation int64) bool {
	t.Helper()
	got, err := f.Revocations.Check(t.Context(), revocations.Token{JTI: "j", ClientID: client, KID: "k", Generation: generation})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func testDropScope(t *testing.T, f Fixture) {
	f.create(t, full(orders))
	f.create(t, full("urn:other"))
	f.grant(t, "both", clients.Grant{API: orders, Scopes: []string{"read", "write"}, Defaults: []string{"read"}})
	f.grant(t, "lost", clients.Grant{API: orders, Scopes: []string{"read", "write"}, Defaults: []string{"write"}})
	f.grant(t, "gone", clients.Grant{API: orders, Scopes: []string{"write"}}, clients.Grant{API: "urn:other", Scopes: []string{"write"}})
	f.grant(t, "kept", clients.Grant{API: orders, Scopes: []string{"read"}})
	f.update(t, func(a *apis.API) { a.Scopes = a.Scopes[:1] })
	for id, want := range map[string]struct {
		grants     []clients.Grant
		generation int64
	}{
		"both": {[]clients.Grant{{API: orders, Scopes: []string{"read"}}}, 2},
		"lost": {[]clients.Grant{{API: orders, Scopes: []string{"read"}, Defaults: []string{}}}, 2},
		"gone": {[]clients.Grant{{API: "urn:other", Scopes: []string{"write"}}}, 2},
		"kept": {[]clients.Grant{{API: orders, Scopes: []string{"read"}}}, 1},
	} {
		got, err := f.Clients.Client(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, want.grants, got.Grants)
		if got.Generation != want.generation {
			t.Errorf("%s: generation %d, want %d", id, got.Generation, want.generation)
		}
		if revoked := f.revoked(t, id, 1); revoked != (want.generation > 1) {
			t.Errorf("%s: tokens of generation 1 are revoked: %v", id, revoked)
		}
		if f.revoked(t, id, want.generation) {
			t.Errorf("%s: tokens of the current generation are revoked", id)
		}
	}
}

func testDelete(t *testing.T, f Fixture) {
	f.create(t, full(orders))
	f.create(t, full("urn:other"))
	f.grant(t, "holder", clients.Grant{API: orders, Scopes: []string{"read", "write"}})
	f.grant(t, "other", clients.Grant{API: "urn:other", Scopes: []string{"read"}})
	_, err := f.Clients.UpdateClient(t.Context(), "other", func(c *clients.Client) (audit.Event, error) {
		c.Introspects = []string{orders, "urn:other"}
		return event("client.update"), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.APIs.DeleteAPI(t.Context(), orders, event("api.delete")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.APIs.API(t.Context(), orders); !errors.Is(err, apis.ErrNotFound) {
		t.Errorf("API = %v, want ErrNotFound", err)
	}
	f.create(t, full(orders)) // nobody gets anything back
	holder, err := f.Clients.Client(t.Context(), "holder")
	if err != nil || len(holder.Grants) != 0 || holder.Generation != 2 || !f.revoked(t, "holder", 1) {
		t.Errorf("holder: %+v, %v, revoked %v", holder, err, f.revoked(t, "holder", 1))
	}
	other, err := f.Clients.Client(t.Context(), "other")
	if err != nil || len(other.Grants) != 1 || other.Generation != 1 || f.revoked(t, "other", 1) {
		t.Errorf("other: %+v, %v, revoked %v", other, err, f.revoked(t, "other", 1))
	}
	equal(t, []string{"urn:other"}, other.Introspects)
	f.expect(t, full("urn:other"))
}

func testHolders(t *testing.T, f Fixture) {
	f.create(t, full(orders))
	f.create(t, full("urn:other"))
	for i, scopes := range [][]string{{"read"}, {"read", "write"}, {"write"}} {
		f.grant(t, fmt.Sprint("client_", i), clients.Grant{API: orders, Scopes: scopes})
	}
	f.grant(t, "elsewhere", clients.Grant{API: "urn:other", Scopes: []string{"read"}})
	for _, test := range []struct {
		scopes []string
		want   int
	}{{nil, 3}, {[]string{"read"}, 2}, {[]string{"write"}, 2}, {[]string{"read", "write"}, 3}, {[]string{"none"}, 0}} {
		got, err := f.APIs.Holders(t.Context(), orders, test.scopes)
		if err != nil || got != test.want {
			t.Errorf("Holders(%q) = %d, %v; want %d", test.scopes, got, err, test.want)
		}
	}
}
