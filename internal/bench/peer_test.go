package bench_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/bench"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/internal/servertest/redistest"
)

// peerConns is how many connections the load of the comparison comes over.
const peerConns = 32

// peer is another server that speaks RFC 7662 and runs already, as the environment describes it: PEER_URL is its introspection
// endpoint over http, PEER_TOKEN an access token that it calls active, PEER_PID its process, PEER_USER and PEER_PASSWORD its
// caller's credentials if it wants any.
func peer(b *testing.B) (target, []byte) {
	b.Helper()
	text := os.Getenv("PEER_URL")
	if text == "" {
		b.Skip("PEER_URL names no server to compare with")
	}
	at, err := url.Parse(text)
	if err != nil || at.Scheme != "http" {
		b.Fatalf("PEER_URL=%q is no http:// URL", text)
	}
	return target{name: "the peer", address: at.Host, pid: number(b, "PEER_PID", 1)},
		bench.Post(at.Host, at.Path, os.Getenv("PEER_USER"), os.Getenv("PEER_PASSWORD"), "token="+url.QueryEscape(os.Getenv("PEER_TOKEN")))
}

// BenchmarkPeer lets Signet with Redis and another server answer the same number of introspections of one live token, in turns.
func BenchmarkPeer(b *testing.B) {
	there, askThere := peer(b)
	rounds, requests := number(b, "BENCH_ROUNDS", 10), number(b, "BENCH_REQUESTS", 4000)
	here := shared(b, pgtest.Start(b), redistest.Start(b))
	here.trusted(b, 1)
	targets := []target{here, there}
	asked := [][]byte{bench.Post(here.address, "/oauth2/introspect", here.id, here.secret, "token="+here.issue(b, 1)[0]), askThere}
	rates, micros := make([][]float64, len(targets)), make([][]float64, len(targets))
	for i, x := range targets {
		x.active(b, asked[i])
	}
	var faster, cheaper []float64
	for round := range rounds + 1 {
		for i, x := range targets {
			began := time.Now()
			cpu, _ := x.run(b, bench.Load{Conns: peerConns, Requests: requests, Request: bench.Always(asked[i]), Want: 200})
			if round == 0 {
				continue // caches fill
			}
			rates[i] = append(rates[i], float64(requests)/time.Since(began).Seconds())
			micros[i] = append(micros[i], bench.Micros(cpu))
		}
		if round > 0 {
			faster = append(faster, rates[0][round-1]/rates[1][round-1])
			cheaper = append(cheaper, micros[1][round-1]/micros[0][round-1])
		}
	}
	for i, x := range targets {
		x.active(b, asked[i])
		table.Add("introspections of a live token, 32 connections, "+x.name, bench.SpreadOf(rates[i]).String()+" a second, "+
			bench.SpreadOf(micros[i]).String()+" µs of server CPU", "")
	}
	spread := bench.SpreadOf(faster)
	b.ReportMetric(spread.Median, "times-the-rate")
	table.Add("Signet with Redis, times the peer's rate", spread.String(), "5")
	table.Add("the peer's CPU, times Signet's", bench.SpreadOf(cheaper).String(), "")
}

// active wants the answer to an introspection to be about a live token: to say that of a dead one may cost less.
func (x target) active(b *testing.B, introspection []byte) {
	b.Helper()
	conn, err := bench.Dial(b.Context(), x.address)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	status, body, err := conn.Do(introspection)
	var answer struct{ Active bool }
	if err != nil || status != http.StatusOK || json.Unmarshal(body, &answer) != nil || !answer.Active {
		b.Fatalf("%s: the token is not active: status %d, %v", x.name, status, err)
	}
}
