package failures

import (
	"database/sql"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// unlockedWithin bounds how long a writer waits for a file that another process has locked: the second that the driver tries, for
// those in front of it too, and what a busy machine needs to notice.
const unlockedWithin = 5 * time.Second

// TestSQLiteLocked lets another process hold the write lock of the file, as a copy or a curious administrator does. What
// reads goes on. What writes waits, and says that it cannot; nothing that was acknowledged is lost.
func TestSQLiteLocked(t *testing.T) {
	t.Parallel()
	s := serve(t, servertest.Config{})
	path := filepath.Join(s.DataDir, "signet.db")
	o := &outage{server: s, cached: s.client(t), keyed: s.keyedClient(t)}
	o.prepare(t)
	pool, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pool.Close() }()
	other, err := pool.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	do(t, other, "PRAGMA busy_timeout = 2000")

	do(t, other, "BEGIN EXCLUSIVE")
	var writers sync.WaitGroup
	// Writers queue for the one connection that writes: each waits for the lock itself, or for the one before it.
	writers.Go(func() { o.revoke(o.cached, o.token).undecided(t, "revoke", unlockedWithin) })
	writers.Go(func() { o.assert(t, o.keyed).undecided(t, "token for an assertion", unlockedWithin) })
	writers.Go(func() { o.adminRefuses(t) })
	o.goesOn(t)
	o.request(o.unknown).want(t)
	if a := o.introspect(o.cached, o.revoked); !a.inactive() {
		t.Errorf("a revoked token: %d %s (%v)", a.status, a.body, a.err)
	}
	if a := o.introspect(o.cached, o.token); !a.active() {
		t.Errorf("a token whose revocation was answered 503: %d %s (%v)", a.status, a.body, a.err)
	}
	writers.Wait()
	do(t, other, "ROLLBACK")
	o.back(t)

	// A lock that is gone in time delays a change and refuses none.
	do(t, other, "BEGIN EXCLUSIVE")
	made := make(chan client, 1)
	go func() {
		defer close(made)
		if c, err := s.admin.CreateClient(t.Context(), newClient(adminapi.NewClient{})); err != nil {
			t.Errorf("a change during a short lock: %v", err)
		} else {
			made <- client{c.ClientID, c.ClientSecret}
		}
	}()
	select {
	case c := <-made:
		t.Errorf("client %s was made in spite of the lock", c.id)
	case <-time.After(500 * time.Millisecond):
	}
	do(t, other, "ROLLBACK")
	late := <-made
	s.Kill()
	s.Again(t)
	if late.id != "" {
		s.token(t, late)
	}
	if a := s.introspect(o.cached, o.token); !a.inactive() {
		t.Errorf("a token whose revocation was acknowledged: %d %s (%v)", a.status, a.body, a.err)
	}
	if verdict := integrity(t, path); verdict != "ok" {
		t.Errorf("the database is damaged: %s", verdict)
	}
	if a := s.request(client{o.cached.id, late.secret}); a.status != http.StatusUnauthorized {
		t.Errorf("a wrong secret: %d %s (%v)", a.status, a.body, a.err)
	}
}
