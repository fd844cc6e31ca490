package sqlstore_test

import (
	"testing"

	"github.com/seed-1972b8eb/signet/internal/apis/apistest"
	"github.com/seed-1972b8eb/signet/internal/clients/clientstest"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/keys/keystest"
	"github.com/seed-1972b8eb/signet/internal/registry"
	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/revocations/revocationstest"
)

func TestClientStore(t *testing.T) {
	t.Parallel()
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			clientstest.Run(t, func(t *testing.T) clientstest.Fixture {
				db := migrated(t, fresh(t, driver))
				return clientstest.Fixture{
					Clients: db.Clients(), APIs: db.APIs(), Revocations: db.Revocations(), Trail: db.Trail(), Usage: db.Usage(),
				}
			})
		})
	}
}

func TestAPIStore(t *testing.T) {
	t.Parallel()
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			apistest.Run(t, func(t *testing.T) apistest.Fixture {
				db := migrated(t, fresh(t, driver))
				return apistest.Fixture{APIs: db.APIs(), Clients: db.Clients(), Revocations: db.Revocations(), Trail: db.Trail()}
			})
		})
	}
}

func TestKeyStore(t *testing.T) {
	t.Parallel()
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			keystest.Run(t, func(t *testing.T) keys.Store { return migrated(t, fresh(t, driver)).Keys() })
		})
	}
}

func TestRevocationStore(t *testing.T) {
	t.Parallel()
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			revocationstest.Run(t, func(t *testing.T) revocationstest.Fixture {
				config := fresh(t, driver)
				db := migrated(t, config)
				return revocationstest.Fixture{
					Store: db.Revocations(), Trail: db.Trail(), Peer: open(t, config).Revocations(),
					Cut: func(t *testing.T, kind revocations.CutOffKind, id string, generation int64) {
						t.Helper()
						cut(t, db, kind, id, generation)
					},
					Restart: func(t *testing.T) revocations.Store { t.Helper(); return open(t, config).Revocations() },
				}
			})
		})
	}
}

// TestMemoryOverSQLite is the set of a single node: nothing of what the suite asks is read from the database.
func TestMemoryOverSQLite(t *testing.T) {
	t.Parallel()
	revocationstest.Run(t, func(t *testing.T) revocationstest.Fixture {
		config := fresh(t, "sqlite")
		var memory *revocations.Memory
		config.Committed = func(c registry.Commit) {
			for _, cutOff := range c.CutOffs {
				memory.Cut(cutOff)
			}
		}
		db := migrated(t, config)
		restart := func(t *testing.T) revocations.Store {
			t.Helper()
			var err error
			if memory, err = revocations.NewMemory(t.Context(), db.Revocations()); err != nil {
				t.Fatal(err)
			}
			return memory
		}
		return revocationstest.Fixture{
			Store: restart(t), Trail: db.Trail(), Restart: restart,
			Cut: func(t *testing.T, kind revocations.CutOffKind, id string, generation int64) {
				t.Helper()
				cut(t, db, kind, id, generation)
			},
		}
	})
}
