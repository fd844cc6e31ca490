package sqlstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis/apistest"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients/clientstest"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/keys/keystest"
	"github.com/seed-1972b8eb/signet/internal/registry"
	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/revocations/revocationstest"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

func TestClientStore(t *testing.T) {
	t.Parallel()
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			clientstest.Run(t, func(t *testing.T) clientstest.Fixture {
				db, store := served(t, fresh(t, driver))
				return clientstest.Fixture{
					Clients: db.Clients(), APIs: db.APIs(), Revocations: store, Trail: db.Trail(), Usage: db.Usage(),
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
				db, store := served(t, fresh(t, driver))
				return apistest.Fixture{APIs: db.APIs(), Clients: db.Clients(), Revocations: store, Trail: db.Trail()}
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

// TestKeysByPostgresClock gives PostgreSQL a clock that is a day behind this process': keys go by it.
func TestKeysByPostgresClock(t *testing.T) {
	t.Parallel()
	config := fresh(t, "postgres")
	migrated(t, config)
	execute(
		t, dial(t, config), "CREATE SCHEMA behind",
		"CREATE FUNCTION behind.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS "+
			"$$SELECT pg_catalog.clock_timestamp() - interval '25 hours'$$",
		"DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = behind, pg_catalog, public', current_database()); END$$",
	)
	store := open(t, config).Keys() // its connections are new
	check := func(now time.Time) {
		t.Helper()
		if behind := time.Since(now); behind < 24*time.Hour || behind > 26*time.Hour {
			t.Errorf("the set was read %v ago", behind)
		}
	}
	set, err := store.KeySet(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	check(set.Now)
	err = store.UpdateKeySet(t.Context(), func(set *keys.Set) (audit.Event, error) {
		check(set.Now)
		return audit.Event{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// bare is the store that reads and writes the truth and nothing else.
type bare struct{ revocations.Truth }

func (b bare) Revoke(ctx context.Context, r revocations.Revocation, e audit.Event) error {
	_, err := b.Record(ctx, r, e)
	return err
}

func (b bare) Confirm(context.Context) error { return nil }

func (b bare) Check(ctx context.Context, token revocations.Token) (bool, error) {
	revoked, err := b.Revoked(ctx, []revocations.Token{token})
	return err == nil && revoked[0], err
}

func (b bare) Sweep(ctx context.Context, limit int) (int, error) {
	swept, err := b.Truth.Sweep(ctx, limit)
	return swept.Revocations + len(swept.CutOffs), err
}

// served opens a database as a server does, with the store that introspection asks.
func served(t *testing.T, config sqlstore.Config) (*sqlstore.DB, revocations.Store) {
	t.Helper()
	if config.Driver == "postgres" {
		var replicated *revocations.Replicated
		config.Confirm = func(ctx context.Context) error { return replicated.Confirm(ctx) }
		db := migrated(t, config)
		replicated = revocations.NewReplicated(revocations.ReplicatedConfig{Ledger: db.Ledger()})
		return db, replicated
	}
	var memory *revocations.Memory
	config.Committed = func(_ context.Context, c registry.Commit) {
		for _, cutOff := range c.CutOffs {
			memory.Cut(cutOff)
		}
	}
	db := migrated(t, config)
	var err error
	if memory, err = revocations.NewMemory(t.Context(), db.Revocations()); err != nil {
		t.Fatal(err)
	}
	return db, memory
}

// TestTruth is the database alone.
func TestTruth(t *testing.T) {
	t.Parallel()
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			revocationstest.Run(t, func(t *testing.T) revocationstest.Fixture {
				config := fresh(t, driver)
				db := migrated(t, config)
				return revocationstest.Fixture{
					Store: bare{db.Revocations()}, Trail: db.Trail(), Peer: bare{open(t, config).Revocations()},
					Cut: func(t *testing.T, kind revocations.CutOffKind, id string, generation int64) {
						t.Helper()
						cut(t, db, kind, id, generation)
					},
					Restart: func(t *testing.T) revocations.Store { t.Helper(); return bare{open(t, config).Revocations()} },
				}
			})
		})
	}
}

// TestReplicatedOverPostgres is the set of replicas without Redis.
func TestReplicatedOverPostgres(t *testing.T) {
	t.Parallel()
	revocationstest.Run(t, func(t *testing.T) revocationstest.Fixture {
		config := fresh(t, "postgres")
		db, store := served(t, config)
		_, peer := served(t, config)
		return revocationstest.Fixture{
			Store: store, Trail: db.Trail(), Peer: peer,
			Cut: func(t *testing.T, kind revocations.CutOffKind, id string, generation int64) {
				t.Helper()
				cut(t, db, kind, id, generation)
			},
			Restart: func(t *testing.T) revocations.Store {
				t.Helper()
				_, store := served(t, config)
				return store
			},
		}
	})
}

// TestMemoryOverSQLite is the set of a single node: nothing of what the suite asks is read from the database.
func TestMemoryOverSQLite(t *testing.T) {
	t.Parallel()
	revocationstest.Run(t, func(t *testing.T) revocationstest.Fixture {
		config := fresh(t, "sqlite")
		var memory *revocations.Memory
		config.Committed = func(_ context.Context, c registry.Commit) {
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
