package app_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/app"
	"github.com/seed-1972b8eb/signet/internal/config"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

// TestInitAtOnce lets several make a server on one empty database, each with root keys of its own: one does, and what it
// leaves is whole.
func TestInitAtOnce(t *testing.T) {
	t.Parallel()
	url := filepath.Join(t.TempDir(), "url")
	postgres := pgtest.Start(t).URL()
	if err := os.WriteFile(url, []byte(postgres), 0o600); err != nil {
		t.Fatal(err)
	}
	// With the schema there, nothing else makes them wait for each other.
	db, err := sqlstore.Open(t.Context(), sqlstore.Config{Driver: "postgres", URL: postgres})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	sites := make([]site, 4)
	errs := make([]error, len(sites))
	var work sync.WaitGroup
	for i := range sites {
		sites[i] = unmade(t).with("database.driver", string(config.Postgres), "database.url.file", url)
		work.Go(func() { errs[i] = sites[i].init(t) })
	}
	work.Wait()
	made := 0
	for i, err := range errs {
		if err != nil {
			continue
		}
		made++
		if err := app.CheckInitialised(t.Context(), sites[i].config(t)); err != nil {
			t.Errorf("what the one that succeeded has made: %v", err)
		}
		sites[i].opened(t) // unseals every signing key
	}
	if made != 1 {
		t.Errorf("%d of %d have made a server: %v", made, len(sites), errs)
	}
}
