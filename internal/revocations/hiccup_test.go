package revocations_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/revocations"
)

// hiccup is a set that answers late while it is told to, to one replica alone.
type hiccup struct {
	set
	late *bool
}

func (h hiccup) Holds(ctx context.Context, id revocations.Identity, generation int64) (bool, error) {
	if *h.late {
		return false, context.DeadlineExceeded
	}
	return h.set.Holds(ctx, id, generation)
}

// TestSlowAnswerIsNoReasonToRebuild: one look at Redis that times out ends the lease of who looked, and nothing of the others'.
func TestSlowAnswerIsNoReasonToRebuild(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w, late := newWorld(1, 1), false
		r := revocations.NewReplicated(revocations.ReplicatedConfig{Ledger: ledger{w: w}, Set: hiccup{set{w: w}, &late}})
		go r.Run(ctx)
		look := func() {
			w.mu.Lock()
			trust := w.trust
			w.mu.Unlock()
			r.Polled(time.Now(), time.Now(), trust, false)
			time.Sleep(200 * time.Millisecond)
		}
		for range 5 {
			look()
		}
		before := r.Counts().Rebuilds.Load()
		if !r.Trusted() || before != 1 {
			t.Fatalf("trusted %v after %d rebuilds", r.Trusted(), before)
		}
		late = true
		look()
		if r.Trusted() {
			t.Error("trusted although nobody answered")
		}
		late = false
		look()
		look()
		if rebuilds := r.Counts().Rebuilds.Load(); !r.Trusted() || rebuilds != before {
			t.Errorf("trusted %v after %d rebuilds, want the same set again", r.Trusted(), rebuilds)
		}

		// The first revocation after a rebuild waits for old leases to end, and notes that they have.
		for i, want := range []bool{true, false} {
			began := time.Now()
			err := r.Revoke(ctx, revocations.Revocation{JTI: "j"}, audit.Event{})
			if waited := time.Since(began) >= 600*time.Millisecond; err != nil || waited != want {
				t.Errorf("revocation %d: %v, waited %v (%v), want %v", i, err, waited, time.Since(began), want)
			}
		}
		cancel()
		time.Sleep(time.Second)
	})
}
