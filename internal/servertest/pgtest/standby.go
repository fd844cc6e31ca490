package pgtest

import (
	"testing"
	"time"
)

// StartStandby starts a standby that follows the primary by streaming, as a copy of its data, and returns when it does. It has
// the primary's password and databases, and an address of its own. It is asynchronous until the primary's
// synchronous_standby_names says otherwise.
func StartStandby(t testing.TB, primary *Server, settings ...string) *Server {
	t.Helper()
	s := prepare(t, settings)
	run, err := s.home.Run(s.cluster.beside("pg_basebackup"), "--dbname="+primary.URL(), "--pgdata=data", "--write-recovery-conf",
		"--wal-method=stream", "--checkpoint=fast", "--no-sync")
	if err != nil {
		t.Fatalf("copy the primary's data: %v", err)
	}
	if err := run.Wait(); err != nil {
		t.Fatalf("copy the primary's data: %v", err)
	}
	s.begin()
	s.await(primary, "standby that follows", "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'")
	return s
}

// Synchronous makes the primary acknowledge nothing from now on that its standby does not have.
func (s *Server) Synchronous() {
	s.t.Helper()
	Exec(s.t, s.URL(), "ALTER SYSTEM SET synchronous_standby_names = '*'")
	Exec(s.t, s.URL(), "SELECT pg_reload_conf()")
	s.await(s, "synchronous standby", "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'")
}

// Lag makes a standby of the primary's stop following it. What was committed before is in it, and nothing that is from now on.
func (s *Server) Lag(primary *Server) {
	s.t.Helper()
	s.await(primary, "standby with all that is committed",
		"SELECT count(*) = 1 FROM pg_stat_replication WHERE flush_lsn >= pg_current_wal_flush_lsn()")
	Exec(s.t, s.URL(), "ALTER SYSTEM SET primary_conninfo = ''")
	Exec(s.t, s.URL(), "SELECT pg_reload_conf()")
	s.await(primary, "end of the replication", "SELECT count(*) = 0 FROM pg_stat_replication")
}

// Promote makes a standby a primary.
func (s *Server) Promote() {
	s.t.Helper()
	s.await(s, "promotion", "SELECT pg_promote()")
}

// await polls a server until the query says true.
func (s *Server) await(server *Server, what, query string) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { //nolint:forbidigo // polls the server
		done, err := server.says(query)
		if err != nil {
			s.t.Fatalf("PostgreSQL: %s: %v", what, err)
		}
		if done {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("PostgreSQL: no %s within a minute:\n%s", what, s.home.Log())
		}
	}
}
