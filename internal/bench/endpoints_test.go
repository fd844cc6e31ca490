package bench_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/bench"
)

// BenchmarkOthers is what the other two endpoints cost, on both databases: CPU time of an introspection, and how long a
// caller waits for a revocation, which is durable when it is answered.
func BenchmarkOthers(b *testing.B) {
	n := number(b, "BENCH_REQUESTS", 1000)
	onPostgres, _ := postgres(b)
	for _, x := range []target{sqlite(b), onPostgres} {
		tokens := x.issue(b, 1+n/4)
		introspect := bench.Post(x.address, "/oauth2/introspect", x.id, x.secret, "token="+tokens[0])
		x.run(b, bench.Load{Requests: n / 4, Request: bench.Always(introspect), Want: 200})
		cpu, took := x.run(b, bench.Load{Requests: n, Request: bench.Always(introspect), Want: 200})
		b.ReportMetric(bench.Micros(cpu), unit(x.name)+"-µs/introspection")
		table.Add("server CPU per introspection, "+x.name, micros(cpu)+", p50 "+micros(bench.Percentile(took, 50))+" with 8 connections", "")

		revoke := func(i int) []byte {
			return bench.Post(x.address, "/oauth2/revoke", x.id, x.secret, "token="+tokens[1+i])
		}
		_, took = x.run(b, bench.Load{Conns: 1, Requests: len(tokens) - 1, Request: revoke, Want: 200})
		table.Add("revocation, one after the other, "+x.name, "p50 "+micros(bench.Percentile(took, 50))+", p99 "+micros(bench.Percentile(took, 99)), "")
	}
}

// issue gets tokens.
func (x target) issue(b *testing.B, n int) []string {
	b.Helper()
	conn, err := bench.Dial(b.Context(), x.address)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	tokens := make([]string, n)
	for i := range tokens {
		status, body, err := conn.Do(x.token())
		var answer struct {
			Token string `json:"access_token"`
		}
		if err != nil || status != http.StatusOK || json.Unmarshal(body, &answer) != nil || answer.Token == "" {
			b.Fatalf("status %d, %v", status, err)
		}
		tokens[i] = url.QueryEscape(answer.Token)
	}
	return tokens
}

func micros(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) + " µs" }
