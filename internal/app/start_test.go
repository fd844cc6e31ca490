package app_test

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/app"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/rootkeys"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

// sqlite changes the site's database behind its back.
func (s site) sqlite(t *testing.T, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", s.path("signet.db")) // the driver that sqlstore has registered
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// replace puts another root key in the place of one.
func (s site) replace(t *testing.T, name string) {
	t.Helper()
	if err := os.WriteFile(s.path(name), rootkeys.Generate().Reveal(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestStartRefused spoils one thing of a site that would start.
func TestStartRefused(t *testing.T) {
	t.Parallel()
	unusable := func(err error) bool {
		_, ok := errors.AsType[*keys.UnusableError](err)
		return ok
	}
	for name, test := range map[string]struct {
		spoil func(t *testing.T, s site)
		is    func(error) bool
	}{
		"another issuer": {
			func(_ *testing.T, s site) { s.flags["issuer"] = "http://127.0.0.2" },
			func(err error) bool { return errors.Is(err, app.ErrIssuer) },
		},
		"database of no issuer": {
			func(t *testing.T, s site) { s.sqlite(t, "DELETE FROM meta") },
			func(err error) bool { return errors.Is(err, app.ErrIssuer) },
		},
		"another master key": {
			func(t *testing.T, s site) { s.replace(t, "keys/master.key") },
			unusable,
		},
		"another pepper": {
			func(t *testing.T, s site) { s.replace(t, "keys/pepper.key") },
			func(err error) bool { return errors.Is(err, app.ErrPepper) },
		},
		"active key damaged": {
			func(t *testing.T, s site) { s.sqlite(t, "UPDATE signing_keys SET sealed = 'AAAA'") },
			unusable,
		},
		"newer schema": {func(t *testing.T, s site) {
			s.sqlite(t, "INSERT INTO schema_version (version_id, is_applied) SELECT max(version_id) + 1, 1 FROM schema_version")
		}, func(err error) bool { return errors.Is(err, sqlstore.ErrSchemaNewer) }},
		"no database": {func(t *testing.T, s site) {
			if err := os.Remove(s.path("signet.db")); err != nil {
				t.Fatal(err)
			}
		}, func(err error) bool { return errors.Is(err, sqlstore.ErrMissing) }},
		"no data directory": {
			func(_ *testing.T, s site) { s.flags["data_dir"] += "/gone" },
			func(err error) bool { return err != nil && strings.Contains(err.Error(), "signet init") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := made(t)
			test.spoil(t, s)
			if _, err := s.open(t); !test.is(err) {
				t.Errorf("New = %v", err)
			}
			// What New refuses it also lets go: the lock of the data directory, above all.
			if _, err := s.open(t); errors.Is(err, app.ErrLocked) {
				t.Errorf("second New = %v", err)
			}
		})
	}
}

// TestStartWithUselessOldKey: a key that does not sign now is no reason to be down.
func TestStartWithUselessOldKey(t *testing.T) {
	t.Parallel()
	s := made(t)
	s.sqlite(t, `INSERT INTO signing_keys SELECT 'old', alg, 'retiring', public_jwk, 'AAAA', master_version, created_at, published_at,
		activated_at, created_at, NULL FROM signing_keys WHERE state = 'active'`)
	a := s.opened(t)
	register(t, a, "nightly").token(t, a)
}

// TestDataDirectoryIsLocked: with SQLite the revocations in memory are right only while nobody else writes (DESIGN.md §7).
func TestDataDirectoryIsLocked(t *testing.T) {
	t.Parallel()
	s := made(t)
	a, err := s.open(t)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.open(t); !errors.Is(err, app.ErrLocked) {
		t.Errorf("second New = %v, want ErrLocked", err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	s.opened(t)
}

// TestInitMakesNothingTwice: init never touches what is there.
func TestInitMakesNothingTwice(t *testing.T) {
	t.Parallel()
	s := made(t)
	for _, name := range []string{"", "keys/pepper.key", "keys/master.key"} {
		if name != "" { // one after the other is gone, and the rest is still reason enough
			if err := os.Remove(s.path(name)); err != nil {
				t.Fatal(err)
			}
		}
		before := s.files(t)
		if err := s.init(t); !errors.Is(err, app.ErrInitialised) {
			t.Errorf("without %q: Init = %v, want ErrInitialised", name, err)
		}
		if after := s.files(t); after != before {
			t.Errorf("without %q: Init changed\n%s\nto\n%s", name, before, after)
		}
	}
}

// TestFailedInitTakesBack: a pepper that is not there must not leave a master key behind, which would refuse the next init.
func TestFailedInitTakesBack(t *testing.T) {
	t.Parallel()
	s := unmade(t)
	s.flags["keys.pepper.env"] = "SIGNET_TEST_NO_SUCH_PEPPER"
	if err := s.init(t); err == nil || !strings.Contains(err.Error(), "pepper") {
		t.Fatalf("Init = %v, want one about the pepper", err)
	}
	if files := s.files(t); files != "" {
		t.Errorf("left behind:\n%s", files)
	}
	delete(s.flags, "keys.pepper.env")
	if err := s.init(t); err != nil {
		t.Errorf("the next Init: %v", err)
	}
}

// files is a text of every file of the data directory, without what SQLite keeps beside its own.
func (s site) files(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, pattern := range []string{"*", "*/*"} {
		names, err := filepath.Glob(s.path(pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			if info.IsDir() || strings.HasSuffix(name, "-wal") || strings.HasSuffix(name, "-shm") {
				continue
			}
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all.WriteString(filepath.Base(name) + " " + string(content) + "\n")
		}
	}
	return all.String()
}
