// Package clientstest is the suite that every clients.Store passes.
package clientstest

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/credential"
	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/usage"
)

// Fixture is a store over fresh, empty data, and what its transactions also write to.
type Fixture struct {
	Clients     clients.Store
	APIs        apis.Store
	Revocations revocations.Store
	Trail       audit.Trail
	Usage       usage.Store
}

// orders and reports are the APIs that every test has.
const (
	orders  = "https://api.test/orders"
	reports = "https://api.test/reports"
)

// Run runs the suite. Each test gets its own fixture.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(t *testing.T, f Fixture)
	}{
		{"a full client comes back as it was", testRoundTrip},
		{"the least client comes back as it was", testLeast},
		{"no client", testNotFound},
		{"by ID or name", testFind},
		{"a name that is taken", testNameTaken},
		{"a scope or API that does not exist", testForeign},
		{"pages", testPages},
		{"filters", testFilters},
		{"what was returned is the caller's", testOwnership},
		{"an update of every field", testUpdate},
		{"an update that fails", testUpdateFails},
		{"an update without an action", testUpdateNothing},
		{"an update that renames to a taken name", testUpdateTaken},
		{"an ID never changes and a generation never sinks", testUpdateForbidden},
		{"secrets keep their order", testSecretOrder},
		{"secrets change, go and come", testSecrets},
		{"a generation that rises cuts off", testCutOff},
		{"an update that leaves the generation cuts nothing off", testNoCutOff},
		{"a deletion", testDelete},
		{"updates at once", testConcurrent},
		{"every change has its event", testEvents},
		{"last use survives an update", testLastUsed},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := open(t)
			for _, identifier := range []string{orders, reports} {
				err := f.APIs.CreateAPI(t.Context(), &apis.API{
					Identifier: identifier, Name: identifier, Alg: apis.ES256, Typ: apis.TypAccessToken, TokenTTL: time.Minute,
					Scopes: []apis.Scope{{Name: "read", Kind: apis.Action}, {Name: "write", Kind: apis.Action}},
				}, event("api.create"))
				if err != nil {
					t.Fatal(err)
				}
			}
			test.run(t, f)
		})
	}
}

func event(action string) audit.Event {
	return audit.Event{Actor: audit.Actor{ID: "local", Source: "unix"}, Action: action, Subject: "subject"}
}

// moment returns a time that every database can keep.
func moment(offset time.Duration) time.Time {
	return time.Date(2026, 2, 3, 4, 5, 6, 789_000, time.UTC).Add(offset)
}

func secret(id string, sum byte) clients.Secret {
	return clients.Secret{
		ID: id, Hint: "wxyz", Digest: credential.Digest{Pepper: 3, Sum: [32]byte{sum, 31: 255}}, CreatedAt: moment(0),
	}
}

// least returns a client with nothing but what it must have.
func least(id string) *clients.Client {
	return &clients.Client{
		ID: id, Name: "name of " + id, AuthMethod: clients.SecretBasic, Generation: 1,
		CreatedAt: moment(0), UpdatedAt: moment(0),
	}
}

// full returns a client with everything that it can have.
func full(id string) *clients.Client {
	old, current := secret("cs_z_"+id, 1), secret("cs_a_"+id, 2)
	old.ExpiresAt, old.ReplacedBy, old.OldExpiry = moment(time.Hour), current.ID, moment(2*time.Hour)
	current.CreatedAt = moment(time.Second)
	return &clients.Client{
		ID: id, Name: `näme of ` + id + ` "'\%`, Owner: "team-a", Labels: map[string]string{"team": "a", `odd "key$.[0]`: "b"},
		AuthMethod: clients.SecretPost, Secrets: []clients.Secret{old, current},
		JWKS: []byte(`{"keys":[]}`), JWKSURI: "https://client.test/jwks",
		Grants: []clients.Grant{
			{API: orders, Scopes: []string{"read", "write"}, Defaults: []string{"read"}},
			{API: reports, Scopes: []string{"read"}},
		},
		Introspects: []string{orders, reports},
		AllowCIDRs:  []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")},
		TokenTTL:    90*time.Second + time.Nanosecond, Claims: map[string]any{"tier": "gold", "n": 1.5, "list": []any{"a", true, nil}},
		ExpiresAt: moment(time.Hour), Disabled: true, Generation: 7, CreatedAt: moment(0), UpdatedAt: moment(time.Minute),
	}
}

func (f Fixture) create(t *testing.T, c *clients.Client) {
	t.Helper()
	if err := f.Clients.CreateClient(t.Context(), c, event("client.create")); err != nil {
		t.Fatalf("CreateClient(%s): %v", c.ID, err)
	}
}

// expect reads the client and compares. An empty list or map may come back as nil.
func (f Fixture) expect(t *testing.T, want *clients.Client) {
	t.Helper()
	got, err := f.Clients.Client(t.Context(), want.ID)
	if err != nil {
		t.Fatalf("Client(%s): %v", want.ID, err)
	}
	equal(t, want, got)
}

func equal(t *testing.T, want, got *clients.Client) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("client (-want +got):\n%s", diff)
	}
}

func testRoundTrip(t *testing.T, f Fixture) {
	f.create(t, full("client_1"))
	f.create(t, full("client_2"))
	f.expect(t, full("client_1"))
}

func testLeast(t *testing.T, f Fixture) {
	f.create(t, least("client_1"))
	f.expect(t, least("client_1"))
}

func testNotFound(t *testing.T, f Fixture) {
	f.create(t, least("client_1"))
	for _, id := range []string{"", "client_2", "CLIENT_1", "client_1 ", "client_1\x00", "\xff", "' OR 1=1 --", "%"} {
		if c, err := f.Clients.Client(t.Context(), id); !errors.Is(err, clients.ErrNotFound) {
			t.Errorf("Client(%q) = %v, %v; want ErrNotFound", id, c, err)
		}
		if c, err := f.Clients.FindClient(t.Context(), id); !errors.Is(err, clients.ErrNotFound) {
			t.Errorf("FindClient(%q) = %v, %v; want ErrNotFound", id, c, err)
		}
		if err := f.Clients.DeleteClient(t.Context(), id, event("client.delete")); !errors.Is(err, clients.ErrNotFound) {
			t.Errorf("DeleteClient(%q) = %v, want ErrNotFound", id, err)
		}
		_, err := f.Clients.UpdateClient(t.Context(), id, func(*clients.Client) (audit.Event, error) {
			t.Errorf("UpdateClient(%q) called its closure", id)
			return event("client.update"), nil
		})
		if !errors.Is(err, clients.ErrNotFound) {
			t.Errorf("UpdateClient(%q) = %v, want ErrNotFound", id, err)
		}
	}
}

func testFind(t *testing.T, f Fixture) {
	f.create(t, least("client_1"))
	thief := least("client_2")
	thief.Name = "client_1" // an ID wins over a name
	f.create(t, thief)
	for text, want := range map[string]string{
		"client_1": "client_1", "client_2": "client_2", "name of client_1": "client_1",
	} {
		got, err := f.Clients.FindClient(t.Context(), text)
		if err != nil || got.ID != want {
			t.Errorf("FindClient(%q) = %v, %v; want %s", text, got, err, want)
		}
	}
	if _, err := f.Clients.Client(t.Context(), "name of client_1"); !errors.Is(err, clients.ErrNotFound) {
		t.Errorf("Client of a name: %v, want ErrNotFound", err)
	}
}

func testNameTaken(t *testing.T, f Fixture) {
	f.create(t, least("client_1"))
	second := full("client_2")
	second.Name = "name of client_1"
	if err := f.Clients.CreateClient(t.Context(), second, event("client.create")); !errors.Is(err, clients.ErrNameTaken) {
		t.Fatalf("CreateClient = %v, want ErrNameTaken", err)
	}
	if _, err := f.Clients.Client(t.Context(), "client_2"); !errors.Is(err, clients.ErrNotFound) {
		t.Errorf("the refused client is there: %v", err)
	}
	second.Name = "Name of client_1" // names differ by any byte
	f.create(t, second)
}

func testForeign(t *testing.T, f Fixture) {
	for i, spoil := range []func(*clients.Client){
		func(c *clients.Client) { c.Grants = []clients.Grant{{API: orders, Scopes: []string{"delete"}}} },
		func(c *clients.Client) {
			c.Grants = []clients.Grant{{API: "https://nowhere.test", Scopes: []string{"read"}}}
		},
		func(c *clients.Client) { c.Introspects = []string{"https://nowhere.test"} },
	} {
		c := least(fmt.Sprint("client_", i))
		spoil(c)
		if err := f.Clients.CreateClient(t.Context(), c, event("client.create")); !errors.Is(err, clients.ErrInvalid) {
			t.Errorf("CreateClient %d = %v, want ErrInvalid", i, err)
		}
	}
}

func testOwnership(t *testing.T, f Fixture) {
	given := full("client_1")
	f.create(t, given)
	given.Labels["team"], given.Grants[0].Scopes[0] = "changed", "changed"
	got, err := f.Clients.Client(t.Context(), "client_1")
	if err != nil {
		t.Fatal(err)
	}
	got.Labels["team"], got.Secrets[0].ID, got.Introspects[0] = "changed", "changed", "changed"
	f.expect(t, full("client_1"))
}
