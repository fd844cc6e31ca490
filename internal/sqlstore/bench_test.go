package sqlstore_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

// registered opens a database with n clients that have a secret and two granted scopes each.
func registered(b *testing.B, driver string, n int) *sqlstore.DB {
	b.Helper()
	config := sqlstore.Config{Driver: driver, Path: filepath.Join(b.TempDir(), "signet.db"), InsecureSkipFsyncCheck: true}
	if driver == "postgres" {
		config.URL = pgtest.Open(b)
	} else if err := sqlstore.Create(b.Context(), config); err != nil {
		b.Fatal(err)
	}
	db, err := sqlstore.Open(b.Context(), config)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	if _, _, err := db.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	numbers := "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) "
	statements := []string{
		"INSERT INTO apis VALUES ('" + orders + "', 'Orders', 'ES256', 'at+jwt', 60000000000, 0, 0, 0)",
		"INSERT INTO api_scopes VALUES ('" + orders + "', 'read', '', '', 'action', '[]', 0), ('" + orders + "', 'write', '', '', 'action', '[]', 0)",
	}
	for from := 0; from < n; from += 10_000 {
		id := fmt.Sprintf("'client_' || (i + %d)", from)
		where := fmt.Sprintf(" FROM n WHERE i + %d <= %d", from, n)
		statements = append(statements,
			"INSERT INTO clients (id, name, owner, labels, auth_method, jwks, jwks_uri, allow_cidrs, token_ttl_ns, claims, disabled, generation) "+
				numbers+"SELECT "+id+", 'name of ' || "+id+", '', '{}', 'client_secret_basic', '', '', '[]', 0, '{}', 0, 1"+where,
			"INSERT INTO client_secrets (id, client_id, position, hint, digest, created_at, replaced_by) "+
				numbers+"SELECT 'cs_' || "+id+", "+id+", 1, 'abcd', 'v1:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE', 1, ''"+where,
			"INSERT INTO client_grants "+numbers+"SELECT "+id+", '"+orders+"', s.name, 0 FROM n, api_scopes s WHERE i + "+
				fmt.Sprintf("%d <= %d", from, n),
			"INSERT INTO last_used "+numbers+"SELECT "+id+", 1"+where)
	}
	exec := func(statement string) error { return db.Exec(b.Context(), statement) }
	if driver == "postgres" { // past the limits on statements that the store's own connections have
		conn, err := pgx.Connect(b.Context(), config.URL)
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = conn.Close(b.Context()) }()
		exec = func(statement string) error {
			_, err := conn.Exec(b.Context(), statement)
			return err
		}
		statements = append(append([]string{"SET session_replication_role = replica"}, statements...), "VACUUM")
	}
	for _, statement := range append(statements, "ANALYZE") {
		if err := exec(statement); err != nil {
			b.Fatal(err)
		}
	}
	return db
}

// BenchmarkClient is what a miss of the registry's cache costs among few and among many clients.
func BenchmarkClient(b *testing.B) {
	for _, driver := range drivers {
		for _, n := range []int{100, 1_000_000} {
			b.Run(fmt.Sprint(driver, "/", n), func(b *testing.B) {
				db := registered(b, driver, n)
				var took []time.Duration
				b.ReportAllocs()
				for b.Loop() {
					id := fmt.Sprint("client_", 1+rand.IntN(n))
					start := time.Now()
					if _, err := db.Clients().Client(b.Context(), id); err != nil {
						b.Fatal(err)
					}
					took = append(took, time.Since(start))
				}
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			})
		}
	}
}

// BenchmarkPoll is what each replica does every 200 ms, BenchmarkCheck what each introspection does on PostgreSQL.
func BenchmarkPoll(b *testing.B) {
	for _, driver := range drivers {
		b.Run(driver, func(b *testing.B) {
			db := registered(b, driver, 100)
			for b.Loop() {
				if _, err := db.Source().Poll(b.Context(), 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	for _, driver := range drivers {
		b.Run(driver, func(b *testing.B) {
			db := registered(b, driver, 100)
			for b.Loop() {
				_, err := check(b.Context(), db, revocations.Token{JTI: "j", ClientID: "client_1", KID: "k", Generation: 1})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
