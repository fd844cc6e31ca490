package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/servertest/faultproxy"
	"github.com/seed-1972b8eb/signet/internal/servertest/redistest"
)

// slack is what a call may take beyond its deadline on a busy machine.
const slack = 400 * time.Millisecond

// TestFrozenRedisEndsCallsInTime stops the process: connections stay open and new ones are accepted by the kernel.
func TestFrozenRedisEndsCallsInTime(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, Config{URL: server.URL(), PoolSize: 2})
	id := filled(t, s)
	server.Freeze()
	for name, call := range calls(s, id) {
		if name != "holds" && name != "revoked" {
			continue // Redis does late what was written, and a late begin ends this set
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		began := time.Now()
		err := call(ctx)
		if took := time.Since(began); err == nil || took > 50*time.Millisecond+slack {
			t.Errorf("%s: %v after %v, want an error within 50 ms", name, err, took)
		}
		cancel()
	}
	server.Thaw()
	for range 20 { // what was asked of the frozen server is answered now; none of it may reach another question
		wantRevoked(t, s, id, asked("alive"), false)
		wantRevoked(t, s, id, asked("gone"), true)
	}
}

func TestHungNetworkEndsCallsInTime(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := faultproxy.New(t, server.Addr())
	s := open(t, Config{URL: proxy.URL(server.URL()), PoolSize: 2})
	id := filled(t, s)
	proxy.Hang()
	for name, call := range calls(s, id) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		began := time.Now()
		err := call(ctx)
		if took := time.Since(began); err == nil || took > 50*time.Millisecond+slack {
			t.Errorf("%s: %v after %v, want an error within 50 ms", name, err, took)
		}
		cancel()
	}
	proxy.Heal()
	if now := settled(t, s); now != id {
		t.Errorf("identity %q after the network hung, want %q", now, id)
	}
}

// TestNoAnswerIsAnotherQuestions asks distinct questions over few connections, with a time that often runs out between the
// question and its answer: the next question on that connection must never get the late answer.
func TestNoAnswerIsAnotherQuestions(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := faultproxy.New(t, server.Addr())
	s := open(t, Config{URL: proxy.URL(server.URL()), PoolSize: 3})
	id := filled(t, s)
	var revoked []revocations.Revocation
	for i := 0; i < 1000; i += 2 {
		revoked = append(revoked, taken(fmt.Sprint(i)))
	}
	must(t, s.Add(within(t), id, revoked, nil))
	proxy.SetLatency(time.Millisecond)
	var answered, failed atomic.Int64
	var askers sync.WaitGroup
	for range 6 {
		askers.Go(func() {
			for range 250 {
				i := rand.IntN(1000)
				patience := 10 * time.Second
				if rand.IntN(3) == 0 { // an answer takes 2 ms and a little
					patience = time.Duration(rand.IntN(4000)) * time.Microsecond
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				got, err := one(s.Revoked(ctx, id, 1, []revocations.Token{asked(fmt.Sprint(i))}))
				cancel()
				switch {
				case err == nil && got != (i%2 == 0):
					t.Errorf("question %d got the answer %v", i, got)
				case err == nil:
					answered.Add(1)
				case errors.Is(err, revocations.ErrIdentity) || errors.Is(err, revocations.ErrIncomplete):
					t.Errorf("question %d: %v, which must be an answer to something else", i, err)
				default:
					failed.Add(1)
				}
			}
		})
	}
	askers.Wait()
	if answered.Load() < 100 || failed.Load() < 100 {
		t.Errorf("%d answers and %d errors: too few of one for this test to show anything", answered.Load(), failed.Load())
	}
	t.Logf("%d answers, %d errors", answered.Load(), failed.Load())
}

func TestEndedContextAsksNothing(t *testing.T) {
	t.Parallel()
	s := open(t, Config{URL: redistest.Open(t)})
	id := filled(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range calls(s, id) {
		if err := call(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want context.Canceled", name, err)
		}
	}
}

func TestAwayAndBack(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := faultproxy.New(t, server.Addr())
	s := open(t, Config{URL: proxy.URL(server.URL())})
	id := filled(t, s)
	proxy.Cut()
	for name, call := range calls(s, id) {
		if err := call(within(t)); err == nil || errors.Is(err, revocations.ErrIdentity) {
			t.Errorf("%s: %v, want an error of the network", name, err)
		}
	}
	proxy.Heal()
	if now := settled(t, s); now != id {
		t.Errorf("identity %q after a cut of the network, want %q", now, id)
	}
	wantRevoked(t, s, id, asked("gone"), true)
}
