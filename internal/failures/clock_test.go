package failures

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-1972b8eb/signet/internal/limits"
	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/clock"
	"github.com/seed-1972b8eb/signet/internal/servertest/faultproxy"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/internal/servertest/redistest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// offline says why a verifier whose clock is right refuses a token; one that looks at "iat", too, if strict.
func (s *server) offline(t *testing.T, token string, strict bool) error {
	t.Helper()
	set := s.jwks(t)
	options := []jwt.ParserOption{jwt.WithIssuer(s.Issuer), jwt.WithAudience(orders), jwt.WithExpirationRequired()}
	if strict {
		options = append(options, jwt.WithIssuedAt())
	}
	_, err := jwt.Parse(token, func(token *jwt.Token) (any, error) {
		kid, _ := token.Header["kid"].(string)
		for _, key := range set.Key(kid) {
			return key.Key, nil
		}
		return nil, errors.New("no such key")
	}, options...)
	return err
}

// settled returns when the server has read the database since its clock was set: one that jumps ahead by more than a minute makes
// what is cached too old, until the next look a moment later.
func (s *server) settled(t *testing.T, known client) {
	t.Helper()
	eventually(t, backWithin, "read the database after the clock was set", func() bool { return s.introspect(known, "x").inactive() })
}

// TestClockAhead: tokens of a server whose clock is ahead are of the future to those who look, and secrets and clients end
// early. Once the clock is right, all is as before; what the server had issued does not count until its time has come, and
// never if it was taken back.
func TestClockAhead(t *testing.T) {
	t.Parallel()
	c := clock.New(t)
	s := serve(t, servertest.Config{Clock: c})
	watch, soon := s.client(t), time.Now().Add(30*time.Minute)
	ends := map[string]client{
		"secret": s.register(t, adminapi.NewClient{SecretExpiresAt: soon}), "client": s.register(t, adminapi.NewClient{ExpiresAt: soon}),
	}
	before := s.token(t, watch)

	c.Set(time.Hour)
	s.settled(t, watch)
	for what, one := range ends {
		if a := s.request(one); a.err != nil || a.status == http.StatusOK || a.status >= 500 {
			t.Errorf("a %s that ends in half an hour, for a clock that is an hour ahead: %d %s (%v)", what, a.status, a.body, a.err)
		}
	}
	ahead, taken := s.token(t, watch), s.token(t, watch)
	if a := s.introspect(watch, ahead); !a.active() {
		t.Errorf("its own token: %d %s (%v)", a.status, a.body, a.err)
	}
	if a := s.introspect(watch, before); !a.inactive() {
		t.Errorf("a token of five minutes, an hour later by this clock: %d %s (%v)", a.status, a.body, a.err)
	}
	if err := s.offline(t, ahead, true); !errors.Is(err, jwt.ErrTokenUsedBeforeIssued) {
		t.Errorf("a verifier that looks at iat says %v", err)
	}
	if err := s.offline(t, ahead, false); err != nil {
		t.Errorf("a verifier that does not look at iat says %v", err)
	}

	c.Set(0)
	for what, one := range ends {
		if a := s.request(one); !a.ok() {
			t.Errorf("a %s, after the clock was set right: %d %s (%v)", what, a.status, a.body, a.err)
		}
	}
	if a := s.introspect(watch, before); !a.active() {
		t.Errorf("a token from before: %d %s (%v)", a.status, a.body, a.err)
	}
	if a := s.introspect(watch, ahead); !a.inactive() {
		t.Errorf("a token of the future: %d %s (%v)", a.status, a.body, a.err)
	}
	s.revoke(watch, taken).want(t)
	c.Set(time.Hour) // as when an hour has passed
	s.settled(t, watch)
	if a := s.introspect(watch, ahead); !a.active() {
		t.Errorf("a token whose time has come: %d %s (%v)", a.status, a.body, a.err)
	}
	if a := s.introspect(watch, taken); !a.inactive() {
		t.Errorf("a token that was taken back before its time came: %d %s (%v)", a.status, a.body, a.err)
	}
}

// TestRevokedBeforeTheClockWasSetBack: a token that had expired by a clock that was ahead lives when the clock is right again,
// unless it was taken back meanwhile.
func TestRevokedBeforeTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	c := clock.New(t)
	s := serve(t, servertest.Config{Clock: c})
	watch := s.client(t)
	spared, taken := s.token(t, watch), s.token(t, watch)
	c.Set(time.Hour)
	s.settled(t, watch)
	s.revoke(watch, taken).want(t)
	c.Set(0)
	if a := s.introspect(watch, taken); !a.inactive() {
		t.Errorf("a revoked token: %d %s (%v)", a.status, a.body, a.err)
	}
	if a := s.introspect(watch, spared); !a.active() {
		t.Errorf("a token that nobody took back: %d %s (%v)", a.status, a.body, a.err)
	}
}

// TestClockBehind: tokens of a server whose clock is behind have expired for everybody else, and secrets that have expired
// live on.
func TestClockBehind(t *testing.T) {
	t.Parallel()
	c := clock.New(t)
	c.Set(-time.Hour)
	s := serve(t, servertest.Config{Clock: c})
	expired := s.register(t, adminapi.NewClient{SecretExpiresAt: time.Now().Add(-30 * time.Minute)})
	token := s.token(t, expired)
	if a := s.introspect(expired, token); !a.active() {
		t.Errorf("its own token: %d %s (%v)", a.status, a.body, a.err)
	}
	if err := s.offline(t, token, true); !errors.Is(err, jwt.ErrTokenExpired) {
		t.Errorf("a verifier whose clock is right says %v", err)
	}
	watch := s.client(t)
	c.Set(0)
	s.settled(t, watch)
	if a := s.request(expired); a.err != nil || a.status != http.StatusUnauthorized {
		t.Errorf("a secret that has expired: %d %s (%v), want 401", a.status, a.body, a.err)
	}
	if a := s.introspect(watch, token); !a.inactive() {
		t.Errorf("a token that has expired: %d %s (%v)", a.status, a.body, a.err)
	}
}

// TestReplicaFarBehind: a replica whose clock is far behind takes a token for live whose revocation is swept already. It says that
// it cannot know.
func TestReplicaFarBehind(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, redis string) {
		t.Helper()
		postgres := pgtest.Start(t)
		a := serve(t, servertest.Config{Database: postgres.URL(), Redis: redis})
		c := clock.New(t)
		c.Set(-20 * time.Minute)
		b := replica(t, a, servertest.Config{Clock: c})
		watch := a.client(t)
		taken := b.token(t, watch) // of five minutes, twenty minutes ago
		b.revoke(watch, taken).want(t)
		b.introspect(watch, taken).undecided(t, "before the sweep", decidedWithin)
		look := session(t, postgres.URL())
		replica(t, a, servertest.Config{}) // sweeps as it starts
		eventually(t, sweptWithin, "sweep the revocation", func() bool { return number(t, look, "SELECT count(*) FROM revocations") == 0 })
		b.introspect(watch, taken).undecided(t, "after the sweep", decidedWithin)
		if got := a.introspect(watch, taken); !got.inactive() {
			t.Errorf("at a replica whose clock is right: %d %s (%v)", got.status, got.body, got.err)
		}
		c.Set(0)
		eventually(t, backWithin, "know again", func() bool { return b.introspect(watch, taken).inactive() })
		if got := b.introspect(watch, b.token(t, watch)); !got.active() {
			t.Errorf("with the clock right: %d %s (%v)", got.status, got.body, got.err)
		}
	})
}

// TestCallerClock: an assertion of a caller whose clock is ahead is refused beyond 30 seconds, that of one who is behind once
// its own minute is over. Both are told that it is about the clock, and so is who asks for the reason.
func TestCallerClock(t *testing.T) {
	t.Parallel()
	c := clock.New(t)
	s := serve(t, servertest.Config{Clock: c})
	caller, watch := s.keyedClient(t), s.client(t)
	for ahead, told := range map[time.Duration]string{ // of the caller's clock
		20 * time.Second:  "",
		40 * time.Second:  "'iat' lies in the future; is the clock right?",
		-20 * time.Second: "",
		-70 * time.Second: "it has expired; is the clock right?",
	} {
		c.Set(-ahead)
		s.settled(t, watch)
		a := s.assert(t, caller)
		if told == "" {
			a.want(t)
			continue
		}
		if a.err != nil || a.status != http.StatusUnauthorized || !strings.Contains(member[string](a.body, "error_description"), told) {
			t.Errorf("a caller %v ahead: %d %s (%v), want 401 that says: %s", ahead, a.status, a.body, a.err, told)
			continue
		}
		why := s.Signet(t, "explain", a.header.Get("X-Request-Id"))
		for _, part := range []string{"assertion_claims", told} {
			if !strings.Contains(why, part) {
				t.Errorf("signet explain does not say %q:\n%s", part, why)
			}
		}
	}
}

// TestSkewedReplicas: the clocks of two replicas differ by less than a minute, and nothing bad comes of it.
func TestSkewedReplicas(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{"ahead": 40 * time.Second, "behind": -40 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachStore(t, func(t *testing.T, redis string) {
				t.Helper()
				skewed(t, redis, ahead)
			})
		})
	}
}

func skewed(t *testing.T, redis string, ahead time.Duration) {
	t.Helper()
	postgres := pgtest.Start(t)
	proxy := faultproxy.New(t, postgres.Addr())
	a := serve(t, servertest.Config{Database: postgres.URL(), Redis: redis})
	c := clock.New(t)
	c.Set(ahead)
	b := replica(t, a, servertest.Config{Through: proxy.URL, Clock: c})
	p := &pair{a: a, b: b, postgres: postgres, proxy: proxy, watch: a.client(t)}
	for name, way := range map[string][2]*server{"from the right clock": {a, b}, "from the wrong clock": {b, a}} {
		t.Run("tokens "+name, func(t *testing.T) { p.skewedTokens(t, way[0], way[1]) })
	}
	t.Run("expired by one clock", func(t *testing.T) { p.expiredByOne(t, ahead) })
	t.Run("what a stale replica issues is inactive", p.staleReplica)
}

// skewedTokens gets tokens at one replica and ends some of them at the other, and asks both about all.
func (p *pair) skewedTokens(t *testing.T, from, at *server) {
	t.Helper()
	both := func(what, token string, want func(answer) bool) {
		t.Helper()
		for i, s := range []*server{from, at} {
			if a := s.introspect(p.watch, token); !want(a) {
				t.Errorf("%s, at the %d. replica: %d %s (%v)", what, i+1, a.status, a.body, a.err)
			}
		}
	}
	c := p.a.client(t)
	taken, spared := from.token(t, c), from.token(t, c)
	both("a token", taken, answer.active)
	at.revoke(c, taken).want(t)
	both("a revoked token", taken, answer.inactive)
	both("a token that nobody took back", spared, answer.active)
	if _, err := at.admin.CutOff(t.Context(), adminapi.NewCutOff{Client: c.id}); err != nil {
		t.Fatal(err)
	}
	both("a token from before the cut-off", spared, answer.inactive)
	from.caughtUp(t)
	both("a token from after the cut-off", from.token(t, c), answer.active)
}

// expiredByOne takes a token back at the replica for which it has expired, while it lives for the other one.
func (p *pair) expiredByOne(t *testing.T, ahead time.Duration) {
	t.Helper()
	const short, life = "https://short.test", 35 * time.Second // less than the clocks differ by, and long enough to ask
	_, err := p.a.admin.CreateAPI(t.Context(), adminapi.NewAPI{
		Identifier: short, Name: "Short", TokenTTL: int64(life.Seconds()), Scopes: []adminapi.NewScope{{Name: "short:read"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	c := p.a.register(t, adminapi.NewClient{Grants: []adminapi.Grant{{API: short, Scopes: []string{"short:read"}}}})
	late, early := p.a, p.b // for whom it lives, and for whom it has expired
	if ahead < 0 {
		late, early = p.b, p.a
	}
	taken, spared := late.token(t, c), late.token(t, c)
	if a := early.introspect(c, taken); !a.inactive() {
		t.Errorf("a token that has expired by this clock: %d %s (%v)", a.status, a.body, a.err)
	}
	if a := late.introspect(c, taken); !a.active() {
		t.Errorf("a token that lives by this clock: %d %s (%v)", a.status, a.body, a.err)
	}
	early.revoke(c, taken).want(t)
	if a := late.introspect(c, taken); !a.inactive() {
		t.Errorf("a token that was revoked where it had expired: %d %s (%v)", a.status, a.body, a.err)
	}
	if a := late.introspect(c, spared); !a.active() {
		t.Errorf("a token that nobody took back: %d %s (%v)", a.status, a.body, a.err)
	}
}

// TestOutageByBothClocks: a server that cannot read the database goes on for 60 seconds by the monotonic clock and by the wall
// clock, whichever is over first: neither who sets the clock back nor a machine that was suspended makes them longer.
func TestOutageByBothClocks(t *testing.T) {
	t.Parallel()
	postgres := pgtest.Start(t)
	proxy := faultproxy.New(t, postgres.Addr())
	c := clock.New(t)
	s := serve(t, servertest.Config{Database: postgres.URL(), Through: proxy.URL, Clock: c})
	known := s.client(t)
	for name, test := range map[string]struct {
		move func()
		ends bool
	}{
		"45 seconds":                       {func() { c.Pass(45 * time.Second) }, false},
		"a minute":                         {func() { c.Pass(61 * time.Second) }, true},
		"a minute, and the clock set back": {func() { c.Jump(-time.Hour); c.Pass(61 * time.Second) }, true},
		"the clock set ahead":              {func() { c.Jump(61 * time.Second) }, true},
		"the clock set back":               {func() { c.Jump(-time.Hour) }, false},
	} {
		s.caughtUp(t)
		s.token(t, known)
		proxy.Hang()
		test.move()
		if a := s.request(known); test.ends {
			a.undecided(t, name, goneWithin)
		} else if !a.ok() || a.took > time.Second {
			t.Errorf("%s: %d %s after %v (%v), want a token", name, a.status, a.body, a.took, a.err)
		}
		c.Set(0)
		proxy.Heal()
		eventually(t, backWithin, "give a token again", func() bool { return s.request(known).ok() })
	}
}

// TestClockJumps sets the clock of one of two replicas hours ahead and back, again and again, under load. Nothing that was taken
// back ever counts, whatever the clock says; wrong secrets are slowed down and used assertions refused all the time; and with
// the right clock everything is as before.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	long(t)
	redis := redistest.Start(t)
	a := serve(t, servertest.Config{Database: pgtest.Start(t).URL(), Redis: redis.URL()})
	c := clock.New(t)
	b := replica(t, a, servertest.Config{Clock: c})
	o := &oracle{server: b, watch: a.client(t)}
	live, keyed, guessed := a.token(t, o.watch), a.keyedClient(t), a.client(t)
	used := a.assertion(t, keyed, time.Minute)
	b.present(used).want(t)
	throttled := func() bool { // after a few more guesses, one for each second; a clock that brought all of them back would give 100
		for range limits.DefaultBurst / 2 {
			if b.request(client{guessed.id, o.watch.secret}).status == http.StatusTooManyRequests {
				return true
			}
		}
		return false
	}
	eventually(t, 30*time.Second, "slow down who guesses", throttled)
	b.trusts(t, o.watch, live)

	var tasks sync.WaitGroup
	defer tasks.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 2 {
		worker := a.client(t)
		tasks.Go(func() { o.revokeAlways(ctx, worker) })
	}
	tasks.Go(func() { o.askAlways(ctx, t) })
	for _, ahead := range []time.Duration{3 * time.Hour, 0, -3 * time.Hour, 0, 26 * time.Hour, -26 * time.Hour, 0} {
		c.Set(ahead)
		before := o.count()
		eventually(t, 10*time.Second, "revoke", func() bool { return o.count() > before+3 })
		if got := b.present(used); got.err != nil || got.status != http.StatusUnauthorized {
			t.Errorf("%v ahead: an assertion that was used: %d %s (%v), want 401", ahead, got.status, got.body, got.err)
		}
		if got := b.get(pathReady); !got.ok() {
			t.Errorf("%v ahead: readyz: %d %s (%v)", ahead, got.status, got.body, got.err)
		}
		if !throttled() {
			t.Errorf("%v ahead: who guessed is free", ahead)
		}
		if got := b.request(guessed); !got.ok() {
			t.Errorf("%v ahead: a right secret: %d %s (%v)", ahead, got.status, got.body, got.err)
		}
		for _, token := range o.all() {
			if got := a.decided(t, backWithin, o.watch, token); !got.inactive() {
				t.Errorf("%v ahead: a revoked token at the other replica: %d %s (%v)", ahead, got.status, got.body, got.err)
			}
		}
	}
	cancel()
	tasks.Wait()
	b.trusts(t, o.watch, live)
	for _, token := range o.all() {
		if got := b.decided(t, backWithin, o.watch, token); !got.inactive() {
			t.Errorf("at the end: a revoked token: %d %s (%v)", got.status, got.body, got.err)
		}
	}
	b.assert(t, keyed).want(t)
	if b.get(pathReady).status != http.StatusOK || !b.Running() {
		t.Error("the server is not well at the end")
	}
	t.Logf("%d revocations acknowledged, %d times not known, %d answers of the oracle", o.count(), o.doubts.Load(), o.asked.Load())
}

// TestConnectionsOutliveAClock: connections that fail while the clock is ahead are dropped, and those that are opened after it was
// set right are kept, not taken for older than those.
func TestConnectionsOutliveAClock(t *testing.T) {
	t.Parallel()
	const youngest = "SELECT coalesce(min(extract(epoch FROM now() - backend_start) * 1000), 0)::int FROM pg_stat_activity WHERE application_name = 'signet'"
	postgres := pgtest.Start(t)
	proxy := faultproxy.New(t, postgres.Addr())
	c := clock.New(t)
	s := serve(t, servertest.Config{Database: postgres.URL(), Through: proxy.URL, Clock: c})
	watch := s.client(t)
	c.Set(time.Hour)
	s.settled(t, watch)
	proxy.Hang()
	eventually(t, 10*time.Second, "notice", func() bool { return strings.Contains(s.Log(), "database connection failed") })
	proxy.Heal()
	c.Set(0)
	s.settled(t, watch)
	look := session(t, postgres.URL())
	eventually(t, 20*time.Second, "keep its connections for a second", func() bool { return number(t, look, youngest) > 1000 })
}
