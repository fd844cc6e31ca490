package sqlstore_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

// TestChangeIsWhole takes away, one at a time, what every change writes beside its own rows: the event, the note for the
// caches and the cut-off. None is written later or not at all: the change does not happen, and nobody is told that it did.
func TestChangeIsWhole(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		hook := &commits{}
		config.Committed = hook.add
		db := migrated(t, config)
		createOrders(t, db)
		holder := client("client_1")
		holder.Grants = []clients.Grant{{API: orders, Scopes: []string{"read"}}}
		createClient(t, db, holder)
		before, _, _ := epoch(t, db, 0)
		hook.take()

		both, all := []string{"audit_events", "registry_changes"}, []string{"audit_events", "registry_changes", "cut_offs"}
		for name, test := range map[string]struct {
			without []string
			do      func(context.Context) error
		}{
			"create a client": {both, func(ctx context.Context) error {
				return db.Clients().CreateClient(ctx, client("client_2"), event("client.create"))
			}},
			"cut a client off": {all, func(ctx context.Context) error {
				_, err := db.Clients().UpdateClient(ctx, "client_1", func(c *clients.Client) (audit.Event, error) {
					c.Generation++
					return event("revocation.cut-off"), nil
				})
				return err
			}},
			"delete a client": {all, func(ctx context.Context) error {
				return db.Clients().DeleteClient(ctx, "client_1", event("client.delete"))
			}},
			"delete an API": {all, func(ctx context.Context) error { return db.APIs().DeleteAPI(ctx, orders, event("api.delete")) }},
			"compromise a key": {all, func(ctx context.Context) error {
				return db.Keys().UpdateKeySet(ctx, func(s *keys.Set) (audit.Event, error) {
					s.Keys = append(s.Keys, keys.Record{KID: "kid", Alg: "ES256", State: keys.Compromised, PublicJWK: []byte("{}"), CreatedAt: now()})
					return event("key.revoke"), nil
				})
			}},
			"revoke a token": {[]string{"audit_events"}, func(ctx context.Context) error {
				return record(ctx, db, hour("j"), event("token.revoke"))
			}},
		} {
			for _, table := range test.without {
				rename(t, db, table, "elsewhere")
				if err := test.do(t.Context()); err == nil {
					t.Errorf("%s, without %s: acknowledged", name, table)
				}
				rename(t, db, "elsewhere", table)
			}
		}

		if after, changes, _ := epoch(t, db, before); after != before || len(changes) != 0 {
			t.Errorf("epoch went from %d to %d: %v", before, after, changes)
		}
		if told := hook.take(); len(told) != 0 {
			t.Errorf("the hook was told %v", told)
		}
		list, err := db.Clients().Clients(t.Context(), clients.Filter{})
		if err != nil || len(list) != 1 || list[0].Generation != 1 || len(list[0].Grants) != 1 {
			t.Errorf("clients: %+v (%v)", list, err)
		}
		if set, err := db.Keys().KeySet(t.Context()); err != nil || len(set.Keys) != 0 {
			t.Errorf("keys: %+v (%v)", set, err)
		}
		revoked, err := check(t.Context(), db, revocations.Token{JTI: "j", ClientID: "client_1", KID: "kid"})
		if err != nil || revoked {
			t.Errorf("revoked: %v (%v)", revoked, err)
		}
	})
}

func rename(t *testing.T, db *sqlstore.DB, from, to string) {
	t.Helper()
	if err := db.Exec(t.Context(), "ALTER TABLE "+from+" RENAME TO "+to); err != nil {
		t.Fatal(err)
	}
}

// TestPostgresCommitsAreFlushed lets the database itself say what holds inside the transactions that make a promise, on a
// connection whose own setting was changed behind the program's back, as a pooler between them may do.
func TestPostgresCommitsAreFlushed(t *testing.T) {
	t.Parallel()
	config := fresh(t, "postgres")
	config.MaxConns = 1
	db := migrated(t, config)
	createClient(t, db, client("client_1"))
	for _, statement := range []string{
		"CREATE TABLE noted (of text, setting text)",
		`CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO noted VALUES (TG_TABLE_NAME, current_setting('synchronous_commit')); RETURN NULL; END $$`,
		"CREATE TRIGGER note AFTER UPDATE ON registry_epoch FOR EACH ROW EXECUTE FUNCTION note()",
		"CREATE TRIGGER note AFTER INSERT ON revocations FOR EACH ROW EXECUTE FUNCTION note()",
		"CREATE TRIGGER note AFTER UPDATE ON redis_trust FOR EACH ROW EXECUTE FUNCTION note()",
		"CREATE TRIGGER note AFTER UPDATE ON cut_offs FOR EACH ROW EXECUTE FUNCTION note()",
		"SET synchronous_commit = off",
	} {
		if err := db.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	ledger := db.Ledger()
	noted := func(step, of string, do func() error) {
		t.Helper()
		if err := errors.Join(db.Exec(t.Context(), "DELETE FROM noted"), do()); err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		got, err := db.ReadText(t.Context(), true, "SELECT string_agg(of || ' ' || setting, ', ') FROM noted")
		if want := of + " on"; err != nil || got != want {
			t.Errorf("%s: synchronous_commit in the change of %s (%v), want %s", step, got, err, want)
		}
	}
	noted("a change", "registry_epoch", func() error { cut(t, db, revocations.ByClient, "client_1", 2); return nil })
	noted("Record", "revocations", func() error { return record(t.Context(), db, hour("j"), event("token.revoke")) })
	var generation int64
	noted("Publish", "redis_trust", func() error {
		var err error
		generation, err = ledger.Publish(t.Context(), "redis", 1)
		return err
	})
	noted("Complete", "redis_trust", func() error { _, err := ledger.Complete(t.Context(), "redis", generation); return err })
	noted("Settle", "redis_trust", func() error { return ledger.Settle(t.Context(), generation) })
	noted("Withdraw", "redis_trust", func() error { _, err := ledger.Withdraw(t.Context(), generation); return err })
	noted("Confirm", "cut_offs", func() error {
		return ledger.Confirm(t.Context(), []revocations.CutOff{{Kind: revocations.ByClient, ID: "client_1", Generation: 2}})
	})
	if now, err := db.ReadText(t.Context(), true, "SHOW synchronous_commit"); err != nil || now != "off" {
		t.Errorf("of the connection: %s (%v); this test proves nothing", now, err)
	}
}

// TestCutOffsOnlyRise: a cut-off that is there, from a restore or from a later program, is never lowered by one of today.
func TestCutOffsOnlyRise(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		db := migrated(t, config)
		createClient(t, db, client("client_1"))
		end := now().Add(100 * time.Hour)
		err := db.Exec(t.Context(), "INSERT INTO cut_offs (kind, id, generation, expires_at) VALUES ('client', 'client_1', 9, ?)", end.UnixMicro())
		if err != nil {
			t.Fatal(err)
		}
		cut(t, db, revocations.ByClient, "client_1", 5)
		cutOffs, err := db.Revocations().CutOffs(t.Context())
		if err != nil || len(cutOffs) != 1 || cutOffs[0].Generation != 9 || !cutOffs[0].ExpiresAt.Equal(end) {
			t.Errorf("cut-offs %+v (%v), want the one of generation 9 that ends at %v", cutOffs, err, end)
		}
	})
}
