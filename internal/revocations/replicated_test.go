package revocations_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/revocations"
)

// TestReplicated runs three replicas through minutes of trouble of many kinds, for one seed after the other: nothing that was
// acknowledged is ever called live again, nothing else is called revoked, and afterwards Redis is trusted again.
func TestReplicated(t *testing.T) {
	t.Parallel()
	seeds := uint64(60)
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { trouble(t, seed, 2*time.Minute) })
		})
	}
}

// known is what was acknowledged.
type known struct {
	mu     sync.Mutex
	tokens []revocations.Token
	checks int
}

func (k *known) add(t revocations.Token) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tokens = append(k.tokens, t)
}

func trouble(t *testing.T, seed uint64, period time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := newWorld(seed, 3)
	replicas := make([]*revocations.Replicated, 3)
	for i := range replicas {
		replicas[i] = replicaOf(ctx, t, w, i)
	}
	w.mu.Lock()
	w.trouble = []float64{0.02, 0.1, 0.3}[seed%3]
	w.mu.Unlock()
	end := time.Now().Add(period)
	k := &known{}
	var work sync.WaitGroup
	for n := range 4 {
		work.Go(func() { revokeUntil(ctx, w, replicas, k, end, n) })
		work.Go(func() { checkUntil(ctx, t, w, replicas, k, end) })
	}
	work.Go(func() { cutUntil(ctx, t, w, replicas, k, end) })
	for time.Now().Before(end) {
		time.Sleep(time.Duration(w.number(2500)) * time.Millisecond)
		w.disturb()
	}
	work.Wait()

	w.mu.Lock()
	w.trouble = 0
	clear(w.apart)
	clear(w.mute)
	for i := range w.views {
		w.views[i] = 0
	}
	w.mu.Unlock()
	time.Sleep(3 * time.Minute) // longer than replicas that have fought for the trust stay polite
	for i, r := range replicas {
		if !r.Trusted() {
			t.Errorf("replica %d does not trust Redis after all trouble has ended", i)
		}
	}
	if k.checks < 100 || len(k.tokens) < 100 {
		t.Errorf("%d acknowledged, %d checks: nothing was tested", len(k.tokens), k.checks)
	}
	cancel()
	time.Sleep(2 * time.Second) // for everything under way to end
}

// revokeUntil revokes one token after the other; a revocation that failed is tried again, anywhere.
func revokeUntil(ctx context.Context, w *world, replicas []*revocations.Replicated, k *known, end time.Time, worker int) {
	for n := 0; time.Now().Before(end); n++ {
		jti := fmt.Sprintf("%d-%d", worker, n)
		for range 20 {
			bounded, cancel := context.WithTimeout(ctx, 1400*time.Millisecond)
			err := replicas[w.number(3)].Revoke(bounded, revocations.Revocation{JTI: jti}, audit.Event{})
			cancel()
			if err == nil {
				k.add(revocations.Token{JTI: jti, ClientID: "of " + jti, Generation: 1})
				break
			}
		}
		time.Sleep(time.Duration(w.number(100)) * time.Millisecond)
	}
}

// cutUntil cuts clients off: the change is committed by one process, which may die then, and acknowledged by another.
func cutUntil(ctx context.Context, t *testing.T, w *world, replicas []*revocations.Replicated, k *known, end time.Time) {
	t.Helper()
	for n := int64(2); time.Now().Before(end); n++ {
		id := fmt.Sprintf("client-%d", w.number(3))
		w.mu.Lock()
		w.cuts[id] = cutRow{cut: revocations.CutOff{Kind: revocations.ByClient, ID: id, Generation: n}}
		w.mu.Unlock()
		confirmed := false
		for range 20 {
			bounded, cancel := context.WithTimeout(ctx, 5*time.Second)
			confirmed = replicas[w.number(3)].Confirm(bounded) == nil
			cancel()
			if confirmed {
				break
			}
		}
		if confirmed {
			k.add(revocations.Token{JTI: "cut off", ClientID: id, Generation: n - 1})
		}
		current := revocations.Token{JTI: "current", ClientID: id, Generation: n}
		if revoked, err := replicas[w.number(3)].Check(ctx, current); err == nil && revoked {
			t.Errorf("a token of the current generation of %s is revoked", id)
		}
		time.Sleep(time.Duration(w.number(3000)) * time.Millisecond)
	}
}

func checkUntil(ctx context.Context, t *testing.T, w *world, replicas []*revocations.Replicated, k *known, end time.Time) {
	t.Helper()
	for time.Now().Before(end) {
		k.mu.Lock()
		known := k.tokens
		k.checks++
		k.mu.Unlock()
		if len(known) > 0 {
			n := w.number(len(known))
			if w.chance(0.7) {
				n = len(known) - 1 - w.number(min(len(known), 5))
			}
			replica := w.number(3)
			bounded, cancel := context.WithTimeout(ctx, 1400*time.Millisecond)
			began := time.Now()
			revoked, err := replicas[replica].Check(bounded, known[n])
			cancel()
			if err == nil && !revoked {
				t.Errorf("replica %d calls %+v live, asked at %v", replica, known[n], began)
			}
			if unknown, err := replicas[replica].Check(ctx, revocations.Token{JTI: "never revoked", ClientID: "nobody"}); err == nil && unknown {
				t.Error("a token that nobody revoked is revoked")
			}
		}
		time.Sleep(time.Duration(w.number(40)) * time.Millisecond)
	}
}
