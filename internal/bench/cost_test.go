package bench_test

import (
	"fmt"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/bench"
)

// BenchmarkServerCPU is what one ES256 token by client_credentials costs the server, against the bare handler. Everything
// is on that is on in production: metrics, refusals, throttle, usage. The three take turns, so that whatever else the
// machine does hits them alike.
func BenchmarkServerCPU(b *testing.B) {
	rounds, requests := number(b, "BENCH_ROUNDS", 25), number(b, "BENCH_REQUESTS", 1000)
	onPostgres, _ := postgres(b)
	onSQLite := sqlite(b)
	targets := []target{bare(b, onSQLite), onSQLite, onPostgres}
	micros, ratios := make([][]float64, len(targets)), make([][]float64, len(targets))
	for round := range rounds + 1 {
		for i, x := range targets {
			cpu, _ := x.run(b, bench.Load{Requests: requests, Request: bench.Always(x.token()), Want: 200})
			if round == 0 {
				continue // caches fill, the heap grows to its size
			}
			micros[i] = append(micros[i], bench.Micros(cpu))
			ratios[i] = append(ratios[i], bench.Micros(cpu)/micros[0][round-1])
		}
	}
	for i, x := range targets {
		spent := bench.SpreadOf(micros[i])
		b.ReportMetric(spent.Median, fmt.Sprintf("%s-µs/token", unit(x.name)))
		table.Add("server CPU per token, "+x.name, spent.String()+" µs", "")
		if i > 0 {
			ratio := bench.SpreadOf(ratios[i])
			b.ReportMetric(ratio.Median, unit(x.name)+"-ratio")
			table.Add("the same, against the bare handler", ratio.String(), "1.25")
		}
	}
}
