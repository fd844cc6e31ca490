package failures

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/internal/servertest/redistest"
)

// TestPostgresDiskFull takes the space away from PostgreSQL: from its tables, where it refuses what needs another page, and
// from its log, where it ends and cannot start. Nothing that was acknowledged is lost by it, nothing revoked comes to life,
// and it all works again with space.
func TestPostgresDiskFull(t *testing.T) {
	t.Parallel()
	long(t)
	t.Run("tables", func(t *testing.T) {
		t.Parallel()
		postgresFull(t, "", "size=68m", true, func(string) {})
	})
	t.Run("log", func(t *testing.T) {
		t.Parallel()
		postgresFull(t, "pg_wal", "size=40m", false, func(database string) {
			if conn, err := connect(t, database); err == nil {
				_, _ = conn.ExecContext(t.Context(), "SELECT pg_switch_wal()") // as if the segment were full
				_ = conn.Close()
			}
		})
	})
}

// postgresFull fills the file system that one directory of PostgreSQL's is on, which it survives or not; waste is called between
// revocations.
func postgresFull(t *testing.T, directory, size string, survives bool, waste func(database string)) {
	t.Helper()
	postgres := pgtest.Start(t, "min_wal_size=32MB", "max_wal_size=32MB")
	ballast := mounted(t, postgres, directory, size)
	a := serve(t, servertest.Config{Database: postgres.URL(), Redis: redistest.Start(t).URL()})
	b := replica(t, a, servertest.Config{})
	watch := a.client(t)
	live := a.token(t, watch)
	for _, s := range []*server{a, b} {
		s.trusts(t, watch, live)
		s.caughtUp(t) // so that the client stays known
		s.token(t, watch)
	}
	fill(t, ballast)
	var revoked []string
	// revoke returns whether it was acknowledged. If not, it must have been said that it is not known.
	revoke := func() bool {
		token := a.token(t, watch)
		got := a.revoke(watch, token)
		if got.ok() {
			revoked = append(revoked, token)
			return true
		}
		got.undecided(t, "revoke without space", decidedWithin)
		return false
	}
	eventually(t, 30*time.Second, "run out of space", func() bool {
		for range 20 {
			if !revoke() {
				return true
			}
		}
		waste(postgres.URL())
		return false
	})
	acknowledged := len(revoked)
	during(t, time.Second, func() {
		revoke()
		for _, s := range []*server{a, b} {
			s.verify(t, s.jwks(t), s.token(t, watch))
			for _, token := range revoked[max(0, len(revoked)-3):] {
				if got := s.introspect(watch, token); !got.inactive() {
					got.undecided(t, "introspect a revoked token", decidedWithin)
				}
			}
			if got := s.introspect(watch, live); !got.active() {
				if survives {
					t.Errorf("introspection needs no space: %d %s (%v)", got.status, got.body, got.err)
				}
				got.undecided(t, "introspect", decidedWithin)
			}
		}
	})
	alive := false
	eventually(t, 30*time.Second, "see whether PostgreSQL lives", func() bool { // after a panic it tries to start again
		conn, err := connect(t, postgres.URL())
		if alive = err == nil; alive {
			_ = conn.Close()
		}
		return alive || !accepts(postgres.Addr())
	})
	if alive != survives {
		t.Errorf("PostgreSQL lives on: %t, want %t", alive, survives)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if !alive {
		postgres.Kill() // in case that something of it is left
		postgres.Start()
	}
	took := eventually(t, backWithin, "revoke again", revoke)
	t.Logf("%d revocations before, %d while it was full, PostgreSQL lived on: %t; revokes again after %v",
		acknowledged, len(revoked)-acknowledged-1, alive, took.Round(time.Millisecond))
	holds := func(when string) {
		for _, s := range []*server{a, b} {
			eventually(t, backWithin, "answer "+when, func() bool { return s.introspect(watch, live).active() })
			for _, token := range slices.Concat(revoked[:min(20, len(revoked))], sample(revoked)) {
				eventually(t, backWithin, "answer "+when, func() bool {
					got := s.introspect(watch, token)
					if got.active() {
						t.Fatalf("%s: a revoked token is active", when)
					}
					if !got.inactive() {
						got.undecided(t, "introspect a revoked token "+when, decidedWithin)
					}
					return got.inactive()
				})
			}
		}
	}
	holds("with space")
	postgres.Kill()
	postgres.Start()
	holds("after a crash")
}

// mounted puts a directory of PostgreSQL's data on a small file system, and returns the path of a file on it to fill.
func mounted(t *testing.T, postgres *pgtest.Server, directory, size string) string {
	t.Helper()
	var data string
	if err := session(t, postgres.URL()).QueryRowContext(t.Context(), "SHOW data_directory").Scan(&data); err != nil {
		t.Fatal(err)
	}
	postgres.Stop()
	dir := filepath.Join(data, directory)
	before := dir + "-before"
	if err := os.Rename(dir, before); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, size); err != nil {
		daemon.Lack(t, "cannot mount a file system: "+err.Error())
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	t.Cleanup(postgres.Stop) // which removes what a killed one leaves to the data on it
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", before+"/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("copy PostgreSQL's data: %v %s", err, out)
	}
	if err := os.RemoveAll(before); err != nil {
		t.Fatal(err)
	}
	postgres.Start()
	return filepath.Join(dir, "ballast")
}
