package bench_test

import (
	"fmt"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/bench"
)

// BenchmarkMemory is what a server on SQLite holds in RAM after many tokens: BENCH_TOKENS=1000000 for the promised million.
func BenchmarkMemory(b *testing.B) {
	tokens := number(b, "BENCH_TOKENS", 30_000)
	x := sqlite(b)
	fresh, err := bench.MemoryOf(x.pid)
	if err != nil {
		b.Fatal(err)
	}
	x.run(b, bench.Load{Requests: tokens, Request: bench.Always(x.token()), Want: 200})
	after, err := bench.MemoryOf(x.pid)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(bench.MiB(after.Peak), "peak-MiB")
	table.Add("resident memory at the start", fmt.Sprintf("%.1f MiB", bench.MiB(fresh.Resident)), "")
	table.Add(fmt.Sprintf("resident memory after %d tokens", tokens),
		fmt.Sprintf("%.1f MiB, at most %.1f MiB", bench.MiB(after.Resident), bench.MiB(after.Peak)), "64 MiB after a million")
}
