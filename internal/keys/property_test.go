package keys_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/keys/keystest"
	"github.com/seed-1972b8eb/signet/internal/rootkeys"
)

// slow delays reads, so that what a manager decides on is old when it acts.
type slow struct {
	*keystest.Store
	delay time.Duration
}

func (s slow) KeySet(ctx context.Context) (*keys.Set, error) {
	set, err := s.Store.KeySet(ctx)
	time.Sleep(s.delay)
	return set, err
}

// replica is a server: its manager, its ring, and how old what it serves may be.
type replica struct {
	manager *keys.Manager
	ring    *keys.Ring
}

// fleet is some replicas on one store. All time in it is that of the bubble.
type fleet struct {
	store    *keystest.Store
	plan     keys.Plan
	replicas []replica
}

func newFleet(rt *rapid.T) fleet {
	f := fleet{store: &keystest.Store{}, plan: keys.DefaultPlan()}
	f.plan.RotateEvery = time.Duration(rapid.IntRange(0, 48).Draw(rt, "rotate every hours")) * time.Hour
	f.plan.TokenCeiling = time.Hour
	sealer := keys.NewSealer(issuer, rootkeys.Generate())
	for i := range rapid.IntRange(2, 4).Draw(rt, "replicas") {
		store := slow{f.store, time.Duration(i%2) * time.Second}
		f.replicas = append(f.replicas, replica{
			manager: keys.NewManager(keys.ManagerConfig{Store: store, Sealer: sealer, Plan: f.plan}),
			ring:    keys.NewRing(f.store, sealer, f.plan),
		})
	}
	return f
}

// every runs something on all replicas at once and returns what went wrong.
func (f fleet) every(do func(i int, r replica) error) error {
	errs := make([]error, len(f.replicas))
	var group sync.WaitGroup
	for i, r := range f.replicas {
		group.Go(func() { errs[i] = do(i, r) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// step lets each replica do something of its own, all at once, and time pass after it.
func (f fleet) step(ctx context.Context, rt *rapid.T) error {
	actions := make([]string, len(f.replicas))
	for i := range actions {
		actions[i] = rapid.SampledFrom([]string{"tick", "tick", "tick", "rotate", "compromise", "idle"}).Draw(rt, "action")
	}
	pick := rapid.IntRange(0, 1000).Draw(rt, "pick")
	err := f.every(func(i int, r replica) error {
		switch actions[i] {
		case "tick":
			return r.manager.Tick(ctx)
		case "rotate":
			if _, err := r.manager.Rotate(ctx, admin(), apis.EdDSA); !errors.Is(err, keys.ErrTooEarly) {
				return err
			}
		case "compromise":
			all, err := r.manager.List(ctx)
			if err != nil || pick%4 != 0 { // not too often
				return err
			}
			_, err = r.manager.Compromise(ctx, admin(), all[pick%len(all)].KID, "test")
			return err
		}
		return nil
	})
	time.Sleep(time.Duration(rapid.IntRange(0, 300).Draw(rt, "minutes")) * time.Minute / 3)
	return err
}

// Several replicas rotate, revoke and tick at once, for days: whatever the interleaving, the history of the store shows no
// step that the plan forbids (JWK-07, JWK-08, JWK-11).
func TestReplicasNeverBreakThePlan(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		rapid.Check(struct{ testing.TB }{t}, func(rt *rapid.T) { // hides T.Deadline, which is real time
			f := newFleet(rt)
			if err := f.every(func(_ int, r replica) error { return r.manager.Ensure(ctx, admin(), apis.EdDSA) }); err != nil {
				rt.Fatal(err)
			}
			for range rapid.IntRange(1, 25).Draw(rt, "steps") {
				if err := f.step(ctx, rt); err != nil {
					rt.Fatal(err)
				}
				if err := f.agree(ctx); err != nil {
					rt.Fatal(err)
				}
			}
			if err := checkHistory(f.store.History(), f.plan); err != nil {
				rt.Fatal(err)
			}
		})
	})
}

// agree checks JWK-11: once the rings have reloaded, whatever one signs with, all publish.
func (f fleet) agree(ctx context.Context) error {
	if err := f.every(func(_ int, r replica) error { return r.ring.Reload(ctx) }); err != nil {
		return err
	}
	for _, r := range f.replicas {
		s, err := r.ring.Sign(apis.EdDSA)
		if err != nil {
			return err
		}
		for _, other := range f.replicas {
			if !strings.Contains(string(other.ring.JWKS().Body), s.KID) {
				return fmt.Errorf("key %s signs and is not published everywhere", s.KID)
			}
		}
	}
	return nil
}

// checkHistory walks the changes and holds each to the plan.
func checkHistory(history []keystest.Change, plan keys.Plan) error {
	before := map[string]keys.Record{}
	for n, change := range history {
		after := map[string]keys.Record{}
		states := map[keys.State]int{}
		for _, r := range change.Set.Keys {
			after[r.KID] = r
			states[r.State]++
			if err := checkStep(before[r.KID], r, change.Event, plan, n == 0); err != nil {
				return fmt.Errorf("change %d (%s of %s): %w", n, change.Event.Action, change.Event.Subject, err)
			}
		}
		if states[keys.Active] != 1 || states[keys.Pending] > 1 {
			return fmt.Errorf("change %d (%s): %d active and %d pending keys", n, change.Event.Action, states[keys.Active], states[keys.Pending])
		}
		if len(after) < len(before) {
			return fmt.Errorf("change %d: a key vanished", n)
		}
		before = after
	}
	return nil
}

func checkStep(before, after keys.Record, e audit.Event, plan keys.Plan, first bool) error {
	now := e.Time
	ended := after.State == keys.Retired || after.State == keys.Compromised
	if ended != (len(after.Sealed) == 0) || len(after.PublicJWK) == 0 {
		return fmt.Errorf("%s key %s has %d bytes sealed", after.State, after.KID, len(after.Sealed))
	}
	if before.State == after.State {
		return nil
	}
	switch string(before.State + ">" + after.State) {
	case ">pending", "active>retiring", "pending>compromised", "active>compromised", "retiring>compromised", "retired>compromised":
		return nil
	case ">active":
		if first {
			return nil
		}
	case "pending>active":
		// The one exception is written down in the event.
		if e.Action == "key.revoke" || now.Sub(before.PublishedAt) >= 2*plan.JWKSMaxAge {
			return nil
		}
	case "retiring>retired":
		if now.Sub(before.RetiringAt) >= plan.TokenCeiling+time.Minute+plan.JWKSMaxAge+plan.MaxStale {
			return nil
		}
	}
	return fmt.Errorf("key %s goes from %q to %q", after.KID, before.State, after.State)
}

// When the time has come, many replicas tick at the same moment, and one rotation comes of it.
func TestReplicasRotateOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, apis.ES256)
		time.Sleep(b.plan.RotateEvery)
		var group sync.WaitGroup
		for range 16 {
			m := keys.NewManager(keys.ManagerConfig{Store: slow{b.store, time.Second}, Sealer: b.sealer, Plan: b.plan})
			group.Go(func() {
				if err := m.Tick(t.Context()); err != nil {
					t.Errorf("Tick: %v", err)
				}
			})
		}
		group.Wait()
		actions := map[string]int{}
		for _, c := range b.store.History() {
			actions[c.Event.Action]++
		}
		if actions["key.rotate"] != 1 || actions["key.create"] != 2 {
			t.Errorf("changes are %v, want one rotation and one new standby", actions)
		}
		if e := b.store.History()[1].Event; e.Actor != audit.System() || e.Action != "key.rotate" {
			t.Errorf("the event is %+v", e)
		}
	})
}

// Between a manager's look and its act, an admin revokes the key that it wants to retire: it stays revoked.
func TestTickLooksAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, apis.ES256)
		first := b.one(t, apis.ES256, keys.Active)
		time.Sleep(time.Hour)
		if _, err := b.Rotate(t.Context(), admin(), apis.ES256); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * b.plan.TokenCeiling)
		done := make(chan error)
		go func() {
			late := keys.NewManager(keys.ManagerConfig{Store: slow{b.store, time.Minute}, Sealer: b.sealer, Plan: b.plan})
			done <- late.Tick(t.Context())
		}()
		time.Sleep(time.Second)
		if _, err := b.Compromise(t.Context(), admin(), first.KID, "test"); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if r := b.find(t, first.KID); r.State != keys.Compromised {
			t.Errorf("the key is %s", r.State)
		}
	})
}
