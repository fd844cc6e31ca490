package bench_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/bench"
	"github.com/seed-1972b8eb/signet/internal/credential"
	"github.com/seed-1972b8eb/signet/internal/rootkeys"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
)

// few is both the small number of clients and the number that fits every cache.
const few = 100

// crowd is a server on PostgreSQL with very many clients. Most of them are rows that nobody asks for; those that the load
// asks for were drawn from all of them by chance, and have real secrets.
type crowd struct {
	target
	drawn    [][]byte // requests in the order of the draw: a client may occur more than once
	distinct [][]byte // of few different clients
}

// asking is a way to ask a crowd for tokens.
type asking struct {
	name     string
	requests int // a round
	prepare  func(b *testing.B, c crowd)
	request  func(c crowd, i int) []byte // i counts on over the rounds
}

// BenchmarkClients is the median time of a token among few and among many registered clients, BENCH_CLIENTS=1000000 for
// the promised million. "Cached" asks for the same 100 clients over and over; "uncached" for 100 clients after the cache has
// been made to drop everything, so that each token costs one read, whatever the number of clients; "any" for clients by
// chance, of which few fit the cache (10,000 clients) and many do not. The crowds take turns on one connection.
func BenchmarkClients(b *testing.B) {
	many := number(b, "BENCH_CLIENTS", 50_000)
	rounds, requests := number(b, "BENCH_ROUNDS", 25)/3, number(b, "BENCH_REQUESTS", 1000)/2
	crowds := []crowd{gather(b, few, rounds*requests), gather(b, many, rounds*requests)}
	for _, a := range []asking{
		{"uncached clients", few, func(b *testing.B, c crowd) { b.Helper(); c.forget(b) }, func(c crowd, i int) []byte { return c.distinct[i%few] }},
		{"cached clients", requests, func(*testing.B, crowd) {}, func(c crowd, i int) []byte { return c.distinct[i%few] }},
		{"any clients", requests, func(*testing.B, crowd) {}, func(c crowd, i int) []byte { return c.drawn[i] }},
	} {
		p50, ratios := make([][]float64, len(crowds)), []float64{}
		for round := range rounds {
			for i, c := range crowds {
				a.prepare(b, c)
				request := func(n int) []byte { return a.request(c, round*a.requests+n) }
				_, took := c.run(b, bench.Load{Conns: 1, Requests: a.requests, Request: request, Want: 200})
				p50[i] = append(p50[i], bench.Micros(bench.Percentile(took, 50)))
			}
			ratios = append(ratios, p50[1][round]/p50[0][round])
		}
		for i, n := range []int{few, many} {
			table.Add(fmt.Sprintf("p50 of a token, %s of %d, PostgreSQL", a.name, n), bench.SpreadOf(p50[i]).String()+" µs", "")
		}
		ratio := bench.SpreadOf(ratios)
		b.ReportMetric(ratio.Median, unit(a.name)+"-ratio")
		table.Add(fmt.Sprintf("the same, %d against %d", many, few), ratio.String(), "1.2")
	}
	memory, err := bench.MemoryOf(crowds[1].pid)
	if err != nil {
		b.Fatal(err)
	}
	table.Add(fmt.Sprintf("resident memory after tokens for %d different clients of %d, PostgreSQL", len(crowds[1].distinct), many),
		fmt.Sprintf("%.1f MiB, at most %.1f MiB", bench.MiB(memory.Resident), bench.MiB(memory.Peak)), "64 MiB")
}

// forget makes the server drop every client that it has cached, as it does when it has missed changes.
func (c crowd) forget(b *testing.B) {
	b.Helper()
	pgtest.Exec(b, c.database, "UPDATE registry_epoch SET epoch = epoch + 1, floor = epoch + 1")
	time.Sleep(time.Second)
}

// gather starts a server with n clients and draws.
func gather(b *testing.B, n, draws int) crowd {
	b.Helper()
	began := time.Now()
	onPostgres, _ := postgres(b)
	c := crowd{target: onPostgres}
	content, err := os.ReadFile(filepath.Join(c.server.DataDir, "keys", "pepper.key"))
	if err != nil {
		b.Fatal(err)
	}
	set, err := rootkeys.Parse(content)
	if err != nil {
		b.Fatal(err)
	}
	pepper := credential.NewPepper(set)
	c.fill(b, n)
	secrets := map[int]credential.Secret{}
	var updates strings.Builder
	for len(c.drawn) < draws || len(c.distinct) < few {
		i := 1 + rand.IntN(n)
		id := fmt.Sprintf("client_%020d", i)
		secret, drawn := secrets[i]
		if !drawn {
			secret = credential.New(credential.ClientSecret)
			secrets[i] = secret
			fmt.Fprintf(&updates, "UPDATE client_secrets SET id = '%s', digest = '%s' WHERE client_id = '%s';\n",
				secret.ID(), pepper.Digest(id, secret).Text(), id)
		}
		request := bench.Post(c.address, "/oauth2/token", id, secret.Reveal(), form)
		c.drawn = append(c.drawn, request)
		if !drawn {
			c.distinct = append(c.distinct, request)
		}
	}
	pgtest.Exec(b, c.database, updates.String())
	pgtest.Exec(b, c.database, "VACUUM ANALYZE")
	b.Logf("%d clients are registered after %v", n, time.Since(began).Round(time.Second))
	return c
}

// fill registers n clients as the registry would, each with one secret and one grant, in the database itself.
func (x target) fill(b *testing.B, n int) {
	b.Helper()
	const id, batch = "'client_' || lpad(i::text, 20, '0')", 50_000
	for from := 1; from <= n; from += batch {
		some := fmt.Sprintf(" FROM generate_series(%d, %d) i;\n", from, min(n, from+batch-1))
		pgtest.Exec(b, x.database,
			"INSERT INTO clients (id, name, owner, labels, auth_method, jwks, jwks_uri, allow_cidrs, token_ttl_ns, claims, disabled, generation, created_at, updated_at) "+
				"SELECT "+id+", 'machine ' || i, 'team ' || i % 100, '{}', 'client_secret_basic', '', '', '[]', 0, '{}', 0, 1, 1, 1"+some+
				"INSERT INTO client_secrets (id, client_id, position, hint, digest, created_at, replaced_by) "+
				"SELECT 'cs_' || lpad(i::text, 12, '0'), "+id+", 1, 'abcd', 'v1:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE', 1, ''"+some+
				"INSERT INTO client_grants SELECT "+id+", '"+api+"', '"+scope+"', 0"+some)
	}
}
