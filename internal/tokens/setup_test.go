package tokens_test

import (
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/keys/keystest"
	"github.com/seed-1972b8eb/signet/internal/rootkeys"
	"github.com/seed-1972b8eb/signet/internal/tokens"
)

const (
	issuerName = "https://as.test"
	clientID   = "client_9KmPqRs2TuVwXyZ01234"
)

// deps is what stands behind an Issuer under test.
type deps struct {
	store   *keystest.Store
	sealer  *keys.Sealer
	ring    *keys.Ring
	manager *keys.Manager
}

// newIssuer returns an Issuer that signs with the algorithms.
func newIssuer(tb testing.TB, algs ...apis.Alg) (*tokens.Issuer, deps) {
	tb.Helper()
	store, sealer, plan := &keystest.Store{}, keys.NewSealer(issuerName, rootkeys.Generate()), keys.DefaultPlan()
	plan.RSABits = 2048 // the least: made faster
	d := deps{
		store:   store,
		sealer:  sealer,
		ring:    keys.NewRing(store, sealer, plan),
		manager: keys.NewManager(keys.ManagerConfig{Store: store, Sealer: sealer, Plan: plan}),
	}
	if err := d.manager.Ensure(tb.Context(), audit.System(), algs...); err != nil {
		tb.Fatal(err)
	}
	if err := d.ring.Reload(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return tokens.NewIssuer(issuerName, d.ring), d
}

func someClaims(now time.Time) tokens.Claims {
	return tokens.Claims{
		Subject: clientID, ClientID: clientID, Audience: "https://api.test/orders", Scope: "orders:read orders:write",
		ExpiresAt: now.Add(5 * time.Minute), Generation: 1,
	}
}

// rotate does what the schedule would do after the standby has been visible long enough.
func (d deps) rotate(tb testing.TB) {
	tb.Helper()
	err := d.store.UpdateKeySet(tb.Context(), func(set *keys.Set) (audit.Event, error) {
		for i := range set.Keys {
			set.Keys[i].PublishedAt = set.Keys[i].PublishedAt.Add(-time.Hour)
		}
		return audit.Event{Time: time.Now(), Action: "test.backdate"}, nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := d.manager.Rotate(tb.Context(), audit.System(), apis.ES256); err != nil {
		tb.Fatal(err)
	}
	if err := d.ring.Reload(tb.Context()); err != nil {
		tb.Fatal(err)
	}
}
