package failures

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/internal/servertest/redistest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// TestOldBesideNew upgrades as docs/operations.md says, from the version before replicas shared revocations (DESIGN.md §6): the
// new binary migrates while the old one serves under load, a new replica joins the old one, which then leaves, and Redis comes
// last. Nothing fails, and what either of them has acknowledged as taken back never counts at any other.
func TestOldBesideNew(t *testing.T) {
	t.Parallel()
	long(t)
	binary := servertest.OldBinary(t)
	t.Run("revocations", func(t *testing.T) {
		t.Parallel()
		u := startOld(t, binary)
		u.takesBack(t, u.old)
		u.underLoad(t, u.joins)
		u.holds(t, "after the migration", u.new, u.taken...)
		u.takesBack(t, u.new, u.old)
		u.takesBack(t, u.old, u.new)
		u.oldLeaves(t)
		u.redisComes(t)
	})
	t.Run("changes", func(t *testing.T) {
		t.Parallel()
		u := startOld(t, binary)
		u.joins(t, func() {})
		for name, p := range map[string]*pair{"by the old one": {a: u.old, b: u.new}, "by the new one": {a: u.new, b: u.old}} {
			p.postgres, p.watch = u.postgres, u.watch
			t.Run("tokens count, "+name, p.tokensCount)
			t.Run("changes are seen, "+name, p.changesAreSeen)
			t.Run("a fresh secret works at once, "+name, p.freshSecret)
			t.Run("a key rotation is seen, "+name, p.keyRotation)
		}
		t.Run("both rotate at once", (&pair{a: u.old, b: u.new, postgres: u.postgres, watch: u.watch}).bothRotate)
	})
}

// upgrade is an old server, and the new one beside it.
type upgrade struct {
	postgres *pgtest.Server
	binary   string // of the old one
	old, new *server
	watch    client
	taken    []string // tokens that were taken back, by any of the servers
	spared   string   // one that nobody took back
}

// ripeSoon lets keys rotate as soon as tests want it.
const ripeSoon = "keys:\n  jwks_max_age: 1s\n"

func startOld(t *testing.T, binary string) *upgrade {
	t.Helper()
	postgres := pgtest.Start(t)
	old := serve(t, servertest.Config{Binary: binary, Database: postgres.URL(), ExtraYAML: ripeSoon})
	return &upgrade{postgres: postgres, binary: binary, old: old, watch: old.client(t), spared: old.token(t, old.client(t))}
}

// joins migrates and starts the new server beside the old one.
func (u *upgrade) joins(t *testing.T, busy func()) {
	t.Helper()
	s := site{dir: u.old.DataDir, file: u.old.File, env: u.old.Env}
	if state, version := s.schema(t); state != "older" {
		t.Fatalf("the old one's schema is %s at version %d", state, version)
	}
	s.finishes(t)
	busy()
	u.new = replica(t, u.old, servertest.Config{ExtraYAML: ripeSoon})
	busy()
}

// tokensCount wants that the tokens of each count at the other, there and offline.
func (p *pair) tokensCount(t *testing.T) {
	c := p.a.client(t)
	for _, from := range []*server{p.a, p.b} {
		token := from.token(t, c)
		for _, at := range []*server{p.a, p.b} {
			if a := at.introspect(p.watch, token); !a.active() {
				t.Errorf("a live token: %d %s (%v)", a.status, a.body, a.err)
			}
			at.verify(t, at.jwks(t), token)
		}
	}
}

// takesBack takes tokens of every server back by one of them, in each way that there is. They are inactive at all from the
// first moment; what was not taken back is not.
func (u *upgrade) takesBack(t *testing.T, by *server, others ...*server) {
	t.Helper()
	all := slices.Concat(others, []*server{by}) // the others first, which have had no time to hear of it
	for name, takeBack := range takeBacks(t, by) {
		for _, issuer := range all {
			victim := by.client(t)
			token := issuer.token(t, victim)
			for _, s := range all {
				if a := s.introspect(u.watch, token); !a.active() {
					t.Errorf("%s: before: %d %s (%v)", name, a.status, a.body, a.err)
				}
			}
			takeBack(victim, token)
			u.taken = append(u.taken, token)
			for _, s := range all {
				u.holds(t, name, s, token)
			}
		}
	}
}

// holds wants that the tokens are inactive at the server, and that one which nobody took back is not.
func (u *upgrade) holds(t *testing.T, what string, s *server, taken ...string) {
	t.Helper()
	for _, token := range taken {
		if a := s.introspect(u.watch, token); !a.inactive() {
			t.Errorf("%s: a token that was taken back: %d %s (%v)", what, a.status, a.body, a.err)
		}
	}
	if a := s.introspect(u.watch, u.spared); !a.active() {
		t.Errorf("%s: a token that nobody took back: %d %s (%v)", what, a.status, a.body, a.err)
	}
}

// underLoad does something while clients of the old server use it without a pause. Each of their requests must be answered, and
// rightly. busy returns when some more of them were.
func (u *upgrade) underLoad(t *testing.T, do func(t *testing.T, busy func())) {
	t.Helper()
	var rounds atomic.Int64
	var tasks sync.WaitGroup
	defer tasks.Wait()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	defer cancel()
	for range 4 {
		c := u.old.client(t)
		tasks.Go(func() {
			for ctx.Err() == nil {
				if err := u.old.round(t, c); err != nil {
					t.Errorf("under load: %v", err)
					return
				}
				rounds.Add(1)
			}
		})
	}
	busy := func() {
		t.Helper()
		before := rounds.Load()
		eventually(t, 20*time.Second, "serve", func() bool { return rounds.Load() > before+20 || t.Failed() })
	}
	busy()
	do(t, busy)
	cancel()
	tasks.Wait()
	t.Logf("%d rounds of token, introspection, revocation and change under load", rounds.Load())
}

// round gets tokens of two clients, one of them new, and takes them back: by a revocation, and by disabling the new client.
func (s *server) round(t *testing.T, c client) error {
	made, err := s.admin.CreateClient(t.Context(), newClient(adminapi.NewClient{}))
	if err != nil {
		return fmt.Errorf("create client: %w", err)
	}
	other := client{made.ClientID, made.ClientSecret}
	token, others := s.request(c), s.request(other)
	before, beside := s.introspect(c, token.token()), s.introspect(c, others.token())
	revoked := s.revoke(c, token.token())
	_, err = s.admin.DisableClient(t.Context(), other.id, "")
	after, besides := s.introspect(c, token.token()), s.introspect(c, others.token())
	if err != nil || !before.active() || !beside.active() || !revoked.ok() || !after.inactive() || !besides.inactive() {
		return fmt.Errorf("tokens %d and %d; before %d %s and %d %s; revocation %d, disable %w; after %d %s and %d %s", token.status, others.status,
			before.status, before.body, beside.status, beside.body, revoked.status, err, after.status, after.body, besides.status, besides.body)
	}
	return nil
}

// oldLeaves ends the old server, which does not come back on the newer schema. What it has cut off is confirmed by the new one.
func (u *upgrade) oldLeaves(t *testing.T) {
	t.Helper()
	if err := u.old.Stop(); err != nil {
		t.Errorf("the old server ended with %v\n%s", err, u.old.Log())
	}
	s := site{dir: u.old.DataDir, file: u.old.File, env: u.old.Env, binary: u.binary}
	s.refuses(t, "newer than this program")
	u.holds(t, "after the old one", u.new, u.taken...)
	look := session(t, u.postgres.URL())
	eventually(t, seenWithin, "confirm what the old one cut off", func() bool {
		return number(t, look, "SELECT count(*) FROM cut_offs WHERE confirmed = 0") == 0
	})
}

// redisComes starts a replica with Redis beside the new one that has none yet. It trusts Redis, and everything holds.
func (u *upgrade) redisComes(t *testing.T) {
	t.Helper()
	cached := replica(t, u.old, servertest.Config{Redis: redistest.Start(t).URL()})
	cached.trusts(t, u.watch, u.spared)
	before := cached.readFrom(t)["redis"]
	u.holds(t, "with Redis", cached, u.taken...)
	if cached.readFrom(t)["redis"] == before {
		t.Error("nothing was answered from Redis")
	}
	u.takesBack(t, u.new, cached)
	u.takesBack(t, cached, u.new)
	cached.trusts(t, u.watch, u.spared)
	for _, s := range []*server{cached, u.new} {
		u.holds(t, "at the end", s, u.taken...)
	}
}
