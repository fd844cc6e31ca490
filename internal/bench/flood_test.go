package bench_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/bench"
	"github.com/seed-1972b8eb/signet/internal/credential"
)

// BenchmarkFlood is how long clients with the right secret wait while somebody sends 200 wrong secrets a second for the same
// client and from the same address (ATTACKS G10).
func BenchmarkFlood(b *testing.B) {
	const perSecond = 200
	seconds := number(b, "BENCH_FLOOD_SECONDS", 5)
	onPostgres, _ := postgres(b)
	for _, x := range []target{sqlite(b), onPostgres} {
		good := bench.Load{Conns: 2, Requests: seconds * 50, PerSecond: 50, Request: bench.Always(x.token()), Want: 200}
		x.run(b, good)
		_, calm := x.run(b, good)
		wrong := bench.Post(x.address, "/oauth2/token", x.id, credential.New(credential.ClientSecret).Reveal(), form)
		flood := bench.Load{Address: x.address, Conns: 4, Requests: seconds * perSecond, PerSecond: perSecond, Request: bench.Always(wrong)}
		var flooded []time.Duration
		ended := make(chan error, 1)
		go func() {
			_, err := flood.Run(b.Context())
			ended <- err
		}()
		_, flooded = x.run(b, good)
		if err := <-ended; err != nil {
			b.Fatal(err)
		}
		p99 := bench.Percentile(flooded, 99)
		b.ReportMetric(milliseconds(p99), unit(x.name)+"-p99-ms")
		table.Add(fmt.Sprintf("p99 of right secrets under %d wrong ones a second, %s", perSecond, x.name),
			micros(p99)+" (without: "+micros(bench.Percentile(calm, 99))+")", "50 ms")
	}
}
