package failures

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/internal/servertest/redistest"
)

// besideWithin is how long others may wait for their answer beside a flood, on a machine that has to make the flood too.
const besideWithin = 3 * time.Second

// TestFlood lets callers ask for tokens as fast as they can, with the right secret and with a wrong one. They are served, turned
// away, or told to come again; whoever else there is gets tokens, asks about them and takes them back as if nothing were.
func TestFlood(t *testing.T) { //nolint:tparallel // one flood after the other
	t.Parallel()
	long(t)
	s := serve(t, servertest.Config{Database: pgtest.Start(t).URL(), Redis: redistest.Start(t).URL()})
	loud, quiet := s.client(t), s.client(t)
	s.trusts(t, quiet, s.token(t, quiet))
	for _, flood := range []struct {
		name     string
		caller   client
		expected []int
	}{
		{"right", loud, []int{http.StatusOK, http.StatusServiceUnavailable}},
		{"wrong", client{loud.id, quiet.secret}, []int{http.StatusUnauthorized, http.StatusTooManyRequests, http.StatusServiceUnavailable}},
	} {
		t.Run(flood.name, func(t *testing.T) { s.flooded(t, flood.caller, quiet, flood.expected) })
	}
	// Right secrets are taken at any time, also of the client that was flooded.
	s.token(t, loud)
	peak := s.memory(t, "VmHWM") // with the program itself
	t.Logf("%d MiB of memory at most", peak>>20)
	if !slowed() && peak > 256<<20 {
		t.Error("a flood makes the server grow")
	}
}

// flooded is what the quiet client sees beside the flood.
func (s *server) flooded(t *testing.T, caller, quiet client, expected []int) {
	t.Helper()
	const callers = 8
	ctx, cancel := context.WithCancel(t.Context())
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	var counts [600]atomic.Int64
	for range callers {
		tasks.Go(func() {
			for ctx.Err() == nil {
				a := s.request(caller)
				counts[a.status].Add(1)
				mayWait := a.status == http.StatusServiceUnavailable || a.status == http.StatusTooManyRequests
				if mayWait && a.header.Get("Retry-After") == "" {
					t.Errorf("%d %s without Retry-After", a.status, a.body)
				}
			}
		})
	}
	eventually(t, 10*time.Second, "flood", func() bool { return counts[expected[0]].Load()+counts[expected[1]].Load() > 200 })
	var slowest, slowestRevocation time.Duration
	revoked := 0
	during(t, 3*time.Second, func() {
		got := s.request(quiet)
		before := s.introspect(quiet, got.token())
		taken := s.revoke(quiet, got.token())
		after := s.introspect(quiet, got.token())
		if !got.ok() || !before.active() || !taken.ok() || !after.inactive() {
			t.Errorf("beside the flood: token %d, introspect %d %s, revoke %d, introspect %d %s",
				got.status, before.status, before.body, taken.status, after.status, after.body)
		}
		slowest = max(slowest, got.took, before.took, after.took)
		slowestRevocation = max(slowestRevocation, taken.took)
		revoked++
	})
	cancel()
	tasks.Wait()
	if slowest > besideWithin || slowestRevocation > revokedWithin {
		t.Errorf("beside the flood an answer took %v, and a revocation %v", slowest, slowestRevocation)
	}
	var total, other int64
	for status := range counts {
		total += counts[status].Load()
		other += counts[status].Load()
	}
	for _, status := range expected {
		t.Logf("%d: %d times", status, counts[status].Load())
		other -= counts[status].Load()
		if status != http.StatusServiceUnavailable && counts[status].Load() == 0 {
			t.Errorf("nobody in the flood was told %d", status)
		}
	}
	if other > 0 {
		t.Errorf("%d of %d answers to the flood were neither of %v", other, total, expected)
	}
	t.Logf("%d revocations beside it, the slowest %v; the slowest other answer %v", revoked, slowestRevocation, slowest)
}

// TestStrangers lets ten thousand clients ask that nobody has registered, each with another ID. Nothing that the server remembers
// grows with them beyond its bound, and no metric is named after one.
func TestStrangers(t *testing.T) {
	t.Parallel()
	long(t)
	const strangers, workers = 10_000, 32
	s := serve(t, servertest.Config{Database: pgtest.Start(t).URL()})
	known := s.client(t)
	s.token(t, known)
	var asked, refused atomic.Int64
	ask := func(until int64) {
		var tasks sync.WaitGroup
		for range workers {
			tasks.Go(func() {
				for asked.Add(1) <= until {
					stranger := client{"client_" + strings.ToLower(rand.Text())[:20], known.secret}
					switch a := s.request(stranger); a.status {
					case http.StatusUnauthorized:
						refused.Add(1)
					case http.StatusServiceUnavailable: // a busy machine cannot know in time
					default:
						t.Errorf("a stranger: %d %s (%v), want 401", a.status, a.body, a.err)
					}
				}
			})
		}
		tasks.Wait()
		asked.Store(until)
	}
	ask(10)
	_, series := s.caches(t)
	resident := s.memory(t, "RssAnon")
	ask(strangers)
	if refused.Load() < strangers*9/10 {
		t.Errorf("%d of %d strangers were refused", refused.Load(), strangers)
	}
	caches, after := s.caches(t)
	grown := s.memory(t, "RssAnon") - resident
	for _, name := range []string{"clients", "failures", "refusals"} {
		if c, ok := caches[name]; !ok || c.entries > c.capacity {
			t.Errorf("%s: %d of %d kept", name, c.entries, c.capacity)
		}
	}
	if n := caches["clients"].entries; n > 1 {
		t.Errorf("%d clients are kept, and there is one", n)
	}
	if after > series+10 { // a reason that is met for the first time is a new one
		t.Errorf("%d lines of metrics, and %d before", after, series)
	}
	if !slowed() && grown > 48<<20 {
		t.Errorf("the server grew by %d MiB", grown>>20)
	}
	s.token(t, known)
	t.Logf("%d strangers, %d of them 401: %v; %d lines of metrics; %d KiB more", strangers, refused.Load(), caches, after, grown>>10)
}

// bounded is a memory of the server's, and its bound.
type bounded struct{ entries, capacity int }

var cacheLines = regexp.MustCompile(`(?m)^signet_cache_(entries|capacity)\{cache="(\w+)"\} (\S+)$`)

// caches reads the bounded memories from the metrics, and how many lines of metrics there are.
func (s *server) caches(t *testing.T) (map[string]bounded, int) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.AdminURL+"/metrics", http.NoBody)
	text := s.exchange(request, err).body
	caches := map[string]bounded{}
	for _, found := range cacheLines.FindAllStringSubmatch(text, -1) {
		number, err := strconv.ParseFloat(found[3], 64)
		if err != nil {
			t.Fatal(fmt.Errorf("read metrics: %w", err))
		}
		c := caches[found[2]]
		if found[1] == "entries" {
			c.entries = int(number)
		} else {
			c.capacity = int(number)
		}
		caches[found[2]] = c
	}
	return caches, strings.Count(text, "\n")
}
