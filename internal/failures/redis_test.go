package failures

import (
	"net/http"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/faultproxy"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/internal/servertest/redistest"
)

const (
	// trustedWithin is how long after its return Redis is trusted again, also with many revocations in it.
	trustedWithin = 5 * time.Second
	// revokedWithin is how long a revocation takes in any trouble.
	revokedWithin = 1500 * time.Millisecond
)

var readsOf = regexp.MustCompile(`(?m)^signet_revocation_reads_total\{source="(redis|database)"\} (\d+)$`)

// readFrom returns how many checks each source has answered.
func (s *server) readFrom(t *testing.T) map[string]int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.AdminURL+"/metrics", http.NoBody)
	counts := map[string]int{}
	for _, found := range readsOf.FindAllStringSubmatch(s.exchange(request, err).body, -1) {
		if counts[found[1]], err = strconv.Atoi(found[2]); err != nil {
			t.Fatal(err)
		}
	}
	if len(counts) != 2 {
		t.Fatalf("metrics name %d sources of revocation checks", len(counts))
	}
	return counts
}

// trusts waits until introspection is answered from Redis.
func (s *server) trusts(t *testing.T, watch client, token string) {
	t.Helper()
	eventually(t, trustedWithin, "answer from Redis", func() bool {
		before := s.readFrom(t)["redis"]
		a := s.introspect(watch, token)
		return a.active() && s.readFrom(t)["redis"] > before
	})
}

// TestRedisAway takes Redis away in several ways.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	redisAway(t, redis, []redisFault{
		{"killed", redis.Kill, redis.Start},
		{"frozen", redis.Freeze, redis.Thaw},
		{"flushed", func() { redis.Do("FLUSHALL") }, func() {}},
		{"full", func() { redis.Do("CONFIG", "SET", "maxmemory", "1") }, func() { redis.Do("CONFIG", "SET", "maxmemory", "0") }},
		{"no primary", func() { redis.Do("REPLICAOF", "127.0.0.1", "1") }, func() { redis.Do("REPLICAOF", "NO", "ONE") }},
	})
}

// redisFault is something that happens to Redis, and how it ends.
type redisFault struct {
	what       string
	begin, end func()
}

// redisAway lets one fault come after the other. Nothing is refused meanwhile, nothing that was revoked comes to life, and
// Redis is trusted again by itself.
func redisAway(t *testing.T, redis *redistest.Server, faults []redisFault) {
	t.Helper()
	a := serve(t, servertest.Config{Database: pgtest.Start(t).URL(), Redis: redis.URL()})
	b := replica(t, a, servertest.Config{})
	watch := a.client(t)
	live := a.token(t, watch)
	var revoked []string
	both := func(what string) {
		t.Helper()
		for _, s := range []*server{a, b} {
			if got := s.introspect(watch, live); !got.active() {
				t.Errorf("%s: a live token: %d %s (%v)", what, got.status, got.body, got.err)
			}
			for _, token := range revoked {
				if got := s.introspect(watch, token); !got.inactive() {
					t.Errorf("%s: a revoked token: %d %s (%v)", what, got.status, got.body, got.err)
				}
			}
		}
	}
	revoke := func(what string) {
		t.Helper()
		token := a.token(t, watch)
		began := time.Now()
		if got := a.revoke(watch, token); !got.ok() {
			t.Errorf("%s: revocation: %d %s (%v)", what, got.status, got.body, got.err)
		}
		if took := time.Since(began); took > revokedWithin {
			t.Errorf("%s: revocation took %v", what, took)
		}
		revoked = append(revoked, token)
	}
	for _, fault := range faults {
		what := fault.what
		a.trusts(t, watch, live)
		b.trusts(t, watch, live)
		revoke("before it is " + what)
		both("before it is " + what)
		fault.begin()
		both(what)
		for range 3 { // the first one ends the trust, the others find it ended
			revoke(what)
		}
		both(what)
		if got := a.get(pathReady); !got.ok() {
			t.Errorf("%s: not ready: %d %s", what, got.status, got.body)
		}
		fault.end()
		both("no longer " + what)
	}
	a.trusts(t, watch, live)
	both("at the end")
}

// TestGrace cuts two replicas off from PostgreSQL: one stops calling tokens live within the lease, the other goes on from
// Redis for the grace that it was given, and stops then.
func TestGrace(t *testing.T) {
	t.Parallel()
	const grace = 3 * time.Second
	postgres := pgtest.Start(t)
	proxy := faultproxy.New(t, postgres.Addr())
	strict := serve(t, servertest.Config{Database: postgres.URL(), Redis: redistest.Start(t).URL(), Through: proxy.URL})
	lenient := replica(t, strict, servertest.Config{Through: proxy.URL, ExtraYAML: "revocation:\n  grace: " + grace.String() + "\n"})
	watch := strict.client(t)
	live := strict.token(t, watch)
	for _, s := range []*server{strict, lenient} {
		s.trusts(t, watch, live)
		s.caughtUp(t)
		if a := s.introspect(watch, live); !a.active() {
			t.Fatalf("before: %d %s (%v)", a.status, a.body, a.err)
		}
	}
	proxy.Hang()
	began := time.Now()
	unknown := func(a answer) bool { return a.err == nil && a.status == http.StatusServiceUnavailable }
	eventually(t, grace-time.Second, "say that it cannot know", func() bool { return unknown(strict.introspect(watch, live)) })
	if a := lenient.introspect(watch, live); !a.active() {
		t.Errorf("within the grace: %d %s (%v)", a.status, a.body, a.err)
	}
	eventually(t, grace+3*time.Second, "come to the end of its grace", func() bool { return unknown(lenient.introspect(watch, live)) })
	if took := time.Since(began); took < grace-time.Second {
		t.Errorf("the grace was over after %v", took)
	}
	proxy.Heal()
	for _, s := range []*server{strict, lenient} {
		eventually(t, backWithin, "answer again", func() bool { return s.introspect(watch, live).active() })
	}
}
