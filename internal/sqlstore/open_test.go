package sqlstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

func TestOpenUnknownDriver(t *testing.T) {
	t.Parallel()
	if _, err := sqlstore.Open(t.Context(), sqlstore.Config{Driver: "mysql"}); err == nil || !strings.Contains(err.Error(), `"mysql"`) {
		t.Errorf("Open = %v", err)
	}
}

// TestSQLiteFile opens files that are not, or no longer, what Create makes. None is repaired, replaced or created.
func TestSQLiteFile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, path string) error
		want  error
	}{
		{"missing", func(_ *testing.T, path string) error { return os.Remove(path) }, sqlstore.ErrMissing},
		{"cut to nothing", func(_ *testing.T, path string) error { return os.Truncate(path, 0) }, sqlstore.ErrCorrupt},
		{"text", func(_ *testing.T, path string) error {
			return os.WriteFile(path, []byte(strings.Repeat("not a database\n", 1000)), 0o600)
		}, sqlstore.ErrCorrupt},
		{"cut in the middle", func(_ *testing.T, path string) error { return os.Truncate(path, 40_000) }, sqlstore.ErrCorrupt},
		{"overwritten in the middle", func(_ *testing.T, path string) error {
			file, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = file.WriteAt([]byte(strings.Repeat("garbage!", 4096)), 8192)
			return errors.Join(err, file.Close())
		}, sqlstore.ErrCorrupt},
		{"somebody else's", func(t *testing.T, path string) error {
			db := open(t, sqlstore.Config{Driver: "sqlite", Path: path})
			return errors.Join(db.Exec(t.Context(), "PRAGMA application_id = 1"),
				db.Exec(t.Context(), "PRAGMA wal_checkpoint(TRUNCATE)"))
		}, sqlstore.ErrCorrupt},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			config := fresh(t, "sqlite")
			db, err := sqlstore.Open(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := db.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			for id := range strings.SplitSeq("abcdefghij", "") {
				createClient(t, db, client("client_"+id))
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if err := test.spoil(t, config.Path); err != nil {
				t.Fatal(err)
			}
			before, beforeErr := os.ReadFile(config.Path)
			if _, err := sqlstore.Open(t.Context(), config); !errors.Is(err, test.want) {
				t.Fatalf("Open = %v, want %v", err, test.want)
			}
			after, afterErr := os.ReadFile(config.Path)
			if string(before) != string(after) || (beforeErr == nil) != (afterErr == nil) {
				t.Error("Open changed the file that it refused")
			}
		})
	}
}

func TestCreateSQLite(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "with space ü #1?x=%41&mode=memory")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	config := sqlstore.Config{Driver: "sqlite", Path: filepath.Join(dir, "signet.db")}
	if err := sqlstore.Create(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	db := migrated(t, config)
	createClient(t, db, client("client_1"))
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		t.Fatal(entries, err)
	}
	for _, entry := range entries { // the database, its write-ahead log and its shared memory
		if info, err := entry.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", entry.Name(), info.Mode(), err)
		}
	}
	if err := sqlstore.Create(t.Context(), config); !errors.Is(err, sqlstore.ErrExists) {
		t.Errorf("second Create = %v, want ErrExists", err)
	}
	if _, err := db.Clients().Client(t.Context(), "client_1"); err != nil {
		t.Errorf("after the second Create: %v", err)
	}
	config.Path = filepath.Join(dir, "none", "signet.db")
	if err := sqlstore.Create(t.Context(), config); err == nil {
		t.Error("Create made a directory")
	}
}

func TestSQLiteSettings(t *testing.T) {
	t.Parallel()
	db := migrated(t, fresh(t, "sqlite"))
	for _, write := range []bool{true, false} {
		for pragma, want := range map[string]string{
			"journal_mode": "wal", "synchronous": "2", "busy_timeout": "1000", "foreign_keys": "1", "trusted_schema": "0",
		} {
			if got, err := db.ReadText(t.Context(), write, "PRAGMA "+pragma); err != nil || got != want {
				t.Errorf("writing %v: %s = %s, %v; want %s", write, pragma, got, err, want)
			}
		}
	}
	if err := db.ExecReading(t.Context(), "DELETE FROM meta"); err == nil {
		t.Error("the reading handle writes")
	}
}

// TestPostgresSettings gives the database defaults that would break promises: the connection's own settings win.
func TestPostgresSettings(t *testing.T) {
	t.Parallel()
	config := fresh(t, "postgres")
	db := open(t, config)
	name, err := db.ReadText(t.Context(), true, "SELECT current_database()")
	if err != nil {
		t.Fatal(err)
	}
	for _, setting := range []string{"synchronous_commit = off", "statement_timeout = 0", "idle_in_transaction_session_timeout = 0"} {
		if err := db.Exec(t.Context(), "ALTER DATABASE "+name+" SET "+setting); err != nil {
			t.Fatal(err)
		}
	}
	db = open(t, config)
	for setting, want := range map[string]string{
		"synchronous_commit": "on", "statement_timeout": "5s", "idle_in_transaction_session_timeout": "5s",
	} {
		if got, err := db.ReadText(t.Context(), true, "SHOW "+setting); err != nil || got != want {
			t.Errorf("%s = %s, %v; want %s", setting, got, err, want)
		}
	}
}

func TestPostgresWithoutFsync(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, "fsync=off")
	config := sqlstore.Config{Driver: "postgres", URL: server.URL()}
	if _, err := sqlstore.Open(t.Context(), config); !errors.Is(err, sqlstore.ErrNotDurable) {
		t.Errorf("Open = %v, want ErrNotDurable", err)
	}
	if err := sqlstore.Create(t.Context(), config); !errors.Is(err, sqlstore.ErrNotDurable) {
		t.Errorf("Create = %v, want ErrNotDurable", err)
	}
	config.InsecureSkipFsyncCheck = true
	migrated(t, config)
}

// TestPostgresErrors makes sure that no error prints the password.
func TestPostgresErrors(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"postgres://signet:hunter2secret@127.0.0.1:1/signet?sslmode=disable",
		"postgres://signet:hunter2secret@127.0.0.1:99999/signet",
		"postgres://signet:hunter2secret@127.0.0.1:1/signet?sslmode=nonsense",
		"postgres://signet:hunter2secret%zz@127.0.0.1:1/signet",
		"postgres://signet:hunter2secret @127.0.0.1:1/ signet",
		"host=127.0.0.1 port=1 password=hunter2secret sslmode=nonsense",
	} {
		_, err := sqlstore.Open(t.Context(), sqlstore.Config{Driver: "postgres", URL: url})
		if err == nil {
			t.Errorf("Open(%s) worked", url)
			continue
		}
		if strings.Contains(err.Error(), "hunter2secret") {
			t.Errorf("the error holds the password: %v", err)
		}
	}
}
