package failures

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/faultproxy"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
)

// TestPostgresSlow makes the way to PostgreSQL longer and longer. An answer that takes one round trip is there for some time
// yet, one that takes many is 503 sooner; none is wrong, none takes longer than promised, and with the way short again
// everything works by itself.
func TestPostgresSlow(t *testing.T) {
	t.Parallel()
	long(t)
	eachStore(t, postgresSlow)
}

func postgresSlow(t *testing.T, redis string) {
	t.Helper()
	postgres := pgtest.Start(t)
	proxy := faultproxy.New(t, postgres.Addr())
	o := &outage{server: serve(t, servertest.Config{Database: postgres.URL(), Through: proxy.URL, Redis: redis})}
	o.cached, o.keyed = o.client(t), o.keyedClient(t)
	o.prepare(t)
	if redis != "" {
		o.trusts(t, o.cached, o.token)
	}
	for _, latency := range []time.Duration{20 * time.Millisecond, 300 * time.Millisecond, time.Second} {
		proxy.SetLatency(latency)
		o.slow(t, latency)
	}
	proxy.Heal()
	o.back(t)
}

// slow revokes tokens and asks about them while each answer of PostgreSQL takes twice the latency.
func (o *outage) slow(t *testing.T, latency time.Duration) {
	t.Helper()
	var decided, undecided atomic.Int64
	// right wants an answer that is right, or that it cannot be known.
	right := func(what string, a answer, right bool) {
		if right && a.took <= decidedWithin {
			decided.Add(1)
			return
		}
		undecided.Add(1)
		a.undecided(t, fmt.Sprintf("%s, latency %v", what, latency), decidedWithin)
	}
	taken := make([]string, 4)
	for i := range taken {
		taken[i] = o.server.token(t, o.cached) // as long as the client is known, nobody is asked
	}
	var tasks sync.WaitGroup
	for _, token := range taken {
		tasks.Go(func() {
			a := o.revoke(o.cached, token)
			right("revoke", a, a.ok())
			if !a.ok() {
				return
			}
			a = o.introspect(o.cached, token)
			right("introspect a token that was just revoked", a, a.inactive())
		})
	}
	for range 4 {
		tasks.Go(func() {
			a := o.introspect(o.cached, o.token)
			right("introspect", a, a.active())
			a = o.introspect(o.cached, o.revoked)
			right("introspect a revoked token", a, a.inactive())
		})
	}
	tasks.Go(func() { o.goesOn(t) })
	tasks.Wait()
	t.Logf("latency %v: %d answers were right, %d were 503", latency, decided.Load(), undecided.Load())
	if latency < 100*time.Millisecond && decided.Load() == 0 {
		t.Errorf("latency %v: nothing was answered", latency)
	}
	if latency >= time.Second && undecided.Load() == 0 { // a round trip takes longer than any answer may
		t.Errorf("latency %v: all was answered, so nothing was slow", latency)
	}
}
