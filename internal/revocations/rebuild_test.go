package revocations_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-1972b8eb/signet/internal/revocations"
)

// pair runs two replicas in a bubble.
func pair(t *testing.T, seed uint64, do func(t *testing.T, w *world, replicas []*revocations.Replicated)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := newWorld(seed, 2)
		do(t, w, []*revocations.Replicated{replicaOf(ctx, t, w, 0), replicaOf(ctx, t, w, 1)})
		cancel()
		time.Sleep(2 * time.Second) // for everything under way to end
	})
}

// change does something to the world.
func (w *world) change(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
}

// restart starts the Redis process anew that both replicas see, and says how long it takes until it is trusted.
func (w *world) restart(replicas []*revocations.Replicated) time.Duration {
	began := time.Now()
	var fresh revocations.Identity
	w.change(func() {
		w.servers[0] = w.process(nil)
		fresh = w.servers[0].id
	})
	for trusted := false; !trusted && time.Since(began) < time.Minute; time.Sleep(10 * time.Millisecond) {
		w.change(func() { trusted = w.trust.ReadID == fresh })
		for _, r := range replicas {
			trusted = trusted && r.Trusted()
		}
	}
	return time.Since(began)
}

// TestReplicasOfDifferentRedisArePolite lets two replicas see different servers for ten minutes. Each takes the trust from the
// other after pauses that double up to a minute, give or take the half: at least 0.5, 1, 2, 4, 8, 16 and then 30 seconds. Neither
// gives up, and once both see the same server a restart of it is no contest any more.
func TestReplicasOfDifferentRedisArePolite(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			pair(t, seed, func(t *testing.T, w *world, replicas []*revocations.Replicated) {
				t.Helper()
				w.change(func() { w.views[1] = 1 })
				time.Sleep(10 * time.Minute)
				w.change(func() {
					for replica := range replicas {
						politely(t, replica, w.published[replica])
					}
					w.views[1] = 0
				})
				time.Sleep(3 * time.Minute)
				if took := w.restart(replicas); took > time.Second {
					t.Errorf("a restart long after the contest: trusted after %v", took)
				}
			})
		})
	}
}

// politely checks when one of two replicas has published within ten minutes.
func politely(t *testing.T, replica int, published []time.Time) {
	t.Helper()
	t.Logf("replica %d has published %d times", replica, len(published))
	// 26 is 1, six pauses of 31.5 s together, and 19 of at least 30 s; one more before it knew of the other.
	if n := len(published); n < 6 || n > 27 {
		t.Errorf("replica %d has published %d times in ten minutes, want 6 to 27", replica, n)
	}
	least := 500 * time.Millisecond
	for i := 2; i < len(published); i++ { // the first one may have been before the other was there
		if pause := published[i].Sub(published[i-1]); pause < least {
			t.Errorf("replica %d: pause %d is %v, want at least %v", replica, i, pause, least)
		}
		least = min(2*least, 30*time.Second)
	}
}

// TestRestartOfRedisIsNoContest restarts the one Redis that both see again and again: it is trusted after the time of a
// rebuild, with no pause before it and none left over from the one before.
func TestRestartOfRedisIsNoContest(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			pair(t, seed, func(t *testing.T, w *world, replicas []*revocations.Replicated) {
				t.Helper()
				time.Sleep(time.Second)
				for i := range 10 {
					if took := w.restart(replicas); took > time.Second {
						t.Errorf("restart %d: trusted after %v", i, took)
					}
					time.Sleep(time.Second)
				}
				// Who looked while another was at it may do it once more.
				if n := len(w.published[0]) + len(w.published[1]); n < 11 || n > 22 {
					t.Errorf("published %d times for a start and ten restarts", n)
				}
			})
		})
	}
}

// TestLongRebuildIsDoneOnce: what was polled while a rebuild was under way says that the set is not complete, and is no reason
// to empty it again, however long it took.
func TestLongRebuildIsDoneOnce(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				w := newWorld(seed, 1)
				for i := range 20_000 { // in pieces of ten, which take 3 ms each
					w.rows[fmt.Sprint(i)] = true
				}
				r := replicaOf(ctx, t, w, 0)
				began := time.Now()
				for !r.Trusted() && time.Since(began) < time.Minute {
					time.Sleep(10 * time.Millisecond)
				}
				took := time.Since(began)
				time.Sleep(10 * time.Second)
				w.change(func() {
					if n := len(w.published[0]); n != 1 || took < 5*time.Second || !r.Trusted() {
						t.Errorf("published %d times, trusted after %v", n, took)
					}
				})
				cancel()
				time.Sleep(2 * time.Second)
			})
		})
	}
}
