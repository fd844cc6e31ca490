package sqlstore_test

import (
	"context"
	"crypto/rand"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/registry"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

// TestNothingToDoIsNotOvertaken deletes a client twice on SQLite, the second time while the first deletion is committed and
// not yet in memory: that there is no such client must not be said before its tokens have ended.
func TestNothingToDoIsNotOvertaken(t *testing.T) {
	t.Parallel()
	config := fresh(t, "sqlite")
	committed, told := make(chan struct{}), make(chan struct{})
	var armed, ended atomic.Bool
	config.Committed = func(context.Context, registry.Commit) {
		if armed.Load() {
			close(committed)
			<-told
			ended.Store(true)
		}
	}
	db := migrated(t, config)
	createClient(t, db, client("client_1"))
	armed.Store(true)
	first := make(chan error, 1)
	go func() { first <- db.Clients().DeleteClient(t.Context(), "client_1", event("client.delete")) }()
	<-committed
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if err := db.Clients().DeleteClient(impatient, "client_1", event("client.delete")); !errors.Is(err, context.Canceled) {
		t.Errorf("a deletion whose caller has gone: %v", err)
	}
	second := make(chan error, 1)
	go func() {
		err := db.Clients().DeleteClient(t.Context(), "client_1", event("client.delete"))
		if !ended.Load() {
			t.Error("answered before the first deletion was in memory")
		}
		second <- err
	}()
	close(told)
	if err := <-first; err != nil {
		t.Errorf("first deletion: %v", err)
	}
	if err := <-second; !errors.Is(err, clients.ErrNotFound) {
		t.Errorf("second deletion: %v", err)
	}
}

// TestUnreplicatedCommit cancels the wait for a synchronous standby that is not there. PostgreSQL calls the commit a success.
func TestUnreplicatedCommit(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	db := migrated(t, sqlstore.Config{Driver: "postgres", URL: pg.URL()})
	pgtest.Exec(t, pg.URL(), "ALTER SYSTEM SET synchronous_standby_names = 'gone'")
	pgtest.Exec(t, pg.URL(), "SELECT pg_reload_conf()")
	for what, commit := range map[string]func() error{
		"revocation": func() error { return record(t.Context(), db, hour(rand.Text()), event("token.revoke")) },
		"assertion": func() error {
			return db.Assertions().Use(t.Context(), "client_1", rand.Text(), time.Now().Add(time.Minute))
		},
	} {
		if err := unreplicated(t, pg, commit); err == nil || errors.Is(err, clients.ErrReplayed) {
			t.Errorf("%s: acknowledged what no standby has: %v", what, err)
		}
	}
}

// unreplicated commits until a commit waits for the standby, cancels that wait, and returns what came of it. Until the sessions
// have heard of the standby, a commit does not wait.
func unreplicated(t *testing.T, pg *pgtest.Server, commit func() error) error {
	t.Helper()
	ended := make(chan error, 1)
	for {
		go func() { ended <- commit() }()
		for again := false; !again; {
			select {
			case err := <-ended:
				if err != nil && !errors.Is(err, context.DeadlineExceeded) { // its own time may be over before this cancels it
					t.Fatalf("a commit that nobody cancelled: %v", err)
				}
				again = true
			default:
				if pgtest.Exec(t, pg.URL(), "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") > 0 {
					if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
						return err
					}
					again = true
				}
			}
		}
	}
}
