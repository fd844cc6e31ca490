package sqlstore_test

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

func TestMigrate(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		db := open(t, config)
		status, err := db.Status(t.Context())
		if err != nil || status.Version != 0 || status.Dirty || len(status.Pending) != int(status.Latest) || status.Latest == 0 {
			t.Fatalf("Status of an empty database = %+v, %v", status, err)
		}
		if err := db.CheckSchema(t.Context()); !errors.Is(err, sqlstore.ErrSchemaOlder) {
			t.Errorf("CheckSchema = %v, want ErrSchemaOlder", err)
		}
		latest := status.Latest
		if from, to, err := db.Migrate(t.Context()); from != 0 || to != latest || err != nil {
			t.Fatalf("Migrate = %d, %d, %v", from, to, err)
		}
		if from, to, err := db.Migrate(t.Context()); from != latest || to != latest || err != nil {
			t.Errorf("second Migrate = %d, %d, %v", from, to, err)
		}
		if err := db.CheckSchema(t.Context()); err != nil {
			t.Errorf("CheckSchema = %v", err)
		}
		status, err = db.Status(t.Context())
		if diff := cmp.Diff(sqlstore.Status{Version: latest, Latest: latest}, status); diff != "" || err != nil {
			t.Errorf("Status (-want +got), %v:\n%s", err, diff)
		}
	})
}

// TestMigrateAtOnce is several replicas that start on an empty database.
func TestMigrateAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		var group sync.WaitGroup
		for range 3 {
			db := open(t, config)
			group.Go(func() {
				if _, _, err := db.Migrate(t.Context()); err != nil {
					t.Errorf("Migrate: %v", err)
				}
				if err := db.CheckSchema(t.Context()); err != nil {
					t.Errorf("CheckSchema: %v", err)
				}
			})
		}
		group.Wait()
		createClient(t, open(t, config), client("client_1"))
	})
}

func TestSchemaRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, statement string
		want            error
	}{
		{
			"newer", "INSERT INTO schema_version (version_id, is_applied) SELECT max(version_id) + 1, TRUE FROM schema_version",
			sqlstore.ErrSchemaNewer,
		},
		{"gap", "INSERT INTO schema_version (version_id, is_applied) VALUES (7, TRUE)", sqlstore.ErrSchemaDirty},
		{"not applied", "UPDATE schema_version SET is_applied = FALSE WHERE version_id = 1", sqlstore.ErrSchemaDirty},
		{"applied twice", "INSERT INTO schema_version (version_id, is_applied) VALUES (1, TRUE)", sqlstore.ErrSchemaDirty},
		{"tables of nobody", "DROP TABLE schema_version", sqlstore.ErrSchemaDirty},
	} {
		t.Run(test.name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, config sqlstore.Config) {
				db := migrated(t, config)
				if err := db.Exec(t.Context(), test.statement); err != nil {
					t.Fatal(err)
				}
				if err := db.CheckSchema(t.Context()); !errors.Is(err, test.want) {
					t.Errorf("CheckSchema = %v, want %v", err, test.want)
				}
				if _, _, err := db.Migrate(t.Context()); !errors.Is(err, test.want) {
					t.Errorf("Migrate = %v, want %v", err, test.want)
				}
			})
		})
	}
}

// TestMigrateToTrust takes a database of the first schema, with cut-offs in it, to the second, and then writes as the first
// program did and goes on doing beside the second.
func TestMigrateToTrust(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		db := open(t, config)
		if err := db.MigrateTo(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		const old = "INSERT INTO cut_offs (kind, id, generation, expires_at) VALUES ('client', ?, 2, 4000000000000000)"
		if err := db.Exec(t.Context(), old, "client_before"); err != nil {
			t.Fatal(err)
		}
		if _, to, err := db.Migrate(t.Context()); err != nil || to < 2 {
			t.Fatal(to, err)
		}
		if err := db.Exec(t.Context(), old, "client_after"); err != nil {
			t.Fatal(err)
		}
		after := map[string]string{"postgres": "0", "sqlite": "1"}[config.Driver]
		for id, want := range map[string]string{"client_before": "1", "client_after": after} {
			got, err := db.ReadText(t.Context(), true, "SELECT CAST(confirmed AS text) FROM cut_offs WHERE id = ?", id)
			if err != nil || got != want {
				t.Errorf("%s: confirmed %s (%v), want %s", id, got, err, want)
			}
		}
		trust, err := db.ReadText(t.Context(), true,
			"SELECT write_id || '|' || read_id || '|' || generation || '|' || settled FROM redis_trust")
		if err != nil || trust != "||1|1" {
			t.Errorf("trust row %s (%v)", trust, err)
		}
		for statement, why := range map[string]string{
			"INSERT INTO redis_trust VALUES (2, '', '', 1, 1)": "a second trust row",
			"UPDATE redis_trust SET settled = 2":               "a state between settled and not",
			"UPDATE cut_offs SET confirmed = 2":                "a state between confirmed and not",
		} {
			if err := db.Exec(t.Context(), statement); err == nil {
				t.Errorf("the schema takes %s", why)
			}
		}
	})
}

// TestDialectsAgree compares the migrations of both databases: the same numbers and names, and in the end the same tables
// with the same columns, or a dump of one could not be loaded into the other.
func TestDialectsAgree(t *testing.T) {
	t.Parallel()
	files := map[string][]string{}
	shape := map[string]string{}
	for _, driver := range drivers {
		names, err := fs.Glob(os.DirFS("migrations"), driver+"/*.sql")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			files[driver] = append(files[driver], path.Base(name))
		}
		db := migrated(t, fresh(t, driver))
		query := `SELECT group_concat(line, char(10)) FROM (SELECT m.name || '.' || p.name AS line FROM sqlite_master m,
			pragma_table_info(m.name) p WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name <> 'schema_version'
			ORDER BY m.name, p.cid)`
		if driver == "postgres" {
			query = `SELECT string_agg(table_name || '.' || column_name, chr(10) ORDER BY table_name COLLATE "C", ordinal_position)
				FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'schema_version'`
		}
		if shape[driver], err = db.ReadText(t.Context(), true, query); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(files["sqlite"], files["postgres"]); diff != "" {
		t.Errorf("migrations (-sqlite +postgres):\n%s", diff)
	}
	if diff := cmp.Diff(strings.Split(shape["sqlite"], "\n"), strings.Split(shape["postgres"], "\n")); diff != "" {
		t.Errorf("columns (-sqlite +postgres):\n%s", diff)
	}
}
