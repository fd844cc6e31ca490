package bench_test

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/bench"
	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/internal/servertest/redistest"
)

// shared starts a server on PostgreSQL and Redis.
func shared(b *testing.B, server *pgtest.Server, redis *redistest.Server) target {
	b.Helper()
	s := servertest.Serve(b, servertest.Config{Database: server.URL(), Redis: redis.URL(), ExtraYAML: "telemetry:\n  pprof: true\n"})
	s.Signet(b, "api", "create", "--identifier", api, "--name", "Orders")
	s.Signet(b, "scope", "create", "--api", api, scope)
	x := target{name: "Redis", address: s.Address, pid: s.PID(), server: s, database: server.URL()}
	x.id, x.secret = x.client(b, "bench")
	return x
}

var (
	lease    = regexp.MustCompile(`(?m)^signet_revocation_lease (\d+)$`)
	rebuilds = regexp.MustCompile(`(?m)^signet_revocation_rebuilds_total (\d+)$`)
	fromSet  = regexp.MustCompile(`(?m)^signet_revocation_reads_total\{source="redis"\} (\d+)$`)
)

// metric reads a metric of the server; -1 while there is none.
func (x target) metric(b *testing.B, client *http.Client, name *regexp.Regexp) int {
	b.Helper()
	request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, x.server.AdminURL+"/metrics", http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		b.Fatal(err)
	}
	found := name.FindSubmatch(body)
	if found == nil {
		return -1
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// trusted waits until the server answers from a set in Redis that it has filled at least so many times, and returns how long
// that took.
func (x target) trusted(b *testing.B, filled int) time.Duration {
	b.Helper()
	client, began := servertest.Client(b), time.Now()
	for deadline := began.Add(time.Minute); time.Now().Before(deadline); {
		if x.metric(b, client, rebuilds) >= filled && x.metric(b, client, lease) == 1 {
			return time.Since(began)
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.Fatal("Redis is not trusted within a minute")
	return 0
}

// BenchmarkIntrospection is what one introspection costs the server: with the set in the process (SQLite), read from
// PostgreSQL, and read from Redis. The three take turns.
func BenchmarkIntrospection(b *testing.B) {
	rounds, requests := number(b, "BENCH_ROUNDS", 25), number(b, "BENCH_REQUESTS", 1000)
	onPostgres, _ := postgres(b)
	onRedis := shared(b, pgtest.Start(b), redistest.Start(b))
	onRedis.trusted(b, 1)
	targets := []target{sqlite(b), onPostgres, onRedis}
	asked := make([][]byte, len(targets))
	for i, x := range targets {
		asked[i] = bench.Post(x.address, "/oauth2/introspect", x.id, x.secret, "token="+x.issue(b, 1)[0])
	}
	micros, waits, ratios := make([][]float64, len(targets)), make([][]float64, len(targets)), make([][]float64, len(targets))
	for round := range rounds + 1 {
		for i, x := range targets {
			cpu, took := x.run(b, bench.Load{Requests: requests, Request: bench.Always(asked[i]), Want: 200})
			if round == 0 {
				continue // caches fill, the heap grows to its size
			}
			micros[i] = append(micros[i], bench.Micros(cpu))
			waits[i] = append(waits[i], bench.Micros(bench.Percentile(took, 50)))
			ratios[i] = append(ratios[i], bench.Micros(cpu)/micros[0][round-1])
		}
	}
	share := float64(onRedis.metric(b, servertest.Client(b), fromSet)) / float64((rounds+1)*requests)
	b.ReportMetric(share, "from-redis")
	for i, x := range targets {
		table.Add("server CPU per introspection, "+x.name, bench.SpreadOf(micros[i]).String()+" µs, p50 "+
			bench.SpreadOf(waits[i]).String()+" µs with 8 connections", "")
		if i > 0 {
			ratio := bench.SpreadOf(ratios[i])
			b.ReportMetric(ratio.Median, unit(x.name)+"-ratio")
			promised := ""
			if x.name == "Redis" {
				promised = "1.5"
			}
			table.Add("the same, against the set in the process", ratio.String(), promised)
		}
	}
}

// BenchmarkFirstAnswer asks one replica about a token as soon as another has acknowledged its revocation.
func BenchmarkFirstAnswer(b *testing.B) {
	n := number(b, "BENCH_REQUESTS", 2000)
	database, redis := pgtest.Start(b), redistest.Start(b)
	here := shared(b, database, redis)
	other := servertest.Serve(b, servertest.Config{ReplicaOf: here.server})
	there := target{name: "other", address: other.Address, pid: other.PID(), id: here.id, secret: here.secret, server: other}
	here.trusted(b, 1)
	there.trusted(b, 0)
	revoking, err := bench.Dial(b.Context(), here.address)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = revoking.Close() }()
	asking, err := bench.Dial(b.Context(), there.address)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = asking.Close() }()
	var revoked, answered []time.Duration
	for _, token := range here.issue(b, n) {
		sent := time.Now()
		if status, body, err := revoking.Do(bench.Post(here.address, "/oauth2/revoke", here.id, here.secret, "token="+token)); err != nil || status != 200 {
			b.Fatalf("revoke: %d %s %v", status, body, err)
		}
		acknowledged := time.Now()
		status, body, err := asking.Do(bench.Post(there.address, "/oauth2/introspect", here.id, here.secret, "token="+token))
		answered = append(answered, time.Since(acknowledged))
		revoked = append(revoked, acknowledged.Sub(sent))
		if err != nil || status != 200 || string(body) != `{"active":false}` {
			b.Fatalf("introspect: %d %s %v", status, body, err)
		}
	}
	slices.Sort(revoked)
	slices.Sort(answered)
	b.ReportMetric(bench.Micros(bench.Percentile(answered, 99)), "p99-µs")
	table.Add(fmt.Sprintf("first introspection on another replica after the 200, %d times", n),
		"p50 "+micros(bench.Percentile(answered, 50))+", p99 "+micros(bench.Percentile(answered, 99)), "p99 5 ms")
	table.Add("the revocation before it", "p50 "+micros(bench.Percentile(revoked, 50))+", p99 "+micros(bench.Percentile(revoked, 99)), "1.5 s")
}

// BenchmarkTrustedAgain kills Redis while many revocations are live, starts it again, and waits until introspection reads
// from it: until it was noticed, everything was written anew, and the lease obtained.
func BenchmarkTrustedAgain(b *testing.B) {
	live := number(b, "BENCH_REVOCATIONS", 100_000)
	database, redis := pgtest.Start(b), redistest.Start(b)
	x := shared(b, database, redis)
	pgtest.Exec(b, database.URL(), fmt.Sprintf(`INSERT INTO revocations (jti, client_id, expires_at, revoked_at, reason)
		SELECT substr(md5(i::text), 1, 22), 'client_x', (extract(epoch FROM now()) + 86400) * 1000000, extract(epoch FROM now()) * 1000000, 'bench'
		FROM generate_series(1, %d) AS i`, live))
	x.trusted(b, 1)
	client := servertest.Client(b)
	var took []float64
	for range number(b, "BENCH_ROUNDS", 10) {
		filled := x.metric(b, client, rebuilds)
		redis.Kill()
		redis.Start()
		took = append(took, x.trusted(b, filled+1).Seconds())
	}
	spread := bench.SpreadOf(took)
	b.ReportMetric(spread.Most, "s-at-most")
	table.Add(fmt.Sprintf("Redis is back, until it is trusted with %d live revocations", live), spread.String()+" s", "5 s")
}
