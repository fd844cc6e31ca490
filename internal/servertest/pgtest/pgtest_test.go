package pgtest_test

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
)

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	return conn
}

func run(t *testing.T, conn *pgx.Conn, statement string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func query[T any](t *testing.T, conn *pgx.Conn, statement string) T {
	t.Helper()
	var result T
	if err := conn.QueryRow(t.Context(), statement).Scan(&result); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return result
}

func TestOpenGivesEmptyDatabases(t *testing.T) {
	t.Parallel()
	first, second := pgtest.Open(t), pgtest.Open(t)
	if first == second {
		t.Fatalf("the same database twice: %s", first)
	}
	run(t, connect(t, first), `CREATE TABLE taken (id int)`)
	tables := query[int](t, connect(t, second), `SELECT count(*) FROM pg_tables WHERE schemaname = 'public'`)
	if tables != 0 {
		t.Errorf("the second database has %d tables", tables)
	}
}

func TestOpenDropsTheDatabase(t *testing.T) { //nolint:tparallel // its sub-test ends before it looks
	t.Parallel()
	var dropped string
	t.Run("user", func(t *testing.T) { //nolint:paralleltest // the parent looks at what it leaves
		dropped = pgtest.Open(t)
		conn, err := pgx.Connect(t.Context(), dropped) // left open on purpose
		if err != nil {
			t.Fatalf("connect: %v", err)
		}
		run(t, conn, `CREATE TABLE taken (id int)`)
	})
	_, err := pgx.Connect(t.Context(), dropped)
	if err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("connect after the test: %v", err)
	}
}

func TestOpenUsesTheNamedServer(t *testing.T) {
	server := pgtest.Start(t)
	t.Setenv("TEST_POSTGRES_URL", server.URL())
	url := pgtest.Open(t)
	if !strings.Contains(url, server.Addr()) || url == server.URL() {
		t.Errorf("Open gave %s, want a new database on %s", url, server.URL())
	}
	run(t, connect(t, url), `CREATE TABLE here (id int)`)
}

func TestPrivateServerIsDurable(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, "max_connections=7")
	conn := connect(t, server.URL())
	for setting, want := range map[string]string{
		"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "max_connections": "7",
	} {
		if got := query[string](t, conn, "SHOW "+setting); got != want {
			t.Errorf("%s is %s, want %s", setting, got, want)
		}
	}
}

func TestStopKillStart(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	url := server.URL()
	run(t, connect(t, url), `CREATE TABLE kept (id int)`)
	for i, end := range []func(){server.Stop, server.Kill} {
		run(t, connect(t, url), `INSERT INTO kept VALUES (1)`)
		began := time.Now()
		end()
		t.Logf("end %d took %v", i, time.Since(began))
		if _, err := pgx.Connect(t.Context(), url); err == nil {
			t.Fatalf("end %d: still answers", i)
		}
		began = time.Now()
		server.Start()
		t.Logf("start %d took %v", i, time.Since(began))
		if rows := query[int](t, connect(t, url), `SELECT count(*) FROM kept`); rows != i+1 {
			t.Errorf("end %d: %d rows left, want %d", i, rows, i+1)
		}
	}
	server.Restart()
	if server.URL() != url {
		t.Errorf("URL changed from %s to %s", url, server.URL())
	}
	connect(t, url)
}

// A killed server must not leave the System V segment that it had.
func TestKillThenCleanup(t *testing.T) { //nolint:tparallel // its sub-test ends before it looks
	t.Parallel()
	segments := func() string {
		list, err := os.ReadFile("/proc/sysvipc/shm")
		if err != nil {
			daemon.Lack(t, "cannot list segments here")
		}
		return string(list)
	}
	var segment *regexp.Regexp
	t.Run("user", func(t *testing.T) { //nolint:paralleltest // the parent looks at what it leaves
		server := pgtest.Start(t)
		segment = regexp.MustCompile(`(?m)^ *\S+ +` + server.Segment() + ` `)
		server.Kill()
		if !segment.MatchString(segments()) {
			t.Fatalf("the killed server's segment is not in the list:\n%s", segments())
		}
	})
	if segment.MatchString(segments()) {
		t.Error("the killed server's segment is still there")
	}
}

func TestFreezeThaw(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	conn := connect(t, server.URL())
	server.Freeze()
	answer := make(chan error, 1)
	go func() {
		_, err := conn.Exec(t.Context(), `SELECT 1`)
		answer <- err
	}()
	select {
	case err := <-answer:
		t.Fatalf("a frozen server answered: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	server.Thaw()
	if err := <-answer; err != nil {
		t.Errorf("after thawing: %v", err)
	}
	server.Freeze() // cleanup must cope
}

func TestWritesCountsIdleConnections(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		daemon.Lack(t, "waits 10 s for idle connections to report")
	}
	server := pgtest.Start(t)
	conn := connect(t, server.URL())
	run(t, conn, `CREATE TABLE counted (id int)`)
	run(t, conn, `INSERT INTO counted SELECT generate_series(1, 5)`)
	run(t, conn, `UPDATE counted SET id = id + 10 WHERE id < 3`)
	run(t, conn, `DELETE FROM counted WHERE id = 3`)
	run(t, conn, `SELECT * FROM counted`)
	if wrote := server.Writes(t); wrote != 8 { // 5 + 2 + 1, and the connection is still open
		t.Errorf("counted %d written rows, want 8", wrote)
	}
}

func TestWritesCountsBusyConnections(t *testing.T) {
	t.Parallel()
	url := pgtest.Open(t)
	conn := connect(t, url)
	run(t, conn, `CREATE TABLE counted (id int)`)
	const rows = 300
	stop, stopped := make(chan struct{}), make(chan error, 1)
	for range rows {
		run(t, conn, `INSERT INTO counted VALUES (1)`)
	}
	go func() {
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			case <-time.After(50 * time.Millisecond):
			}
			if _, err := conn.Exec(t.Context(), `SELECT 1`); err != nil {
				stopped <- err
				return
			}
		}
	}()
	began := time.Now()
	wrote := pgtest.Writes(t, url)
	took := time.Since(began)
	close(stop)
	if err := errors.Join(<-stopped); err != nil {
		t.Fatal(err)
	}
	if wrote != rows {
		t.Errorf("counted %d written rows, want %d", wrote, rows)
	}
	t.Logf("counting took %v", took)
}

func TestTransactionsCountsWritersOnly(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, "autovacuum=off")
	conn := connect(t, server.URL())
	run(t, conn, `CREATE TABLE counted (id int)`)
	before := server.Transactions(t)
	run(t, conn, `INSERT INTO counted SELECT generate_series(1, 5)`)
	run(t, conn, `SELECT * FROM counted`)
	run(t, conn, `UPDATE counted SET id = 1`)
	if wrote := server.Transactions(t) - before; wrote != 2 {
		t.Errorf("counted %d transactions, want 2", wrote)
	}
}

func BenchmarkOpen(b *testing.B) {
	pgtest.Open(b) // starts the shared server
	for b.Loop() {
		pgtest.Open(b)
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		pgtest.Start(b)
	}
}
