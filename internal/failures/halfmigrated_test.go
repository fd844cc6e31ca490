package failures

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
)

// stand is the configuration of a server that was never initialised, on a database that is empty.
func stand(t *testing.T, database string) site {
	t.Helper()
	dir := servertest.ShortDir(t)
	s := site{dir: dir, file: filepath.Join(dir, "signet.yaml")}
	driver := "sqlite"
	if database != "" {
		driver, s.env = "postgres", []string{"SIGNET_DATABASE_URL=" + database}
	}
	s.write(t, "signet.yaml", []byte("issuer: http://127.0.0.1:9\ndata_dir: "+dir+
		"\nlisten:\n  public: 127.0.0.1:0\n  admin: \"\"\ndatabase:\n  driver: "+driver+"\n"))
	if database == "" {
		file, err := sql.Open("sqlite", s.path("signet.db"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.ExecContext(t.Context(), "PRAGMA application_id = 0x53676e74"); err != nil { // Signet's mark
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// schema is what `signet migrate status` says.
func (s site) schema(t *testing.T) (string, int) {
	t.Helper()
	out, text, err := servertest.Run(t, s.env, "migrate", "status", "--output", "json", "--config", s.file)
	if code := exitCode(err); code != 0 && code != 1 {
		t.Fatalf("signet migrate status: %v\n%s", err, text)
	}
	return member[string](out, "state"), int(member[float64](out, "version"))
}

// isAt wants that state and version.
func (s site) isAt(t *testing.T, when, state string, version int) {
	t.Helper()
	if gotState, got := s.schema(t); gotState != state || got != version {
		t.Errorf("%s, the schema is %s at version %d; want %s at %d", when, gotState, got, state, version)
	}
}

// finishes wants that migrate up ends the work that was begun.
func (s site) finishes(t *testing.T) {
	t.Helper()
	if _, text, err := servertest.Run(t, s.env, "migrate", "up", "--config", s.file); err != nil {
		t.Errorf("signet migrate up after it: %v\n%s", err, text)
	}
	if state, version := s.schema(t); state != "current" || version == 0 {
		t.Errorf("after migrate up, the schema is %s at version %d", state, version)
	}
}

// halt stops every migration after the first in its middle: whatever it has made or altered, it does not get further.
const halt = `CREATE FUNCTION halt() RETURNS event_trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF to_regclass('schema_version') IS NOT NULL THEN
			IF (SELECT max(version_id) FROM schema_version) = 1 THEN %s; END IF;
		END IF;
	END $$`

// TestMigrationBreaksOff ends a migration in its middle, by an error and by SIGKILL. The schema is that of the migration
// before it, status says so, no server starts on it, and another migrate up finishes.
func TestMigrationBreaksOff(t *testing.T) {
	t.Parallel()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		postgres := pgtest.Start(t)
		s := stand(t, postgres.URL())
		arm := func(event, statement string) *sql.Conn {
			conn := session(t, postgres.URL())
			do(t, conn, "DROP EVENT TRIGGER IF EXISTS halt")
			do(t, conn, "DROP FUNCTION IF EXISTS halt")
			if statement != "" {
				do(t, conn, fmt.Sprintf(halt, statement))
				do(t, conn, "CREATE EVENT TRIGGER halt ON "+event+" EXECUTE FUNCTION halt()")
			}
			return conn
		}
		tables := func(conn *sql.Conn) int {
			return number(t, conn, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
		}
		arm("ddl_command_end", "RAISE EXCEPTION 'no space'")
		_, text, err := servertest.Run(t, s.env, "migrate", "up", "--config", s.file)
		if exitCode(err) < 1 {
			t.Errorf("signet migrate up that fails: %v\n%s", err, text)
		}
		s.isAt(t, "after an error", "older", 1)
		s.refuses(t, "run signet migrate")

		conn := arm("ddl_command_end", "PERFORM pg_advisory_xact_lock(4711)")
		before := tables(conn)
		do(t, conn, "SELECT pg_advisory_lock(4711)")
		migration := servertest.Start(t, s.env, "migrate", "up", "--config", s.file)
		eventually(t, 10*time.Second, "get to the middle of a migration", func() bool {
			return number(t, conn, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted") == 1
		})
		migration.Kill()
		do(t, conn, "SELECT pg_advisory_unlock(4711)")
		eventually(t, 10*time.Second, "roll back", func() bool { return number(t, conn, ourSessions) == 0 })
		s.isAt(t, "after SIGKILL", "older", 1)
		if after := tables(conn); after != before {
			t.Errorf("%d tables before the migration that was killed, %d after it", before, after)
		}
		s.refuses(t, "run signet migrate")
		arm("", "")
		s.finishes(t)
		if _, text, err := servertest.Run(t, s.env, "init", "--config", s.file); err != nil {
			t.Errorf("signet init on the schema: %v\n%s", err, text)
		}
	})
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		s := stand(t, "")
		s.sqlite(t, "CREATE TABLE usage_daily (x int)") // the first migration makes one of that name at its end
		_, text, err := servertest.Run(t, s.env, "migrate", "up", "--config", s.file)
		if exitCode(err) < 1 {
			t.Errorf("signet migrate up that fails: %v\n%s", err, text)
		}
		s.isAt(t, "after an error", "older", 0)
		s.refuses(t, "run signet migrate")
		s.sqlite(t, "DROP TABLE usage_daily")
		s.finishes(t)
	})
	t.Run("sqlite, at any moment", func(t *testing.T) {
		t.Parallel()
		s := stand(t, "")
		for i := range 12 {
			migration := servertest.Start(t, s.env, "migrate", "up", "--config", s.file)
			wait(t, time.Duration(i)*7*time.Millisecond)
			migration.Kill()
			if state, version := s.schema(t); state != "older" && state != "current" {
				t.Errorf("killed after %d ms, the schema is %s at version %d", i*7, state, version)
			}
		}
		s.finishes(t)
		if verdict := integrity(t, s.path("signet.db")); verdict != "ok" {
			t.Errorf("the database is damaged: %s", verdict)
		}
	})
}

// TestSchemaGetsNewer lets a newer release migrate beside a running server: it goes on, and does not start again.
func TestSchemaGetsNewer(t *testing.T) {
	t.Parallel()
	postgres := pgtest.Start(t)
	o := &outage{server: serve(t, servertest.Config{Database: postgres.URL()})}
	o.cached, o.keyed = o.client(t), o.keyedClient(t)
	o.prepare(t)
	const next = "INSERT INTO schema_version (version_id, is_applied) SELECT max(version_id) + 1, true FROM schema_version"
	pgtest.Exec(t, postgres.URL(), next)
	pgtest.Exec(t, postgres.URL(), "ALTER TABLE clients ADD COLUMN newer text")
	pgtest.Exec(t, postgres.URL(), "ALTER TABLE revocations ADD COLUMN newer text NOT NULL DEFAULT 'x'")
	pgtest.Exec(t, postgres.URL(), "CREATE TABLE newer (x text)")
	o.goesOn(t)
	o.back(t)
	s := site{dir: o.DataDir, file: o.File, env: o.Env}
	if err := o.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	s.refuses(t, "newer than this program")
}
