package sqlstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

// TestPostgresStandby turns the server behind an address into a standby, as a failover to the wrong one does: what it has may
// lack what the primary acknowledged. It is refused at the start, and by a program that was running before.
func TestPostgresStandby(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, "wal_level=replica", "hot_standby=on")
	config := sqlstore.Config{Driver: "postgres", URL: server.URL()}
	db := migrated(t, config)
	dir, err := db.ReadText(t.Context(), false, "SHOW data_directory")
	if err != nil {
		t.Fatal(err)
	}
	server.Stop()
	if err := os.WriteFile(filepath.Join(dir, "standby.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	server.Start()
	if _, err := sqlstore.Open(t.Context(), config); !errors.Is(err, sqlstore.ErrRecovery) {
		t.Errorf("Open = %v, want ErrRecovery", err)
	}
	if err := sqlstore.Create(t.Context(), config); !errors.Is(err, sqlstore.ErrRecovery) {
		t.Errorf("Create = %v, want ErrRecovery", err)
	}
	// The first call after the failover may find only that its old connection is gone.
	for range 3 {
		if err = db.Ping(t.Context()); err == nil {
			t.Error("the pool answers from a standby")
		}
	}
	if !errors.Is(err, sqlstore.ErrRecovery) {
		t.Errorf("Ping = %v, want ErrRecovery", err)
	}
}
