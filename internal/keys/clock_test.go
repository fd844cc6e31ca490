package keys_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/keys"
)

// TestKeysGoByTheStoresClock has a replica whose clock is wrong. Were it to act by that clock, it would do so for all replicas: a key
// that is retired is erased, and the tokens that it has signed are dead.
func TestKeysGoByTheStoresClock(t *testing.T) {
	t.Parallel()
	t.Run("ahead", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, replicaAhead)
	})
	t.Run("behind", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, replicaBehind)
	})
}

func replicaAhead(t *testing.T) {
	b := rotated(t)
	retiring, active := b.one(t, apis.ES256, keys.Retiring), b.one(t, apis.ES256, keys.Active)
	n := len(b.store.History())
	for _, ahead := range []time.Duration{25 * time.Hour, 2 * b.plan.RotateEvery} {
		time.Sleep(ahead)
		b.store.Ahead(-time.Since(active.ActivatedAt)) // for the store, no time has passed
		b.tick(t)
		if _, err := b.Rotate(t.Context(), admin(), apis.ES256); !errors.Is(err, keys.ErrTooEarly) {
			t.Errorf("Rotate = %v, want ErrTooEarly", err)
		}
		if got := len(b.store.History()); got != n {
			t.Fatalf("%d changes by a clock that is %v ahead: the active key is %s, the retiring one %s",
				got-n, ahead, b.find(t, active.KID).State, b.find(t, retiring.KID).State)
		}
	}
}

func replicaBehind(t *testing.T) {
	b := rotated(t)
	retiring, active, standby := b.one(t, apis.ES256, keys.Retiring), b.one(t, apis.ES256, keys.Active), b.one(t, apis.ES256, keys.Pending)
	behind := 2 * b.plan.RotateEvery
	b.store.Ahead(behind)
	now := time.Now().Add(behind)
	b.tick(t)
	if r := b.find(t, retiring.KID); r.State != keys.Retired || !r.EndedAt.Equal(now) {
		t.Errorf("the retiring key is %s since %v, want retired at %v", r.State, r.EndedAt, now)
	}
	if r := b.find(t, active.KID); r.State != keys.Retiring || !r.RetiringAt.Equal(now) {
		t.Errorf("the active key is %s since %v, want retiring at %v", r.State, r.RetiringAt, now)
	}
	if r := b.find(t, standby.KID); r.State != keys.Active || !r.ActivatedAt.Equal(now) {
		t.Errorf("the standby is %s since %v, want active at %v", r.State, r.ActivatedAt, now)
	}
}

// rotated has a key in each of the three published states, by two clocks that agree.
func rotated(t *testing.T) bundle {
	t.Helper()
	b := setup(t, apis.ES256)
	time.Sleep(time.Hour)
	if _, err := b.Rotate(t.Context(), admin(), apis.ES256); err != nil {
		t.Fatal(err)
	}
	return b
}
