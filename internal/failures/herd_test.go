package failures

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// servedWithin is how soon after a restart every client of a herd has its token: some milliseconds of work for each, on a
// machine that does other things too.
const servedWithin = 10 * time.Second

// TestHerd restarts a server with an empty cache before hundreds of clients that all retry at once. Each gets its token
// soon, none is told anything but to come again, and PostgreSQL sees no more connections than it was promised.
func TestHerd(t *testing.T) {
	// Not parallel: it takes the whole machine, and what is measured beside it would be late.
	long(t)
	const herd, registered, conns = 500, 125, 4 // each client runs four times, as deployments do
	postgres := pgtest.Start(t)
	s := serve(t, servertest.Config{Database: postgres.URL(), ExtraYAML: fmt.Sprintf("  max_conns: %d\n", conns)})
	clients := s.herd(t, registered)
	look := session(t, postgres.URL())
	s.Kill()

	var up, hungry atomic.Bool
	var served, turned, most atomic.Int64
	var tasks sync.WaitGroup
	defer tasks.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i := range herd {
		c := clients[i%registered]
		tasks.Go(func() {
			for ctx.Err() == nil {
				settled := up.Load()
				a := s.request(c)
				switch {
				case a.ok():
					served.Add(1)
					return
				case a.err == nil && a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") != "":
					turned.Add(1)
				case settled || a.err == nil: // before, nobody listens
					t.Errorf("after the restart: %d %s (%v)", a.status, a.body, a.err)
				}
				pause(ctx)
			}
		})
	}
	hungry.Store(true)
	tasks.Go(func() {
		for hungry.Load() && ctx.Err() == nil {
			var n int64
			if err := look.QueryRowContext(ctx, ourSessions).Scan(&n); err == nil {
				most.Store(max(most.Load(), n))
			}
			pause(ctx)
		}
	})
	s.Again(t)
	up.Store(true)
	took := eventually(t, servedWithin, "serve every client", func() bool { return served.Load() == herd })
	hungry.Store(false)
	if n := most.Load(); n > conns || n == 0 {
		t.Errorf("PostgreSQL had %d connections of the server, want some and %d at most", n, conns)
	}
	t.Logf("%d clients served in %v, %d answers were 503, %d connections at most", herd, took.Round(time.Millisecond), turned.Load(), most.Load())
}

// herd registers many clients.
func (s *server) herd(t *testing.T, n int) []client {
	t.Helper()
	clients := make([]client, n)
	var tasks sync.WaitGroup
	for worker := range 4 {
		tasks.Go(func() {
			for i := worker; i < n; i += 4 {
				made, err := s.admin.CreateClient(t.Context(), newClient(adminapi.NewClient{}))
				if err != nil {
					t.Errorf("create client: %v", err)
					return
				}
				clients[i] = client{made.ClientID, made.ClientSecret}
			}
		})
	}
	tasks.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return clients
}

// TestLittleMemory gives the server less memory than it takes by itself. It goes on, with thousands of tokens and as many
// refusals for callers it has never heard of, and does not grow with either.
func TestLittleMemory(t *testing.T) {
	// Not parallel: it takes the whole machine, and what is measured beside it would be late.
	long(t)
	const limit, workers, tokens, strangers = 48, 8, 5_000, 1_000
	s := serve(t, servertest.Config{Env: []string{fmt.Sprintf("GOMEMLIMIT=%dMiB", limit)}})
	c := s.client(t)
	var tasks sync.WaitGroup
	var next, slowest atomic.Int64
	for range workers {
		tasks.Go(func() {
			for n := next.Add(1); n <= tokens; n = next.Add(1) {
				a := s.request(c)
				if !a.ok() {
					t.Errorf("token: %d %s (%v)", a.status, a.body, a.err)
					return
				}
				slowest.Store(max(slowest.Load(), int64(a.took)))
				if n%(tokens/strangers) != 0 {
					continue
				}
				stranger := client{fmt.Sprintf("client_%020d", n), c.secret}
				if a := s.request(stranger); a.status != http.StatusUnauthorized && a.status != http.StatusTooManyRequests {
					t.Errorf("somebody unknown: %d %s (%v), want 401 or 429", a.status, a.body, a.err)
				}
			}
		})
	}
	tasks.Wait()
	if took := time.Duration(slowest.Load()); took > 2*time.Second {
		t.Errorf("an answer took %v", took)
	}
	// The limit is that of the runtime's memory, which begins to return what it does not need when it gets there.
	resident := s.memory(t, "RssAnon")
	if !slowed() && resident > (limit+16)<<20 {
		t.Errorf("the server has %d MiB of memory of its own, with a limit of %d", resident>>20, limit)
	}
	t.Logf("%d MiB after %d tokens; the slowest took %v", resident>>20, tokens, time.Duration(slowest.Load()).Round(time.Millisecond))
}
