package failures

import (
	"context"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/faultproxy"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
)

// cluster is two replicas on a PostgreSQL that has a standby. Each reaches it by an address of its own, which leads to the
// primary.
type cluster struct {
	primary, standby *pgtest.Server
	a, b             *server
	toA, toB         *faultproxy.Proxy
	watch            client
	live             string // a token that nobody takes back
	trusted          bool   // Redis is in use
}

// clusters runs a test with Redis and without.
func clusters(t *testing.T, run func(t *testing.T, c *cluster)) {
	t.Helper()
	eachStore(t, func(t *testing.T, redis string) {
		t.Helper()
		c := &cluster{primary: pgtest.Start(t), trusted: redis != ""}
		c.standby = pgtest.StartStandby(t, c.primary)
		c.toA, c.toB = faultproxy.New(t, c.primary.Addr()), faultproxy.New(t, c.primary.Addr())
		c.a = serve(t, servertest.Config{Database: c.primary.URL(), Through: c.toA.URL, Redis: redis})
		c.b = replica(t, c.a, servertest.Config{Through: c.toB.URL})
		c.watch = c.a.client(t)
		c.live = c.a.token(t, c.watch)
		c.settles(t)
		run(t, c)
	})
}

// replicas are both.
func (c *cluster) replicas() []*server { return []*server{c.a, c.b} }

// settles waits until both replicas say what they know of the live token, from Redis if there is one.
func (c *cluster) settles(t *testing.T) {
	t.Helper()
	for _, s := range c.replicas() {
		eventually(t, backWithin, "answer", func() bool { return s.introspect(c.watch, c.live).active() })
		if c.trusted {
			s.trusts(t, c.watch, c.live)
		}
	}
}

// promote makes the standby the primary and leads both replicas to it.
func (c *cluster) promote() {
	c.standby.Promote()
	for _, proxy := range []*faultproxy.Proxy{c.toA, c.toB} {
		proxy.Point(c.standby.Addr())
		proxy.Reset()
	}
}

// ended wants a token to be inactive everywhere.
func (c *cluster) ended(t *testing.T, what, token string) {
	t.Helper()
	for _, s := range c.replicas() {
		if a := s.decided(t, backWithin, c.watch, token); !a.inactive() {
			t.Errorf("%s: %d %s (%v), want inactive", what, a.status, a.body, a.err)
		}
	}
}

// TestFailover kills a primary with a synchronous standby in the middle of revocations, and promotes the standby. Whatever was
// acknowledged holds there, for each replica and with Redis or without, and everything works again by itself.
func TestFailover(t *testing.T) {
	t.Parallel()
	long(t)
	clusters(t, func(t *testing.T, c *cluster) {
		const workers = 3
		c.primary.Synchronous()
		taken := map[string]string{}
		for name, takeBack := range takeBacks(t, c.a) {
			victim := c.a.client(t)
			taken[name] = c.b.token(t, victim)
			takeBack(victim, taken[name])
		}
		o := &oracle{server: c.a, watch: c.watch}
		ctx, cancel := context.WithCancel(t.Context())
		var tasks sync.WaitGroup
		defer tasks.Wait()
		defer cancel()
		for range workers {
			worker := c.a.client(t)
			c.a.token(t, worker)
			tasks.Go(func() { o.revokeAlways(ctx, worker) })
		}
		tasks.Go(func() { o.askAlways(ctx, t) })
		eventually(t, 10*time.Second, "revoke", func() bool { return o.count() > 20 })
		c.primary.Kill()
		before := o.count()
		c.promote()
		took := eventually(t, backWithin, "revoke at the new primary", func() bool {
			return o.count() > before+workers // more than those on their way when the old one died
		})
		c.settles(t)
		cancel()
		tasks.Wait()
		for name, token := range taken {
			c.ended(t, name, token)
		}
		for _, token := range o.all() {
			c.ended(t, "revoked", token)
		}
		t.Logf("%d revocations were acknowledged, %d of them before; revokes again %v after the promotion", o.count(), before, took.Round(time.Millisecond))
	})
}

// TestFailoverThatLoses promotes an asynchronous standby that lacks the last commits. Replicas forget what they had read of them,
// so that all say the same again; what was revoked in them may be back, and the cut-off of everything ends it.
func TestFailoverThatLoses(t *testing.T) {
	t.Parallel()
	long(t)
	clusters(t, func(t *testing.T, c *cluster) {
		victim := c.a.client(t)
		disabled := c.a.client(t)
		revoked := c.a.token(t, victim)
		c.b.token(t, disabled)
		c.standby.Lag(c.primary)
		made := c.a.client(t)
		if _, err := c.a.admin.DisableClient(t.Context(), disabled.id, ""); err != nil {
			t.Fatal(err)
		}
		c.a.revoke(victim, revoked).want(t)
		c.ended(t, "before the failover: revoked", revoked)
		for _, s := range c.replicas() { // each has a later epoch than the standby
			eventually(t, seenWithin, "see that a client is disabled", func() bool { return s.request(disabled).status == http.StatusUnauthorized })
			s.caughtUp(t)
			s.token(t, made)
		}
		c.primary.Kill()
		c.promote()
		c.settles(t)
		for _, s := range c.replicas() {
			eventually(t, seenWithin, "forget a client that is lost", func() bool { return s.request(made).status == http.StatusUnauthorized })
			eventually(t, seenWithin, "forget that a client was disabled", func() bool { return s.request(disabled).ok() })
		}
		back := c.a.introspect(c.watch, revoked)
		if !c.trusted && !back.active() { // Redis may still know
			t.Errorf("what the standby lacks: %d %s (%v), so that this test shows nothing", back.status, back.body, back.err)
		}
		c.a.Signet(t, "revocation", "cut-off", "--all", "--yes", "--reason", "failover without a synchronous standby")
		c.ended(t, "after the cut-off: revoked and lost", revoked)
		c.ended(t, "after the cut-off: live", c.live)
		for _, s := range c.replicas() {
			eventually(t, seenWithin, "give tokens that count", func() bool { return c.b.introspect(c.watch, s.request(c.watch).token()).active() })
		}
	})
}

// TestFailoverSeenLate freezes a replica while a standby that lacks the last change takes over and counts on: when the replica
// looks again, the epoch is the very number that it has seen last, and a client that it has cached was disabled under it.
func TestFailoverSeenLate(t *testing.T) {
	t.Parallel()
	long(t)
	clusters(t, func(t *testing.T, c *cluster) {
		const epoch = "SELECT epoch FROM registry_epoch"
		victim := c.a.client(t)
		c.standby.Lag(c.primary)
		c.a.client(t) // is lost
		c.b.caughtUp(t)
		c.b.token(t, victim)
		seen := number(t, session(t, c.primary.URL()), epoch)
		c.b.Signal(syscall.SIGSTOP)
		c.primary.Kill()
		c.promote()
		eventually(t, backWithin, "disable a client at the new primary", func() bool {
			_, err := c.a.admin.DisableClient(t.Context(), victim.id, "")
			return err == nil
		})
		if now := number(t, session(t, c.standby.URL()), epoch); now != seen {
			t.Errorf("the epoch is %d, and was %d, so that this test shows nothing", now, seen)
		}
		c.b.Signal(syscall.SIGCONT)
		eventually(t, backWithin, "refuse a client that was disabled", func() bool { return c.b.request(victim).status == http.StatusUnauthorized })
	})
}

// TestFailoverWithZombie freezes a primary, promotes its synchronous standby, and leaves one replica where it was. Frozen, the old
// primary makes it say that it cannot know; awake, it acknowledges nothing, because nobody follows it; fenced, nothing of it is
// left. What it reads while the old one is awake is outside the promise: docs/operations.md says to fence first.
func TestFailoverWithZombie(t *testing.T) {
	t.Parallel()
	long(t)
	clusters(t, func(t *testing.T, c *cluster) {
		c.primary.Synchronous()
		revoked, mine := c.a.token(t, c.watch), c.a.token(t, c.watch)
		c.primary.Freeze()
		c.standby.Promote()
		c.toA.Point(c.standby.Addr())
		c.toA.Reset()
		eventually(t, backWithin, "revoke at the new primary", func() bool { return c.a.revoke(c.watch, revoked).ok() })
		undecided := func(what string) {
			t.Helper()
			eventually(t, calmWithin, what+": come to the end of its lease", func() bool {
				a := c.b.introspect(c.watch, revoked)
				if a.active() {
					t.Errorf("%s: a revoked token is active", what)
				}
				return !a.ok()
			})
			var tasks sync.WaitGroup
			defer tasks.Wait()
			for _, token := range []string{revoked, c.live} {
				tasks.Go(func() { c.b.introspect(c.watch, token).undecided(t, what, decidedWithin) })
			}
			tasks.Go(func() { c.b.revoke(c.watch, mine).undecided(t, what, decidedWithin) })
		}
		undecided("frozen")
		c.primary.Thaw()
		during(t, time.Second, func() { c.b.revoke(c.watch, mine).undecided(t, "awake", decidedWithin) })
		a := c.b.introspect(c.watch, revoked)
		t.Logf("the replica at the old primary says of what was revoked at the new one: %d, active %t", a.status, a.active())
		c.primary.Kill()
		undecided("fenced")
		c.toB.Point(c.standby.Addr())
		c.toB.Reset()
		c.settles(t)
		c.ended(t, "revoked at the new primary", revoked)
		for _, s := range c.replicas() { // answered 503 at the old one: it may have been done or not
			eventually(t, backWithin, "revoke", func() bool { return s.revoke(c.watch, mine).ok() })
		}
		c.ended(t, "revoked again", mine)
	})
}
