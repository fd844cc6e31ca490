package sqlstore_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/servertest/faultproxy"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

// backWithin is what DESIGN.md §8 and the core's definition of done give the pool to recover by itself.
const backWithin = 3 * time.Second

// busy fills the pool with connections.
func busy(t *testing.T, db *sqlstore.DB) {
	t.Helper()
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() { _, _ = check(t.Context(), db, revocations.Token{JTI: "j"}) })
	}
	group.Wait()
}

// recovers asks again and again until it gets an answer, and fails when that takes too long.
func recovers(t *testing.T, db *sqlstore.DB, start time.Time) {
	t.Helper()
	took, err := back(t, db, start)
	if err != nil {
		t.Fatalf("not back after %v: %v", took, err)
	}
	t.Logf("back after %v", took.Round(time.Millisecond))
	// And every connection of the pool works.
	for range 20 {
		if _, err := check(t.Context(), db, revocations.Token{JTI: "j"}); err != nil {
			t.Errorf("after the recovery: %v", err)
		}
	}
	if err := record(t.Context(), db, hour("after"), event("token.revoke")); err != nil {
		t.Errorf("after the recovery: %v", err)
	}
}

// back asks until it gets an answer in time, or it is too late.
func back(t *testing.T, db *sqlstore.DB, start time.Time) (time.Duration, error) {
	t.Helper()
	for {
		_, err := check(t.Context(), db, revocations.Token{JTI: "j"})
		switch took := time.Since(start); {
		case took <= backWithin && err == nil:
			return took, nil
		case took > backWithin:
			return took, errors.Join(errLate, err)
		}
	}
}

var errLate = errors.New("too late")

func hour(jti string) revocations.Revocation {
	return revocations.Revocation{JTI: jti, ClientID: "client_1", ExpiresAt: now().Add(time.Hour), RevokedAt: now()}
}

// fails runs a call that must give an error within a time.
func fails(t *testing.T, name string, within time.Duration, call func() error) {
	t.Helper()
	start := time.Now()
	err := call()
	if err == nil {
		t.Errorf("%s: no error", name)
	}
	if took := time.Since(start); took > within {
		t.Errorf("%s: error after %v, want %v: %v", name, took, within, err)
	}
}

func TestPostgresRestart(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	db := migrated(t, sqlstore.Config{Driver: "postgres", URL: server.URL(), MaxConns: 5})
	busy(t, db)
	for name, outage := range map[string]func(){"stop": server.Stop, "kill": server.Kill} {
		outage()
		fails(t, name+": check", 3*time.Second, func() error {
			_, err := check(t.Context(), db, revocations.Token{JTI: "j"})
			return err
		})
		fails(t, name+": revoke", 6*time.Second, func() error {
			return record(t.Context(), db, hour("lost"), event("token.revoke"))
		})
		fails(t, name+": ping", 3*time.Second, func() error { return db.Ping(t.Context()) })
		server.Start()
		recovers(t, db, time.Now())
		busy(t, db)
	}
}

// TestPostgresFrozen stops every process of the server: connections stay open and nothing answers.
func TestPostgresFrozen(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	db := migrated(t, sqlstore.Config{Driver: "postgres", URL: server.URL(), MaxConns: 5})
	createClient(t, db, client("client_1"))
	busy(t, db)
	server.Freeze()
	var group sync.WaitGroup
	group.Go(func() {
		fails(t, "check", 3*time.Second, func() error {
			_, err := check(t.Context(), db, revocations.Token{JTI: "j"})
			return err
		})
	})
	group.Go(func() {
		fails(t, "client", 3*time.Second, func() error {
			_, err := db.Clients().Client(t.Context(), "client_1")
			return err
		})
	})
	group.Go(func() {
		fails(t, "revoke", 6*time.Second, func() error {
			return record(t.Context(), db, hour("frozen"), event("token.revoke"))
		})
	})
	group.Wait()
	server.Thaw()
	recovers(t, db, time.Now())
}

// TestPostgresSilence stops the network without a word. One call finds out; no other connection that is as old as the one
// that it waited for is tried again, because each could cost its caller the same wait.
func TestPostgresSilence(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	proxy := faultproxy.New(t, server.Addr())
	db := migrated(t, sqlstore.Config{Driver: "postgres", URL: proxy.URL(server.URL()), MaxConns: 5})
	before := backends(t, db)
	proxy.Hang()
	fails(t, "check", 3*time.Second, func() error {
		_, err := check(t.Context(), db, revocations.Token{JTI: "j"})
		return err
	})
	proxy.Heal()
	recovers(t, db, time.Now())
	for pid := range backends(t, db) {
		if before[pid] {
			t.Errorf("connection %s from before the silence is still in use", pid)
		}
	}
}

// backends fills the pool, and returns the processes that serve it.
func backends(t *testing.T, db *sqlstore.DB) map[string]bool {
	t.Helper()
	pids, err := processes(t.Context(), db)
	if err != nil {
		t.Errorf("ask for the processes: %v", err)
	}
	if len(pids) < 2 {
		t.Errorf("the pool has %d connections, which proves nothing", len(pids))
	}
	return pids
}

// processes is backends, but for pools that may not work yet.
func processes(ctx context.Context, db *sqlstore.DB) (map[string]bool, error) {
	var mu sync.Mutex
	pids := map[string]bool{}
	var group errgroup.Group
	for range 20 {
		group.Go(func() error {
			pid, err := db.ReadText(ctx, false, "SELECT pg_backend_pid()::text FROM pg_sleep(0.1)")
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			pids[pid] = true
			return nil
		})
	}
	return pids, group.Wait()
}

// TestUnacknowledgedCommit kills the server between the change and its commit.
func TestUnacknowledgedCommit(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	h := &hooks{}
	db := migrated(t, h.on(sqlstore.Config{Driver: "postgres", URL: server.URL()}))
	createClient(t, db, client("client_1"))
	h.calls = nil
	_, err := db.Clients().UpdateClient(t.Context(), "client_1", func(c *clients.Client) (audit.Event, error) {
		c.Generation++
		server.Kill()
		return event("revocation.cut-off"), nil
	})
	if err == nil {
		t.Error("a change was acknowledged that the server never committed")
	}
	if len(h.calls) != 0 {
		t.Errorf("called %v", h.calls)
	}
	server.Start()
	recovers(t, db, time.Now())
	if c, err := db.Clients().Client(t.Context(), "client_1"); err != nil || c.Generation != 1 {
		t.Errorf("Client = %+v, %v", c, err)
	}
}

// TestPostgresKilledUnderLoad kills the server in the middle of writes: what was acknowledged is there afterwards.
func TestPostgresKilledUnderLoad(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	db := migrated(t, sqlstore.Config{Driver: "postgres", URL: server.URL(), MaxConns: 5})
	var mu sync.Mutex
	var acknowledged []string
	enough := make(chan struct{})
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for i := 0; ; i++ {
				jti := fmt.Sprintf("%d-%d", worker, i)
				if err := record(t.Context(), db, hour(jti), event("token.revoke")); err != nil {
					return
				}
				mu.Lock()
				if acknowledged = append(acknowledged, jti); len(acknowledged) == 50 {
					close(enough)
				}
				mu.Unlock()
			}
		})
	}
	<-enough
	server.Kill()
	group.Wait()
	server.Start()
	recovers(t, db, time.Now())
	for _, jti := range acknowledged {
		if revoked, err := check(t.Context(), db, revocations.Token{JTI: jti}); err != nil || !revoked {
			t.Errorf("%s was acknowledged: revoked %v, %v", jti, revoked, err)
		}
	}
}
