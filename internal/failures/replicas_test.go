package failures

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/faultproxy"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// seenWithin is what a change may take to be seen by another replica. The design says 0.5 s; a busy machine gets more.
const seenWithin = 2 * time.Second

// TestReplicas changes things on one of two replicas, and looks at the other.
func TestReplicas(t *testing.T) {
	t.Parallel()
	eachStore(t, replicas)
}

func replicas(t *testing.T, redis string) {
	t.Helper()
	postgres := pgtest.Start(t)
	proxy := faultproxy.New(t, postgres.Addr()) // between the second replica and the database
	a := serve(t, servertest.Config{Database: postgres.URL(), Redis: redis, ExtraYAML: "keys:\n  jwks_max_age: 1s\n"})
	b := replica(t, a, servertest.Config{ExtraYAML: "keys:\n  jwks_max_age: 1s\n", Through: proxy.URL})
	p := &pair{a: a, b: b, postgres: postgres, proxy: proxy, watch: a.client(t)}
	t.Run("changes are seen", p.changesAreSeen)
	t.Run("a fresh secret works at once", p.freshSecret)
	t.Run("what a stale replica issues is inactive", p.staleReplica)
	t.Run("a key rotation is seen", p.keyRotation)
	t.Run("both rotate at once", p.bothRotate)
}

// pair is two replicas on one database.
type pair struct {
	a, b     *server
	postgres *pgtest.Server
	proxy    *faultproxy.Proxy
	watch    client
}

// reductions are changes that take something from a client, and whether an answer shows that the replica knows.
func (p *pair) reductions(t *testing.T) map[string]struct {
	do   func(c client) error
	seen func(a answer) bool
} {
	t.Helper()
	unauthorized := func(a answer) bool { return a.err == nil && a.status == http.StatusUnauthorized }
	return map[string]struct {
		do   func(c client) error
		seen func(a answer) bool
	}{
		"disable": {func(c client) error { _, err := p.a.admin.DisableClient(t.Context(), c.id, ""); return err }, unauthorized},
		"delete":  {func(c client) error { return p.a.admin.DeleteClient(t.Context(), c.id) }, unauthorized},
		"rotate now": {func(c client) error {
			_, err := p.a.admin.RotateSecret(t.Context(), c.id, adminapi.Rotate{Now: true})
			return err
		}, unauthorized},
		"scope removal": {func(c client) error {
			grants := []adminapi.Grant{{API: orders, Scopes: []string{"orders:read"}}}
			_, err := p.a.admin.UpdateClient(t.Context(), c.id, adminapi.ClientChange{Grants: &grants})
			return err
		}, func(a answer) bool { return a.ok() && member[string](a.body, "scope") == "orders:read" }},
	}
}

func (p *pair) changesAreSeen(t *testing.T) {
	for name, change := range p.reductions(t) {
		c := p.a.client(t)
		p.b.token(t, c)
		if err := change.do(c); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if a := p.a.request(c); !change.seen(a) {
			t.Errorf("%s: the replica that made the change answers %d %s (%v)", name, a.status, a.body, a.err)
		}
		took := eventually(t, seenWithin, "see "+name, func() bool { return change.seen(p.b.request(c)) })
		t.Logf("%s is seen after %v", name, took.Round(time.Millisecond))
		during(t, 300*time.Millisecond, func() {
			if a := p.b.request(c); !change.seen(a) {
				t.Errorf("%s is forgotten: %d %s (%v)", name, a.status, a.body, a.err)
			}
		})
	}
}

// freshSecret: the other replica has the client in its cache, and must not take the new secret for a wrong one, not once.
func (p *pair) freshSecret(t *testing.T) {
	c := p.a.client(t)
	p.b.token(t, c)
	for range 10 {
		made, err := p.a.admin.CreateSecret(t.Context(), c.id, adminapi.NewSecret{})
		if err != nil {
			t.Fatal(err)
		}
		if a := p.b.request(client{c.id, made.ClientSecret}); !a.ok() {
			t.Errorf("a fresh secret: %d %s (%v)", a.status, a.body, a.err)
		}
		if err := p.a.admin.RevokeSecret(t.Context(), c.id, made.SecretID); err != nil {
			t.Fatal(err)
		}
	}
	fresh := p.a.client(t)
	if a := p.b.request(fresh); !a.ok() {
		t.Errorf("a fresh client: %d %s (%v)", a.status, a.body, a.err)
	}
}

// staleReplica cuts the second replica off from the database without a word, so that it cannot know of the change. It goes
// on (DESIGN.md §8), and nothing that it issues counts at introspection, from the first moment.
func (p *pair) staleReplica(t *testing.T) {
	defer p.proxy.Heal()
	for name, change := range p.reductions(t) {
		c := p.a.client(t)
		p.b.caughtUp(t)
		before := p.b.token(t, c)
		p.proxy.Hang()
		if err := change.do(c); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		stale := p.b.token(t, c)
		for what, token := range map[string]string{"before": before, "after": stale} {
			if a := p.a.introspect(p.watch, token); !a.inactive() {
				t.Errorf("%s: a token that the stale replica issued %s: %d %s (%v)", name, what, a.status, a.body, a.err)
			}
		}
		p.proxy.Heal()
		eventually(t, backWithin, "see "+name, func() bool { return change.seen(p.b.request(c)) })
		if a := p.b.introspect(p.watch, stale); !a.inactive() {
			t.Errorf("%s: its own token at the replica that was stale: %d %s (%v)", name, a.status, a.body, a.err)
		}
	}
}

// ripen makes the standby of ES256 old enough to sign, once both replicas publish it.
func (p *pair) ripen(t *testing.T) {
	t.Helper()
	keys, err := p.a.admin.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if k.Alg != "ES256" || k.State != "pending" {
			continue
		}
		for _, s := range []*server{p.a, p.b} {
			eventually(t, seenWithin, "publish the standby", func() bool { return len(s.jwks(t).Key(k.KID)) == 1 })
		}
		pgtest.Exec(t, p.postgres.URL(), "UPDATE signing_keys SET published_at = published_at - 7200000000 WHERE kid = $1", k.KID)
		return
	}
	t.Fatal("there is no standby")
}

func (p *pair) keyRotation(t *testing.T) {
	c := p.a.client(t)
	before := p.b.token(t, c)
	var problem *adminapi.Problem
	if _, err := p.a.admin.RotateKey(t.Context(), "ES256"); !errors.As(err, &problem) || problem.Status != http.StatusConflict {
		t.Errorf("a standby that is just published: %v, want 409", err)
	}
	p.ripen(t)
	rotated, err := p.a.admin.RotateKey(t.Context(), "ES256")
	if err != nil {
		t.Fatal(err)
	}
	took := eventually(t, seenWithin, "sign with the new key", func() bool { return kid(p.b.request(c).token()) == rotated.KID })
	t.Logf("a key rotation is seen after %v", took.Round(time.Millisecond))
	if a := p.b.introspect(p.watch, before); !a.active() {
		t.Errorf("a token of the key before: %d %s (%v)", a.status, a.body, a.err)
	}
	p.b.verify(t, p.b.jwks(t), before)

	revoked, err := p.a.admin.RevokeKey(t.Context(), kid(before), "test")
	if err != nil {
		t.Fatal(err)
	}
	if a := p.b.introspect(p.watch, before); !a.inactive() {
		t.Errorf("a token of a revoked key at the other replica: %d %s (%v)", a.status, a.body, a.err)
	}
	took = eventually(t, seenWithin, "take the key out of the JWKS", func() bool { return len(p.b.jwks(t).Key(revoked.KID)) == 0 })
	t.Logf("a key revocation is seen after %v; at introspection at once", took.Round(time.Millisecond))
}

// bothRotate rotates on both replicas at the same moment, again and again. One of them does it. Every token is signed with a
// key that both replicas had published before it was issued.
func (p *pair) bothRotate(t *testing.T) {
	c := p.a.client(t)
	var rotations, checked atomic.Int64 // begun; tokens with no beginning between the look at the keys and them
	var tasks sync.WaitGroup
	defer tasks.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, s := range []*server{p.a, p.b} {
		tasks.Go(func() {
			for ctx.Err() == nil {
				before := rotations.Load()
				published := []map[string]bool{p.a.kids(), p.b.kids()}
				a := s.request(c)
				if !a.ok() || len(published[0]) == 0 || len(published[1]) == 0 {
					t.Errorf("token: %d %s (%v); JWKS of %d and %d keys", a.status, a.body, a.err, len(published[0]), len(published[1]))
					return
				}
				if rotations.Load() != before {
					continue // the key may have been published everywhere since
				}
				checked.Add(1)
				if k := kid(a.token()); !published[0][k] || !published[1][k] {
					t.Errorf("signed with %s, which was not published everywhere", k)
				}
			}
		})
	}
	for range 4 {
		p.ripen(t)
		rotations.Add(1)
		var rotated [2]error
		var both sync.WaitGroup
		for i, s := range []*server{p.a, p.b} {
			both.Go(func() { _, rotated[i] = s.admin.RotateKey(t.Context(), "ES256") })
		}
		both.Wait()
		done := 0
		for _, err := range rotated {
			problem, refused := errors.AsType[*adminapi.Problem](err)
			switch {
			case err == nil:
				done++
			case !refused || problem.Status != http.StatusConflict:
				t.Errorf("rotate: %v, want 409 at most", err)
			}
		}
		if done != 1 {
			t.Errorf("%d of two replicas rotated the key", done)
		}
		before := checked.Load()
		eventually(t, calmWithin, "check a token of the new key", func() bool { return checked.Load() > before || t.Failed() })
	}
	cancel()
	tasks.Wait()
}

// kids are the keys that a replica publishes at this moment.
func (s *server) kids() map[string]bool {
	set, _ := decodeJWKS(s.get(pathJWKS).body) // none when it does not answer
	out := map[string]bool{}
	for _, key := range set.Keys {
		out[key.KeyID] = true
	}
	return out
}
