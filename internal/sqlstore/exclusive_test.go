package sqlstore_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

// alone tries to be the one under a name, and says whether it was.
func alone(t *testing.T, db *sqlstore.DB, name string) bool {
	t.Helper()
	did := false
	ran, err := db.Exclusive(t.Context(), name, func(context.Context) error { did = true; return nil })
	if err != nil || ran != did {
		t.Errorf("Exclusive(%s) = %v, %v; it did run: %v", name, ran, err, did)
	}
	return ran
}

// TestExclusive runs something that other replicas may not run meanwhile, and that uses the database itself.
func TestExclusive(t *testing.T) {
	t.Parallel()
	config := fresh(t, "postgres")
	db, peer := migrated(t, config), open(t, config)
	for name, do := range map[string]func() error{
		"success": func() error { return nil },
		"failure": func() error { return errFailed },
		"panic":   func() error { panic("bug") },
	} {
		func() {
			defer func() {
				if bug := recover(); (bug != nil) != (name == "panic") {
					panic(bug)
				}
			}()
			ran, err := db.Ledger().Exclusive(t.Context(), "rebuild", func(ctx context.Context) error {
				if alone(t, peer, "rebuild") || alone(t, db, "rebuild") {
					t.Errorf("%s: two at once", name)
				}
				if !alone(t, peer, "sweep") {
					t.Errorf("%s: something else is kept waiting", name)
				}
				if err := record(ctx, db, hour("j"), event("token.revoke")); err != nil {
					t.Errorf("%s: in it: %v", name, err)
				}
				return do()
			})
			if !ran || errors.Is(err, errFailed) != (name == "failure") || (err == nil) != (name == "success") {
				t.Errorf("%s: Exclusive = %v, %v", name, ran, err)
			}
		}()
		if !alone(t, peer, "rebuild") {
			t.Errorf("the lock stayed after %s", name)
		}
	}
	if !alone(t, migrated(t, fresh(t, "sqlite")), "rebuild") {
		t.Error("SQLite has one process, which did not run it")
	}
}

var errFailed = errors.New("failed")

// advisory are the locks of this database: other tests migrate theirs on the same server, which takes one, too.
const advisory = "FROM pg_locks JOIN pg_database d ON d.oid = database WHERE locktype = 'advisory' AND datname = current_database()"

// TestExclusiveLosesItsConnection: others can go on at once, and what was done by then counts.
func TestExclusiveLosesItsConnection(t *testing.T) {
	t.Parallel()
	config := fresh(t, "postgres")
	db, peer := migrated(t, config), open(t, config)
	killer := dial(t, config)
	ran, err := db.Exclusive(t.Context(), "rebuild", func(context.Context) error {
		execute(t, killer, "SELECT pg_terminate_backend(pid) "+advisory)
		await(t, killer, nil, "NOT EXISTS (SELECT 1 "+advisory+")")
		if !alone(t, peer, "rebuild") {
			t.Error("the lock of a connection that is gone keeps others out")
		}
		return nil
	})
	if !ran || err != nil {
		t.Errorf("Exclusive = %v, %v; want what was done", ran, err)
	}
}

// TestExclusiveEndsWithItsContext: whoever gave up keeps nobody out, and who comes too late does nothing.
func TestExclusiveEndsWithItsContext(t *testing.T) {
	t.Parallel()
	config := fresh(t, "postgres")
	db, watch := migrated(t, config), dial(t, config)
	ctx, cancel := context.WithCancel(t.Context())
	ran, err := db.Exclusive(ctx, "rebuild", func(ctx context.Context) error {
		cancel()
		await(t, watch, nil, "NOT EXISTS (SELECT 1 "+advisory+")")
		return ctx.Err()
	})
	if !ran || !errors.Is(err, context.Canceled) {
		t.Errorf("Exclusive = %v, %v", ran, err)
	}
	ran, err = db.Exclusive(ctx, "rebuild", func(context.Context) error { t.Error("it ran"); return nil })
	if ran || err == nil {
		t.Errorf("Exclusive after its context = %v, %v", ran, err)
	}
}

// TestExclusiveIsNotTimed makes every connection of the pool one that the server ends after an idle moment, as it does after
// five seconds of a replica that is frozen: a rebuild takes longer.
func TestExclusiveIsNotTimed(t *testing.T) {
	t.Parallel()
	config := fresh(t, "postgres")
	db, peer := migrated(t, config), open(t, config)
	var group sync.WaitGroup
	for range config.MaxConns {
		group.Go(func() {
			err := db.Exec(t.Context(), "SELECT set_config('idle_in_transaction_session_timeout', '500', false), pg_sleep(0.5)")
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for timeout := range backendSettings(t, db, config.MaxConns, "idle_in_transaction_session_timeout") {
		if timeout != "500ms" {
			t.Errorf("a connection has %s; this test proves nothing", timeout)
		}
	}
	_, err := db.Exclusive(t.Context(), "rebuild", func(context.Context) error {
		time.Sleep(2 * time.Second)
		if alone(t, peer, "rebuild") {
			t.Error("the server has ended what was going on")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// backendSettings returns the values of a setting on the connections of a full pool.
func backendSettings(t *testing.T, db *sqlstore.DB, conns int, name string) map[string]bool {
	t.Helper()
	var mu sync.Mutex
	values := map[string]bool{}
	var group sync.WaitGroup
	for range conns {
		group.Go(func() {
			value, err := db.ReadText(t.Context(), true, "SELECT current_setting(?) FROM pg_sleep(0.2)", name)
			if err != nil {
				t.Errorf("ask for %s: %v", name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			values[value] = true
		})
	}
	group.Wait()
	return values
}

// TestExclusiveOfOneConnection is an error at once, not a wait for the connection that it holds itself.
func TestExclusiveOfOneConnection(t *testing.T) {
	t.Parallel()
	config := fresh(t, "postgres")
	config.MaxConns = 1
	db := migrated(t, config)
	ran, err := db.Exclusive(t.Context(), "rebuild", func(context.Context) error { t.Error("it ran"); return nil })
	if ran || err == nil || !strings.Contains(err.Error(), "max_conns") {
		t.Errorf("Exclusive = %v, %v", ran, err)
	}
}
