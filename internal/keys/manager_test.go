package keys_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/keys/keystest"
)

func TestEnsure(t *testing.T) {
	t.Parallel()
	b := setup(t, apis.ES256, apis.EdDSA)
	for _, alg := range []apis.Alg{apis.ES256, apis.EdDSA} {
		active, standby := b.one(t, alg, keys.Active), b.one(t, alg, keys.Pending)
		if active.ActivatedAt.IsZero() || active.PublishedAt.IsZero() || standby.PublishedAt.IsZero() || !standby.ActivatedAt.IsZero() {
			t.Errorf("%s: times are %+v and %+v", alg, active, standby)
		}
	}
	e := b.last(t)
	if e.Action != "key.create" || e.Actor != admin() || e.Time.IsZero() || e.Subject == "" {
		t.Errorf("the event is %+v", e)
	}
	n := len(b.store.History())
	if err := b.Ensure(t.Context(), admin(), apis.ES256, apis.EdDSA); err != nil || len(b.store.History()) != n {
		t.Errorf("Ensure again = %v and made %d changes", err, len(b.store.History())-n)
	}
	if err := b.Ensure(t.Context(), admin(), "HS256"); !errors.Is(err, keys.ErrInvalid) {
		t.Errorf("Ensure(HS256) = %v, want ErrInvalid", err)
	}
}

// JWK-07: the standby is visible for two cache lifetimes before it may sign, and Rotate says from when.
func TestRotateWaitsForTheStandby(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, apis.ES256)
		active, standby := b.one(t, apis.ES256, keys.Active), b.one(t, apis.ES256, keys.Pending)
		from := standby.PublishedAt.Add(2 * b.plan.JWKSMaxAge)
		time.Sleep(2*b.plan.JWKSMaxAge - time.Microsecond)
		n := len(b.store.History())
		_, err := b.Rotate(t.Context(), admin(), apis.ES256)
		if !errors.Is(err, keys.ErrTooEarly) || !strings.Contains(err.Error(), from.Format(time.RFC3339)) {
			t.Errorf("Rotate too early = %v, want ErrTooEarly and %s", err, from.Format(time.RFC3339))
		}
		if len(b.store.History()) != n {
			t.Error("a refused rotation changed something")
		}
		time.Sleep(time.Microsecond)
		got, err := b.Rotate(t.Context(), admin(), apis.ES256)
		if err != nil || got.KID != standby.KID || got.State != keys.Active {
			t.Fatalf("Rotate = %s %s, %v; want the standby %s", got.KID, got.State, err, standby.KID)
		}
		if r := b.find(t, active.KID); r.State != keys.Retiring || !r.RetiringAt.Equal(from) || len(r.Sealed) == 0 {
			t.Errorf("the old key is %s since %s", r.State, r.RetiringAt)
		}
		if next := b.one(t, apis.ES256, keys.Pending); next.KID == standby.KID || !next.PublishedAt.Equal(from) {
			t.Errorf("the next standby is %s, published %s", next.KID, next.PublishedAt)
		}
		var rotated []audit.Event
		for _, c := range b.store.History() {
			if c.Event.Action == "key.rotate" {
				rotated = append(rotated, c.Event)
			}
		}
		want := []audit.Event{{
			Time: from, Actor: admin(), Action: "key.rotate", Subject: standby.KID,
			Detail: map[string]any{"alg": "ES256", "previous": active.KID},
		}}
		if diff := cmp.Diff(want, rotated); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		if _, err := b.Rotate(t.Context(), admin(), apis.RS256); !errors.Is(err, keys.ErrNoActiveKey) {
			t.Errorf("Rotate of an algorithm without keys = %v, want ErrNoActiveKey", err)
		}
	})
}

// A replica that is cut off from the database serves the old JWKS for MaxStale: short cache lifetimes must not hide that.
func TestRotateWaitsForStaleReplicas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, apis.ES256)
		b.plan.JWKSMaxAge = time.Second
		m := keys.NewManager(keys.ManagerConfig{Store: b.store, Sealer: b.sealer, Plan: b.plan})
		time.Sleep(b.plan.MaxStale)
		if _, err := m.Rotate(t.Context(), admin(), apis.ES256); !errors.Is(err, keys.ErrTooEarly) {
			t.Errorf("Rotate = %v, want ErrTooEarly", err)
		}
		time.Sleep(time.Second)
		if _, err := m.Rotate(t.Context(), admin(), apis.ES256); err != nil {
			t.Errorf("Rotate = %v", err)
		}
	})
}

// JWK-07 and JWK-08 over one whole life of a key.
func TestScheduleKeepsAndRetires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, apis.ES256)
		first := b.one(t, apis.ES256, keys.Active)
		time.Sleep(b.plan.RotateEvery - time.Microsecond)
		b.tick(t)
		if got := b.one(t, apis.ES256, keys.Active); got.KID != first.KID {
			t.Fatal("rotated before its time")
		}
		time.Sleep(time.Microsecond)
		b.tick(t)
		if r := b.find(t, first.KID); r.State != keys.Retiring {
			t.Fatalf("the old key is %s after its time", r.State)
		}
		b.one(t, apis.ES256, keys.Pending)
		stays := b.plan.TokenCeiling + time.Minute + b.plan.JWKSMaxAge + b.plan.MaxStale
		time.Sleep(stays - time.Microsecond)
		b.tick(t)
		b.reload(t)
		if _, ok := b.ring.Public(first.KID); !ok {
			t.Fatal("the old key left the JWKS while its tokens may live")
		}
		time.Sleep(time.Microsecond)
		b.tick(t)
		b.reload(t)
		r := b.find(t, first.KID)
		if r.State != keys.Retired || len(r.Sealed) != 0 || len(r.PublicJWK) == 0 || r.EndedAt.IsZero() {
			t.Errorf("the old key is %s, %d bytes sealed, %d public", r.State, len(r.Sealed), len(r.PublicJWK))
		}
		if _, ok := b.ring.Public(first.KID); ok || strings.Contains(string(b.ring.JWKS().Body), first.KID) {
			t.Error("a retired key is still published")
		}
	})
}

func TestTickDoesNothingWhenNothingIsDue(t *testing.T) {
	t.Parallel()
	b := setup(t, apis.ES256)
	n := len(b.store.History())
	b.tick(t)
	if got := len(b.store.History()); got != n {
		t.Errorf("%d changes", got-n)
	}
	failure := errors.New("database is away")
	b.store.Fail(failure)
	if err := b.Tick(t.Context()); !errors.Is(err, failure) {
		t.Errorf("Tick = %v, want the store's error", err)
	}
}

// JWK-09: a compromised key leaves at once, and the standby signs however short it was visible.
func TestCompromise(t *testing.T) {
	t.Parallel()
	for _, state := range []keys.State{keys.Active, keys.Pending, keys.Retiring} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, apis.ES256)
				time.Sleep(time.Hour)
				if _, err := b.Rotate(t.Context(), admin(), apis.ES256); err != nil {
					t.Fatal(err)
				}
				victim, active, standby := b.one(t, apis.ES256, state), b.one(t, apis.ES256, keys.Active), b.one(t, apis.ES256, keys.Pending)
				got, err := b.Compromise(t.Context(), admin(), victim.KID, "laptop stolen")
				if err != nil || got.State != keys.Compromised || len(got.Sealed) != 0 || len(got.PublicJWK) == 0 || got.EndedAt.IsZero() {
					t.Fatalf("Compromise = %+v, %v", got, err)
				}
				b.reload(t)
				if _, ok := b.ring.Public(victim.KID); ok || strings.Contains(string(b.ring.JWKS().Body), victim.KID) {
					t.Error("a compromised key is still published")
				}
				want := active.KID
				if state == keys.Active {
					want = standby.KID
				}
				if s, err := b.ring.Sign(apis.ES256); err != nil || s.KID != want {
					t.Errorf("%s signs, want %s (%v)", s.KID, want, err)
				}
				b.one(t, apis.ES256, keys.Pending) // a new standby where the old one is used up
				n := len(b.store.History())
				if again, err := b.Compromise(t.Context(), admin(), victim.KID, "again"); err != nil || again.State != keys.Compromised {
					t.Errorf("Compromise again = %v", err)
				}
				if len(b.store.History()) != n {
					t.Error("the second time changed something")
				}
			})
		})
	}
}

func TestCompromiseAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, apis.ES256, apis.EdDSA)
		time.Sleep(time.Hour)
		if _, err := b.Rotate(t.Context(), admin(), apis.ES256); err != nil {
			t.Fatal(err)
		}
		victims := []string{
			b.one(t, apis.ES256, keys.Active).KID, b.one(t, apis.ES256, keys.Retiring).KID, b.one(t, apis.EdDSA, keys.Active).KID,
			b.one(t, apis.ES256, keys.Pending).KID, b.one(t, apis.EdDSA, keys.Pending).KID,
		}
		kids, err := b.CompromiseAll(t.Context(), admin(), "drill")
		if err != nil || len(kids) != len(victims) {
			t.Fatalf("revoked %v, %v", kids, err)
		}
		b.reload(t)
		for _, kid := range victims {
			if _, ok := b.ring.Public(kid); ok || !slices.Contains(kids, kid) {
				t.Errorf("key %s is published: %v, among %v", kid, ok, kids)
			}
			if r := b.find(t, kid); r.State != keys.Compromised || len(r.Sealed) != 0 {
				t.Errorf("key %s is %s, %d bytes sealed", kid, r.State, len(r.Sealed))
			}
		}
		for _, alg := range []apis.Alg{apis.ES256, apis.EdDSA} {
			if s, err := b.ring.Sign(alg); err != nil || slices.Contains(victims, s.KID) {
				t.Errorf("%s signs (%v)", s.KID, err)
			}
			b.one(t, alg, keys.Pending)
		}
		if made, _ := b.last(t).Detail["made"].([]string); len(made) != 4 {
			t.Errorf("the event names %v as made, want two keys of each algorithm", made)
		}
		changes := 0
		for _, c := range b.store.History() {
			if c.Event.Action == "revocation.cut-off-all" {
				changes++
			}
		}
		if changes != 1 {
			t.Errorf("%d changes, want all keys in one", changes)
		}
	})
}

func TestCompromiseWithoutStandby(t *testing.T) {
	t.Parallel()
	b := setup(t, apis.ES256)
	b.tamper(t, func(r *keys.Record) {
		if r.State == keys.Pending {
			r.State = keys.Retired
		}
	})
	victim := b.one(t, apis.ES256, keys.Active)
	if _, err := b.Compromise(t.Context(), admin(), victim.KID, "test"); err != nil {
		t.Fatal(err)
	}
	if got := b.one(t, apis.ES256, keys.Active); got.KID == victim.KID {
		t.Error("the compromised key is active")
	}
	b.one(t, apis.ES256, keys.Pending)
	if _, err := b.Compromise(t.Context(), admin(), "no-such-key", "test"); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("Compromise of no key = %v, want ErrNotFound", err)
	}
	i := slices.IndexFunc(b.store.History(), func(c keystest.Change) bool { return c.Event.Action == "key.revoke" })
	e := b.store.History()[i].Event
	if e.Subject != victim.KID || e.Detail["reason"] != "test" || e.Detail["was"] != "active" || e.Actor != admin() {
		t.Errorf("the event is %+v", e)
	}
}

// TestNewKIDsAreNoFlags: a kid that begins with a hyphen could not be given to the command line as it is.
func TestNewKIDsAreNoFlags(t *testing.T) {
	t.Parallel()
	b := setup(t, apis.ES256)
	for range 250 {
		kids, err := b.CompromiseAll(t.Context(), admin(), "test")
		if err != nil {
			t.Fatal(err)
		}
		for _, kid := range kids {
			if strings.HasPrefix(kid, "-") {
				t.Errorf("kid %s", kid)
			}
		}
	}
}
