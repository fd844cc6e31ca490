package keys_test

import (
	"slices"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/keys/keystest"
	"github.com/seed-1972b8eb/signet/internal/rootkeys"
)

const issuer = "https://as.test"

func admin() audit.Actor { return audit.Actor{ID: "local", Source: "unix"} }

// bundle is a manager and a ring over a store of their own.
type bundle struct {
	*keys.Manager
	ring   *keys.Ring
	store  *keystest.Store
	sealer *keys.Sealer
	plan   keys.Plan
}

func setup(t *testing.T, algs ...apis.Alg) bundle {
	t.Helper()
	b := bundle{store: &keystest.Store{}, sealer: keys.NewSealer(issuer, rootkeys.Generate()), plan: keys.DefaultPlan()}
	b.plan.RSABits = 2048 // the least: made faster
	b.Manager = keys.NewManager(keys.ManagerConfig{Store: b.store, Sealer: b.sealer, Plan: b.plan})
	b.ring = keys.NewRing(b.store, b.sealer, b.plan)
	if err := b.Ensure(t.Context(), admin(), algs...); err != nil {
		t.Fatal(err)
	}
	b.reload(t)
	return b
}

func (b bundle) reload(t *testing.T) {
	t.Helper()
	if err := b.ring.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (b bundle) tick(t *testing.T) {
	t.Helper()
	if err := b.Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// in returns the keys of an algorithm in a state.
func (b bundle) in(t *testing.T, alg apis.Alg, state keys.State) []keys.Record {
	t.Helper()
	all, err := b.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(r keys.Record) bool { return r.Alg != alg || r.State != state })
}

// one returns the only key of an algorithm in a state.
func (b bundle) one(t *testing.T, alg apis.Alg, state keys.State) keys.Record {
	t.Helper()
	got := b.in(t, alg, state)
	if len(got) != 1 {
		t.Fatalf("%d %s keys of %s, want 1", len(got), state, alg)
	}
	return got[0]
}

// find returns the key with this kid.
func (b bundle) find(t *testing.T, kid string) keys.Record {
	t.Helper()
	all, err := b.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if r.KID == kid {
			return r
		}
	}
	t.Fatalf("no key %s", kid)
	return keys.Record{}
}

// last returns the event of the latest change.
func (b bundle) last(t *testing.T) audit.Event {
	t.Helper()
	history := b.store.History()
	return history[len(history)-1].Event
}

// tamper writes to the store past the manager.
func (b bundle) tamper(t *testing.T, change func(*keys.Record)) {
	t.Helper()
	err := b.store.UpdateKeySet(t.Context(), func(set *keys.Set) (audit.Event, error) {
		for i := range set.Keys {
			change(&set.Keys[i])
		}
		return audit.Event{Time: time.Now(), Action: "test.tamper"}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
