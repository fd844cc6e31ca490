package bench_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/bench"
	"github.com/seed-1972b8eb/signet/internal/credential"
)

// BenchmarkKnownUnknown is how long a wrong secret takes for a client that exists, against one that does not: a difference would
// tell which IDs there are (docs/decisions/0008). Known and unknown take turns, answer by answer.
func BenchmarkKnownUnknown(b *testing.B) {
	const tries, each = 200, 50 // a client may fail 100 times before it is throttled
	onPostgres, _ := postgres(b)
	for _, x := range []target{sqlite(b), onPostgres} {
		conn, err := bench.Dial(b.Context(), x.address)
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		wrong := credential.New(credential.ClientSecret).Reveal()
		refused := func(id string) time.Duration {
			began := time.Now()
			if status, body, err := conn.Do(bench.Post(x.address, "/oauth2/token", id, wrong, form)); err != nil || status != http.StatusUnauthorized {
				b.Fatalf("%s: status %d %s, %v", x.name, status, body, err)
			}
			return time.Since(began)
		}
		var ids []string
		for i := range tries / each {
			id, _ := x.client(b, fmt.Sprintf("known %d", i))
			ids = append(ids, id)
		}
		var known, unknown []time.Duration
		for i := range tries {
			known = append(known, refused(ids[i/each]))
			unknown = append(unknown, refused(fmt.Sprintf("client_%020d", i)))
		}
		slices.Sort(known)
		slices.Sort(unknown)
		k, u := bench.Percentile(known, 50), bench.Percentile(unknown, 50)
		ratio := float64(k) / float64(u)
		b.ReportMetric(ratio, unit(x.name)+"-ratio")
		table.Add("p50 of a wrong secret, known client, "+x.name, micros(k)+" (unknown: "+micros(u)+")", "")
		table.Add("the same, known against unknown", fmt.Sprintf("%.3g", ratio), "1.3 either way")
	}
}
