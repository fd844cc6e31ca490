package sqlstore_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/registry"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

// drivers are what every test of this package runs on that is not about one of them.
var drivers = []string{"sqlite", "postgres"}

// onBoth runs a test once for each database, with a config that names a fresh one without a schema.
func onBoth(t *testing.T, test func(t *testing.T, config sqlstore.Config)) {
	t.Helper()
	t.Parallel()
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			test(t, fresh(t, driver))
		})
	}
}

// fresh returns a config of an empty database.
func fresh(t *testing.T, driver string) sqlstore.Config {
	t.Helper()
	if driver == "postgres" {
		// The shared test server runs without fsync; what is in it is worth nothing.
		return sqlstore.Config{Driver: driver, URL: pgtest.Open(t), MaxConns: 5, InsecureSkipFsyncCheck: true}
	}
	config := sqlstore.Config{Driver: driver, Path: filepath.Join(t.TempDir(), "signet.db")}
	if err := sqlstore.Create(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	return config
}

// open opens a database and closes it with the test.
func open(t *testing.T, config sqlstore.Config) *sqlstore.DB {
	t.Helper()
	db, err := sqlstore.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// migrated opens a database and gives it its schema.
func migrated(t *testing.T, config sqlstore.Config) *sqlstore.DB {
	t.Helper()
	db := open(t, config)
	if _, _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

// commits records what the Committed hook is told.
type commits struct {
	mu  sync.Mutex
	all []registry.Commit
}

func (c *commits) add(_ context.Context, commit registry.Commit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, commit)
}

// take returns what came since the last take.
func (c *commits) take() []registry.Commit {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.all
	c.all = nil
	return all
}
