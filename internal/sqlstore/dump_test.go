package sqlstore_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/credential"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
	"github.com/seed-1972b8eb/signet/internal/usage"
)

// dump returns a dump as lines of JSON, as a backup would hold it, without the registry's epoch, which a restore changes.
func dump(t *testing.T, db *sqlstore.DB) string {
	t.Helper()
	var out bytes.Buffer
	err := db.Dump(t.Context(), func(table string, row map[string]any) error {
		if table == "registry_epoch" {
			return nil
		}
		return json.NewEncoder(&out).Encode(sqlstore.Row{Table: table, Values: row})
	})
	if err != nil {
		t.Fatalf("Dump: %v", err)
	}
	return out.String()
}

const epochLine = `{"Table":"registry_epoch","Values":{"one":1,"epoch":50,"floor":0,"keys_version":1}}` + "\n"

// rows reads lines of JSON back.
func rows(text string) iter.Seq2[sqlstore.Row, error] {
	return func(yield func(sqlstore.Row, error) bool) {
		in := json.NewDecoder(strings.NewReader(text))
		in.UseNumber()
		for {
			var row sqlstore.Row
			err := in.Decode(&row)
			if errors.Is(err, io.EOF) || !yield(row, err) {
				return
			}
		}
	}
}

// filled returns a database with something in every table.
func filled(t *testing.T, config sqlstore.Config) *sqlstore.DB {
	t.Helper()
	db := migrated(t, config)
	createOrders(t, db)
	for i := range 3 {
		c := client(fmt.Sprint("client_", i))
		c.Labels = map[string]string{"team": "ä\"\\"}
		c.Grants = []clients.Grant{{API: orders, Scopes: []string{"read", "write"}, Defaults: []string{"read"}}}
		c.Introspects = []string{orders}
		c.ExpiresAt = now().Add(time.Hour)
		c.Secrets = []clients.Secret{{ID: fmt.Sprint("cs_", i), Digest: credential.Digest{Pepper: 1, Sum: [32]byte{1}}}}
		createClient(t, db, c)
	}
	cut(t, db, revocations.ByClient, "client_gone", revocations.Everything)
	cut(t, db, revocations.ByKey, "kid", 0)
	err := errors.Join(
		db.SetMeta(t.Context(), "issuer", "https://as.test"),
		record(t.Context(), db, hour("j"), event("token.revoke")),
		db.Assertions().Use(t.Context(), "client_1", "j", now().Add(time.Hour)),
		db.Usage().AddUsage(t.Context(), usage.Batch{
			Tokens:  map[usage.Key]int64{{ClientID: "client_1", API: orders, Day: "2026-02-03"}: 5},
			Clients: map[string]time.Time{"client_1": now()},
		}),
		db.Keys().UpdateKeySet(t.Context(), func(s *keys.Set) (audit.Event, error) {
			s.Keys = append(s.Keys, keys.Record{
				KID: "kid-2", Alg: "ES256", State: keys.Active, PublicJWK: []byte(`{}`), Sealed: []byte{0, 1, 255}, MasterVersion: 2,
			})
			return event("key.import"), nil
		}),
	)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// TestDumpAndLoad moves everything from each database to each.
func TestDumpAndLoad(t *testing.T) {
	t.Parallel()
	for _, from := range drivers {
		for _, to := range drivers {
			t.Run(from+" to "+to, func(t *testing.T) {
				t.Parallel()
				source := filled(t, fresh(t, from))
				want := dump(t, source)
				if tables := strings.Count(want, `{"Table"`); tables < 15 {
					t.Fatalf("%d rows are too few to prove anything:\n%s", tables, want)
				}
				target := open(t, fresh(t, to))
				if err := target.Load(t.Context(), latest(t, target), rows(epochLine+want)); err != nil {
					t.Fatalf("Load: %v", err)
				}
				if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(dump(t, target), "\n")); diff != "" {
					t.Errorf("what came back (-want +got):\n%s", diff)
				}
				// Life goes on: caches of the time before are told to drop everything, new events come after the old.
				if at, _, complete := epoch(t, target, 50); complete || at < 1000 {
					t.Errorf("epoch %d, complete %v", at, complete)
				}
				before, err := target.Trail().Events(t.Context(), audit.Filter{Limit: 1})
				if err != nil || len(before) != 1 {
					t.Fatal(before, err)
				}
				cut(t, target, revocations.ByClient, "client_1", 9)
				after, err := target.Trail().Events(t.Context(), audit.Filter{Limit: 1})
				if err != nil || len(after) != 1 || after[0].ID <= before[0].ID {
					t.Errorf("a new event is %v, the last one was %v, %v", after, before, err)
				}
			})
		}
	}
}

// latest is the schema version of this program.
func latest(t *testing.T, db *sqlstore.DB) int64 {
	t.Helper()
	status, err := db.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return status.Latest
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	const key = `{"Table":"meta","Values":{"key":"issuer","value":"x"}}` + "\n"
	for _, test := range []struct {
		name    string
		version int64
		rows    iter.Seq2[sqlstore.Row, error]
		want    string
	}{
		{"a later schema", 99, rows(epochLine), "newer"},
		{"no version", 0, rows(epochLine), "no schema version"},
		{"an unknown table", 1, rows(epochLine + key + `{"Table":"users","Values":{}}`), `unknown table "users"`},
		{"a table of the schema that no dump has", 1, rows(`{"Table":"schema_version","Values":{"version_id":9}}`), "unknown table"},
		{"the trust of other processes in a Redis", 2, rows(epochLine + key + `{"Table":"redis_trust","Values":{}}`), "unknown table"},
		{"an unknown column", 1, rows(epochLine + key + `{"Table":"meta","Values":{"key\" text); --":1}}`), "unknown column"},
		{"no epoch", 1, rows(key), "not whole"},
		{"a broken line", 1, rows(epochLine + key + "{"), "read dump"},
		{"two rows of one key", 1, rows(epochLine + key + key), "insert into meta"},
		{"a number that lost digits", 1, listed(sqlstore.Row{Table: "registry_epoch", Values: map[string]any{"epoch": 1.0}}), "float64"},
	} {
		t.Run(test.name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, config sqlstore.Config) {
				db := open(t, config)
				err := db.Load(t.Context(), test.version, test.rows)
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("Load = %v, want %q", err, test.want)
				}
				// Nothing stayed, and a good dump can still be loaded by the next process.
				db = open(t, config)
				if err := db.Load(t.Context(), latest(t, db), rows(epochLine+key)); err != nil {
					t.Errorf("Load after the refusal: %v", err)
				}
			})
		})
	}
}

func listed(all ...sqlstore.Row) iter.Seq2[sqlstore.Row, error] {
	return func(yield func(sqlstore.Row, error) bool) {
		for row := range slices.Values(all) {
			if !yield(row, nil) {
				return
			}
		}
	}
}

// TestLoadOfTheFirstSchema loads a dump that was made before cut-offs could be unconfirmed.
func TestLoadOfTheFirstSchema(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		db := open(t, config)
		const line = `{"Table":"cut_offs","Values":{"kind":"client","id":"client_1","generation":2,"expires_at":4000000000000000}}`
		if err := db.Load(t.Context(), 1, rows(epochLine+line)); err != nil {
			t.Fatal(err)
		}
		confirmed, err := db.ReadText(t.Context(), true, "SELECT CAST(confirmed AS text) FROM cut_offs")
		if err != nil || confirmed != "1" {
			t.Errorf("confirmed %s (%v), want 1", confirmed, err)
		}
	})
}

func TestLoadIntoSomething(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		db := filled(t, config)
		want := dump(t, db)
		if err := db.Load(t.Context(), latest(t, db), rows(epochLine)); !errors.Is(err, sqlstore.ErrNotEmpty) {
			t.Errorf("Load = %v, want ErrNotEmpty", err)
		}
		if diff := cmp.Diff(want, dump(t, db)); diff != "" {
			t.Errorf("the refused Load changed something:\n%s", diff)
		}
	})
}

// TestFinishRestoreTrustsNoRedis: what a Redis or a running replica has of the lost database says nothing about this one, even
// where both have counted as far.
func TestFinishRestoreTrustsNoRedis(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		db := migrated(t, config)
		before := time.Now().Unix()
		for _, generation := range []int64{3, before + 1000} {
			err := db.Exec(t.Context(), "UPDATE redis_trust SET write_id = 'r', read_id = 'r', settled = 1, generation = ?", generation)
			if err != nil {
				t.Fatal(err)
			}
			if err := db.FinishRestore(t.Context(), "https://auth.test", true, event("restore")); err != nil {
				t.Fatal(err)
			}
			got, err := db.ReadText(t.Context(), true, "SELECT write_id || read_id || settled || ' ' || generation FROM redis_trust")
			var reached int64
			if _, scanned := fmt.Sscanf(got, "0 %d", &reached); err != nil || scanned != nil || reached <= generation || reached < before {
				t.Errorf("trust after generation %d: %q, %v", generation, got, err)
			}
		}
	})
}

// TestFinishRestore restores one backup twice: no token of the lost databases lives, not even those that were issued
// under generations that the backup does not know.
func TestFinishRestore(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		db := filled(t, config)
		cut(t, db, revocations.ByClient, "client_2", 20)
		cut(t, db, revocations.ByClient, "client_0", revocations.Everything/2)
		if err := db.FinishRestore(t.Context(), "https://auth.test", false, event("restore")); err != nil {
			t.Fatal(err)
		}
		for id, generations := range map[string][]int64{
			"client_1": {1, 2, 1000}, "client_2": {20, 21}, "client_0": {revocations.Everything / 2},
		} {
			c, err := db.Clients().Client(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			for _, generation := range append(generations, c.Generation-1, c.Generation) {
				got, err := check(t.Context(), db, revocations.Token{ClientID: id, Generation: generation})
				if want := generation < c.Generation; err != nil || got != want {
					t.Errorf("%s at %d: generation %d is revoked: %v, %v", id, c.Generation, generation, got, err)
				}
			}
		}
		before, err := db.Clients().Client(t.Context(), "client_1")
		if err != nil {
			t.Fatal(err)
		}
		if err := db.FinishRestore(t.Context(), "https://auth.test", true, event("restore")); err != nil {
			t.Fatal(err)
		}
		if after, err := db.Clients().Client(t.Context(), "client_1"); err != nil || after.Generation != before.Generation {
			t.Errorf("nothing was lost, but the generation went from %d to %d (%v)", before.Generation, after.Generation, err)
		}
		if meta, err := db.Meta(t.Context()); err != nil || meta["issuer"] != "https://auth.test" {
			t.Errorf("settings %v, %v", meta, err)
		}
		events, err := db.Trail().Events(t.Context(), audit.Filter{Action: "restore"})
		if err != nil || len(events) != 2 {
			t.Errorf("%d events, %v", len(events), err)
		}
	})
}
