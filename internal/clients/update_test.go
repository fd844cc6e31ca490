package clients_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/credential"
)

// TestUpdateRefuses: an update may set nothing that a client could not have been created with.
func TestUpdateRefuses(t *testing.T) {
	t.Parallel()
	f := setup(t)
	before, _ := f.create(t, "a")
	f.create(t, "taken")
	grant := func(api string, scopes ...string) *[]clients.Grant {
		return &[]clients.Grant{{API: api, Scopes: scopes}}
	}
	past := time.Now().Add(-time.Second)
	for name, c := range map[string]struct {
		change clients.Change
		want   error
		says   string
	}{
		"name taken":                {clients.Change{Name: new("taken")}, clients.ErrNameTaken, ""},
		"name with a newline":       {clients.Change{Name: new("a\nb")}, clients.ErrInvalid, "name"},
		"unknown API":               {clients.Change{Grants: grant("urn:none", "x")}, clients.ErrInvalid, `"urn:none"`},
		"unknown scope":             {clients.Change{Grants: grant(orders, "orders:delete")}, clients.ErrInvalid, "orders:read"},
		"wildcard scope":            {clients.Change{Grants: grant(orders, "*")}, clients.ErrInvalid, "*"},
		"introspects nothing known": {clients.Change{Introspects: &[]string{"urn:none"}}, clients.ErrInvalid, "urn:none"},
		"introspects the admin API": {clients.Change{Introspects: &[]string{"urn:signet:admin"}}, clients.ErrInvalid, "introspected"},
		"keys of a secret client":   {clients.Change{JWKS: new([]byte(`{"keys":[]}`))}, clients.ErrInvalid, "without jwks"},
		"jwks_uri of such a client": {clients.Change{JWKSURI: new("https://keys.example/jwks")}, clients.ErrInvalid, "jwks"},
		"lifetime above ceiling":    {clients.Change{TokenTTL: new(2 * time.Hour)}, clients.ErrInvalid, "ceiling"},
		"expiry in the past":        {clients.Change{ExpiresAt: &past}, clients.ErrInvalid, "past"},
		"reserved claim":            {clients.Change{Claims: &map[string]any{"scope": "admin"}}, clients.ErrInvalid, "reserved"},
		"invalid network":           {clients.Change{AllowCIDRs: &[]netip.Prefix{{}}}, clients.ErrInvalid, "CIDR"},
	} {
		_, err := f.Update(t.Context(), local, "a", c.change)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want %v saying %q", name, err, c.want, c.says)
		}
	}
	after, err := f.Find(t.Context(), before.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before.Grants, after.Grants); diff != "" || after.Name != "a" || after.Generation != 1 || after.TokenTTL != 0 || !after.ExpiresAt.IsZero() {
		t.Errorf("refused, and changed: %+v\n%s", after, diff)
	}
	if events, err := f.db.Trail().Events(t.Context(), audit.Filter{Action: "client.update"}); err != nil || len(events) != 0 {
		t.Errorf("events of what was not done: %v (%v)", events, err)
	}
}

// TestOverlapIsBounded: a rotation that never ends is none.
func TestOverlapIsBounded(t *testing.T) {
	t.Parallel()
	f := setup(t)
	c, _ := f.create(t, "a")
	for overlap, allowed := range map[time.Duration]bool{-1: false, clients.MaxOverlap: true, clients.MaxOverlap + 1: false} {
		out, err := f.RotateSecret(t.Context(), local, c.ID, overlap)
		if allowed && err != nil || !allowed && (!errors.Is(err, clients.ErrInvalid) || out.Secret != (credential.Secret{})) {
			t.Errorf("overlap %s: %v", overlap, err)
		}
	}
}

// TestCancelRevivesNothing: once the overlap is over, a cancel would bring a dead secret back, and take the one that works.
func TestCancelRevivesNothing(t *testing.T) {
	t.Parallel()
	f := setup(t)
	c, first := f.create(t, "a")
	out, err := f.RotateSecret(t.Context(), local, c.ID, time.Nanosecond)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.CancelRotation(t.Context(), local, c.ID); !errors.Is(err, clients.ErrInvalid) {
		t.Errorf("cancel after the overlap: %v", err)
	}
	if f.opens(t, c.ID, first) || !f.opens(t, c.ID, out.Secret) {
		t.Error("the dead secret works again, or the new one does not")
	}
}
