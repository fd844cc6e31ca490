package failures

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// wait lets a moment pass, no longer than the test.
func wait(t *testing.T, moment time.Duration) {
	t.Helper()
	select {
	case <-t.Context().Done():
	case <-time.After(moment):
	}
}

// TestKilledUnderRotation kills the server with SIGKILL, again and again at moments that nobody chose, while tokens are
// issued and revoked and keys rotate. What was acknowledged is so after each kill: tokens verify against the published
// keys, revocations hold, keys that took over are never standbys again.
func TestKilledUnderRotation(t *testing.T) {
	t.Parallel()
	const maxAge = "keys:\n  jwks_max_age: 1s\n"
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		s := serve(t, servertest.Config{ExtraYAML: maxAge})
		file, err := sql.Open("sqlite", filepath.Join(s.DataDir, "signet.db")+"?_pragma=busy_timeout(5000)")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = file.Close() })
		killedUnderRotation(t, s, file)
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		long(t)
		postgres := pgtest.Start(t)
		s := serve(t, servertest.Config{Database: postgres.URL(), ExtraYAML: maxAge})
		pool, err := sql.Open("pgx", postgres.URL())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = pool.Close() })
		killedUnderRotation(t, s, pool)
	})
}

// kills is how often the server is killed.
const kills = 10

func killedUnderRotation(t *testing.T, s *server, database *sql.DB) {
	t.Helper()
	r := &rotating{server: s, watch: s.client(t), database: database}
	workers := []client{s.client(t), s.client(t)}
	var tasks sync.WaitGroup
	defer tasks.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, c := range workers {
		tasks.Go(func() { r.issueAlways(ctx, t, c) })
		tasks.Go(func() { r.revokeAlways(ctx, c) })
	}
	tasks.Go(func() { r.rotateAlways(ctx) })
	for range kills {
		issued, revoked, rotated := r.progress()
		eventually(t, 15*time.Second, "issue, revoke and rotate", func() bool {
			nowIssued, nowRevoked, nowRotated := r.progress()
			return nowIssued > issued+5 && nowRevoked > revoked+3 && nowRotated > rotated
		})
		wait(t, rand.N(20*time.Millisecond))
		s.Kill()
		s.Again(t)
		r.holds(t)
	}
	cancel()
	tasks.Wait()
	r.holds(t)
	issued, revoked, rotated := r.progress()
	t.Logf("%d kills: %d tokens, %d revocations and %d rotations were acknowledged", kills, issued, revoked, rotated)
}

// rotating remembers what was acknowledged.
type rotating struct {
	*server

	watch    client
	database *sql.DB
	still    sync.RWMutex // nothing rotates while it is locked for writing

	mu              sync.Mutex
	tokens, revoked []string
	active          []string // keys that were said to have taken over
}

func (r *rotating) progress() (int, int, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.tokens), len(r.revoked), len(r.active)
}

func (r *rotating) known() ([]string, []string, []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.tokens), slices.Clone(r.revoked), slices.Clone(r.active)
}

// issueAlways gets tokens, each of which must be signed with a key that is published when it arrives.
func (r *rotating) issueAlways(ctx context.Context, t *testing.T, c client) {
	t.Helper()
	for ctx.Err() == nil {
		if token := r.request(c).token(); token != "" {
			if published := r.kids(); len(published) > 0 && !published[kid(token)] {
				t.Errorf("signed with %s, which is not published", kid(token))
			}
			r.mu.Lock()
			r.tokens = append(r.tokens, token)
			r.mu.Unlock()
		}
		pause(ctx)
	}
}

// revokeAlways revokes tokens of its own, as often as it takes.
func (r *rotating) revokeAlways(ctx context.Context, c client) {
	for ctx.Err() == nil {
		token := r.request(c).token()
		for token != "" && ctx.Err() == nil {
			if r.revoke(c, token).ok() {
				r.mu.Lock()
				r.revoked = append(r.revoked, token)
				r.mu.Unlock()
				break
			}
			pause(ctx)
		}
		pause(ctx)
	}
}

// rotateAlways makes the standby old enough to sign, and lets it.
func (r *rotating) rotateAlways(ctx context.Context) {
	for ctx.Err() == nil {
		r.rotate(context.WithoutCancel(ctx)) // only the server breaks it off
		pause(ctx)
	}
}

func (r *rotating) rotate(ctx context.Context) {
	r.still.RLock()
	defer r.still.RUnlock()
	_, aged := r.database.ExecContext(ctx, "UPDATE signing_keys SET published_at = published_at - 7200000000 WHERE state = 'pending'")
	rotated, err := r.admin.RotateKey(ctx, "ES256")
	if aged == nil && err == nil {
		r.mu.Lock()
		r.active = append(r.active, rotated.KID)
		r.mu.Unlock()
	}
}

// holds looks at everything that was acknowledged before it is called.
func (r *rotating) holds(t *testing.T) {
	t.Helper()
	r.still.Lock()
	defer r.still.Unlock()
	tokens, revoked, active := r.known()
	set := r.jwks(t)
	for _, token := range tokens {
		r.verify(t, set, token)
	}
	for _, token := range sample(revoked) {
		if a := r.decided(t, calmWithin, r.watch, token); !a.inactive() {
			t.Errorf("a revoked token: %d %s (%v)", a.status, a.body, a.err)
		}
	}
	if a := r.decided(t, calmWithin, r.watch, tokens[len(tokens)-1]); !a.active() {
		t.Errorf("a token that nobody took back: %d %s (%v)", a.status, a.body, a.err)
	}
	var records []adminapi.Key
	// A rotation that was killed before its second transaction has left no standby; the server makes one after its start.
	eventually(t, calmWithin, "have as many standbys as keys that sign", func() bool {
		var err error
		if records, err = r.admin.Keys(t.Context()); err != nil {
			t.Fatalf("read the keys: %v", err)
		}
		signing, standby := 0, 0
		for _, k := range records {
			switch k.State {
			case "active":
				signing++
			case "pending":
				standby++
			}
		}
		return standby >= signing
	})
	states, count := map[string]string{}, map[string]map[string]int{}
	for _, k := range records {
		states[k.KID] = k.State
		if count[k.Alg] == nil {
			count[k.Alg] = map[string]int{}
		}
		count[k.Alg][k.State]++
		switch published := len(set.Key(k.KID)) > 0; {
		case published:
		case k.State == "pending": // just made; the time in which it may not sign is much longer
			eventually(t, seenWithin, "publish the standby", func() bool { return r.kids()[k.KID] })
		default:
			t.Errorf("key %s is %s and not published", k.KID, k.State)
		}
	}
	for alg, n := range count {
		if n["active"] != 1 || n["pending"] != 1 {
			t.Errorf("%s has %d active keys and %d standbys, want one of each", alg, n["active"], n["pending"])
		}
	}
	for _, id := range active {
		if state := states[id]; state != "active" && state != "retiring" {
			t.Errorf("key %s took over and is %q", id, state)
		}
	}
}

// sample is the last fifty.
func sample(all []string) []string { return all[max(0, len(all)-50):] }
