package failures

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
)

// session opens a connection of the test's own. It ends with the test, or before.
func session(t *testing.T, database string) *sql.Conn {
	t.Helper()
	conn, err := connect(t, database)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	return conn
}

func connect(t *testing.T, database string) (*sql.Conn, error) {
	t.Helper()
	pool, err := sql.Open("pgx", database)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = pool.Close() })
	pool.SetMaxOpenConns(1)
	pool.SetMaxIdleConns(0)
	return pool.Conn(t.Context())
}

// do runs a statement on a connection.
func do(t *testing.T, conn *sql.Conn, statement string) {
	t.Helper()
	if _, err := conn.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// number asks for one.
func number(t *testing.T, conn *sql.Conn, query string) int {
	t.Helper()
	var n int
	if err := conn.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

const (
	ourSessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'signet'"
	endSessions = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = 'signet'"
)

// TestPostgresConnectionsTaken lets somebody else take every connection that PostgreSQL has. To the server it is away.
func TestPostgresConnectionsTaken(t *testing.T) {
	t.Parallel()
	const most = 12
	postgres := pgtest.Start(t, fmt.Sprintf("max_connections=%d", most))
	o := &outage{server: serve(t, servertest.Config{Database: postgres.URL(), ExtraYAML: "  max_conns: 4\n"})}
	o.cached, o.keyed = o.client(t), o.keyedClient(t)
	o.prepare(t)
	first := session(t, postgres.URL())
	taken := []*sql.Conn{first}
	eventually(t, 10*time.Second, "take every connection", func() bool {
		number(t, first, endSessions)
		for {
			conn, err := connect(t, postgres.URL())
			if err != nil {
				if !strings.Contains(err.Error(), "53300") {
					t.Fatalf("connect: %v, want too many clients", err)
				}
				break
			}
			taken = append(taken, conn)
		}
		return number(t, first, ourSessions) == 0 && len(taken) == most
	})
	o.away(t)
	for _, conn := range taken {
		if err := conn.Close(); err != nil {
			t.Errorf("give a connection back: %v", err)
		}
	}
	o.back(t)
}

// TestPoolTaken lets every connection of the server's small pool wait for a lock that somebody else holds, and as many callers
// again wait for a connection. All are told in time that it is not known; tokens go on, and nothing is left of it.
func TestPoolTaken(t *testing.T) {
	t.Parallel()
	const conns, callers = 2, 20
	postgres := pgtest.Start(t)
	o := &outage{server: serve(t, servertest.Config{Database: postgres.URL(), ExtraYAML: fmt.Sprintf("  max_conns: %d\n", conns)})}
	o.cached, o.keyed = o.client(t), o.keyedClient(t)
	o.prepare(t)
	holder := session(t, postgres.URL())
	do(t, holder, "BEGIN")
	do(t, holder, "LOCK TABLE revocations IN ACCESS EXCLUSIVE MODE")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var tasks sync.WaitGroup
	for range callers {
		tasks.Go(func() { o.introspect(o.cached, o.token).undecided(t, "introspect", decidedWithin) })
		tasks.Go(func() { o.revoke(o.cached, o.token).undecided(t, "revoke", decidedWithin) })
	}
	tasks.Go(func() {
		for ctx.Err() == nil {
			o.goesOn(t)
			pause(ctx)
		}
	})
	tasks.Wait()
	if waiting := number(t, holder, ourSessions); waiting > conns {
		// What a caller gave up is closed here, and PostgreSQL notices when the lock is free or after 5 s.
		t.Logf("PostgreSQL has %d connections of a pool of %d", waiting, conns)
	}
	do(t, holder, "ROLLBACK")
	o.back(t)
}
