package bench_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/bench"
)

// BenchmarkWrites counts in PostgreSQL what is written while tokens are issued: transactions of the whole server that wrote
// anything, against the one flush of usage per 10 s.
func BenchmarkWrites(b *testing.B) {
	const flushEvery = 10 * time.Second
	tokens := number(b, "BENCH_WRITES_TOKENS", 20_000)
	x, server := postgres(b)
	transactions, rows, began := server.Transactions(b), server.Writes(b), time.Now()
	x.run(b, bench.Load{Requests: tokens, Request: bench.Always(x.token()), Want: 200})
	time.Sleep(flushEvery) // so that the last flush is in the count
	took := time.Since(began)
	transactions, rows = server.Transactions(b)-transactions, server.Writes(b)-rows
	b.ReportMetric(float64(transactions), "transactions")
	table.Add(fmt.Sprintf("writing transactions during %d tokens in %.0f s, PostgreSQL", tokens, took.Seconds()),
		fmt.Sprintf("%d transactions, %d rows", transactions, rows), fmt.Sprintf("%d flushes of one transaction, 3 rows each", int(took/flushEvery)+1))
}
