package app_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/app"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/endpoints"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/revocations"
)

// TestWhatEndsTokens makes each change that ends tokens, and asks before any poll could have told: with SQLite the set in
// memory is the only one that introspection reads, and the change itself must have reached it (DESIGN.md §7). Then once
// more after a restart, which has nothing but the database.
func TestWhatEndsTokens(t *testing.T) {
	t.Parallel()
	only := []clients.Grant{{API: api, Scopes: []string{"orders:read"}}}
	for name, end := range map[string]func(ctx context.Context, a *app.App, id, token string) error{
		"disable": func(ctx context.Context, a *app.App, id, _ string) error {
			_, err := a.Clients.Disable(ctx, by, id, "left")
			return err
		},
		"delete": func(ctx context.Context, a *app.App, id, _ string) error { return a.Clients.Delete(ctx, by, id) },
		"cut-off": func(ctx context.Context, a *app.App, id, _ string) error {
			_, err := a.Clients.CutOff(ctx, by, id, "leak")
			return err
		},
		"rotate now": func(ctx context.Context, a *app.App, id, _ string) error {
			_, err := a.Clients.RotateSecret(ctx, by, id, 0)
			return err
		},
		"a scope taken from the client": func(ctx context.Context, a *app.App, id, _ string) error {
			_, err := a.Clients.Update(ctx, by, id, clients.Change{Grants: &only})
			return err
		},
		"a scope deleted": func(ctx context.Context, a *app.App, _, _ string) error {
			_, err := a.APIs.DeleteScope(ctx, by, api, "orders:write")
			return err
		},
		"every key": func(ctx context.Context, a *app.App, _, _ string) error {
			_, err := a.Keys().CompromiseAll(ctx, by, "leak")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := made(t)
			a, err := s.open(t)
			if err != nil {
				t.Fatal(err)
			}
			victim, watcher := register(t, a, "victim"), register(t, a, "watcher")
			token := victim.token(t, a)
			if !watcher.active(t, a, token) {
				t.Fatal("inactive before anything happened")
			}
			if err := end(t.Context(), a, victim.id, token); err != nil {
				t.Fatal(err)
			}
			if watcher.active(t, a, token) {
				t.Error("active after the change was acknowledged")
			}
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
			if watcher.active(t, s.opened(t), token) {
				t.Error("active after a restart")
			}
		})
	}
}

// TestRevokedStaysRevoked is the same for a token that its client gives back.
func TestRevokedStaysRevoked(t *testing.T) {
	t.Parallel()
	s := made(t)
	a, err := s.open(t)
	if err != nil {
		t.Fatal(err)
	}
	c := register(t, a, "nightly")
	token, other := c.token(t, a), c.token(t, a)
	if got := c.post(t, a.Public(), "/oauth2/revoke", "token="+token); got.status != http.StatusOK {
		t.Fatalf("revoke: %d %s", got.status, got.body)
	}
	check := func(a *app.App) {
		t.Helper()
		if c.active(t, a, token) || !c.active(t, a, other) {
			t.Error("the revoked token is active, or the other one is not")
		}
	}
	check(a)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	check(s.opened(t))
}

// TestChangesAreServedAtOnce: the process that made a change never serves what it replaced, whatever its caches hold.
func TestChangesAreServedAtOnce(t *testing.T) {
	t.Parallel()
	a := made(t).opened(t)
	c := register(t, a, "nightly")
	kid := c.token(t, a)[:60]
	if _, err := a.Keys().CompromiseAll(t.Context(), by, "leak"); err != nil {
		t.Fatal(err)
	}
	if again := c.token(t, a)[:60]; again == kid {
		t.Error("signed with a key that was revoked")
	}
	api := apis.API{Identifier: "https://api.example.com/2", Name: "Two", Scopes: []apis.Scope{{Name: "two"}}}
	if _, err := a.APIs.Create(t.Context(), by, api); err != nil {
		t.Fatal(err)
	}
	grants := []clients.Grant{{API: api.Identifier, Scopes: []string{"two"}}}
	if _, err := a.Clients.Update(t.Context(), by, c.id, clients.Change{Grants: &grants}); err != nil {
		t.Fatal(err)
	}
	if got := c.post(t, a.Public(), "/oauth2/token", "grant_type=client_credentials&scope=orders:read"); got.status != http.StatusBadRequest {
		t.Errorf("a scope that was taken away: %d %s", got.status, got.body)
	}
	c.token(t, a)
	if _, err := a.Clients.Disable(t.Context(), by, c.id, "left"); err != nil {
		t.Fatal(err)
	}
	if got := c.post(t, a.Public(), "/oauth2/token", "grant_type=client_credentials"); got.status != http.StatusUnauthorized {
		t.Errorf("a client that was disabled: %d %s", got.status, got.body)
	}
}

// TestCutOffOfAllEndsTheStandbys has a token that the standby has signed, as after a failover that lost a rotation: the standby is
// published, so the token counts, and must not outlive the cut-off of everything.
func TestCutOffOfAllEndsTheStandbys(t *testing.T) {
	t.Parallel()
	s := made(t)
	a, err := s.open(t)
	if err != nil {
		t.Fatal(err)
	}
	c := register(t, a, "nightly")
	swapStandby(t, a)
	token := c.token(t, a)
	swapStandby(t, a)
	if c.token(t, a)[:60] == token[:60] || !c.active(t, a, token) {
		t.Fatal("the token is not one of the standby, or does not count")
	}
	standby := stateOf(t, a, keys.Pending)
	kids, err := a.Keys().CompromiseAll(t.Context(), by, "failover")
	if err != nil || !slices.Contains(kids, standby) {
		t.Fatalf("revoked %v without the standby %s (%v)", kids, standby, err)
	}
	jwks := send(a.Public(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, endpoints.PathJWKS, http.NoBody))
	if jwks.status != http.StatusOK || strings.Contains(jwks.body, standby) {
		t.Errorf("the standby is published: %d %s", jwks.status, jwks.body)
	}
	cutOffs, err := a.Database().Revocations().CutOffs(t.Context())
	if err != nil || !slices.ContainsFunc(cutOffs, func(c revocations.CutOff) bool { return c.Kind == revocations.ByKey && c.ID == standby }) {
		t.Errorf("no cut-off of the standby %s among %v (%v)", standby, cutOffs, err)
	}
	check := func(a *app.App) {
		t.Helper()
		if c.active(t, a, token) || !c.active(t, a, c.token(t, a)) {
			t.Error("what the standby signed is active, or a new token is not")
		}
	}
	check(a)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	check(s.opened(t))
}

// swapStandby lets the standby sign, and makes the key that did the standby.
func swapStandby(t *testing.T, a *app.App) {
	t.Helper()
	err := a.Database().Keys().UpdateKeySet(t.Context(), func(set *keys.Set) (audit.Event, error) {
		other := map[keys.State]keys.State{keys.Active: keys.Pending, keys.Pending: keys.Active}
		for i := range set.Keys {
			set.Keys[i].State = other[set.Keys[i].State]
		}
		return audit.Event{Actor: by, Action: "test.swap"}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// stateOf is the ID of the only key in a state.
func stateOf(t *testing.T, a *app.App, state keys.State) string {
	t.Helper()
	all, err := a.Keys().List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all = slices.DeleteFunc(all, func(r keys.Record) bool { return r.State != state })
	if len(all) != 1 {
		t.Fatalf("%d %s keys, want 1", len(all), state)
	}
	return all[0].KID
}
