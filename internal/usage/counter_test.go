package usage_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-1972b8eb/signet/internal/usage"
)

// ledger adds batches up, or fails while it is closed.
type ledger struct {
	mu      sync.Mutex
	closed  bool
	batches int
	tokens  map[usage.Key]int64
	clients map[string]time.Time
	secrets map[string]time.Time
}

func (l *ledger) AddUsage(ctx context.Context, b usage.Batch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil { // as a database would
		return err
	}
	if l.closed {
		return errors.New("connection refused")
	}
	l.batches++
	for k, n := range b.Tokens {
		l.tokens[k] += n
	}
	maps.Copy(l.clients, b.Clients)
	maps.Copy(l.secrets, b.Secrets)
	return nil
}

func newLedger() *ledger {
	return &ledger{tokens: map[usage.Key]int64{}, clients: map[string]time.Time{}, secrets: map[string]time.Time{}}
}

func TestCounterFlushesOnceIn10SecondsAndAtTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		c := usage.NewCounter(l, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		go c.Run(ctx)
		at := time.Now()
		for range 1000 {
			c.Count(usage.Use{ClientID: "client_a", SecretID: "cs_1", API: "urn:api", At: at})
		}
		time.Sleep(usage.Every + time.Second)
		synctest.Wait()
		if l.batches != 1 {
			t.Errorf("%d batches after one interval, want 1", l.batches)
		}
		time.Sleep(5 * usage.Every)
		synctest.Wait()
		if l.batches != 1 {
			t.Errorf("%d batches, want 1: nothing to write, nothing written", l.batches)
		}
		c.Count(usage.Use{ClientID: "client_b", API: "urn:api", At: at})
		cancel()
		synctest.Wait()
		day := at.UTC().Format(time.DateOnly)
		if l.tokens[usage.Key{ClientID: "client_a", API: "urn:api", Day: day}] != 1000 ||
			l.tokens[usage.Key{ClientID: "client_b", API: "urn:api", Day: day}] != 1 {
			t.Errorf("counted %v", l.tokens)
		}
		if !l.clients["client_a"].Equal(at) || !l.secrets["cs_1"].Equal(at) || len(l.secrets) != 1 {
			t.Errorf("last used: clients %v, secrets %v", l.clients, l.secrets)
		}
	})
}

func TestCounterLosesNothingWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	l := newLedger()
	l.closed = true
	c := usage.NewCounter(l, slog.New(slog.DiscardHandler))
	early, late := time.Unix(1_800_000_000, 0), time.Unix(1_800_000_005, 0)
	c.Count(usage.Use{ClientID: "client_a", API: "urn:api", At: early})
	if err := c.Flush(t.Context()); err == nil {
		t.Fatal("a failed flush is not reported")
	}
	c.Count(usage.Use{ClientID: "client_a", API: "urn:api", At: late})
	if err := c.Flush(t.Context()); err == nil {
		t.Fatal("a failed flush is not reported")
	}
	l.closed = false
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, n := range l.tokens {
		if n != 2 {
			t.Errorf("counted %d, want 2", n)
		}
	}
	if !l.clients["client_a"].Equal(late) {
		t.Errorf("last used %v, want the later time", l.clients["client_a"])
	}
}

// A day is a UTC day: the last second of one and the first of the next are apart, in whatever order they come.
func TestCounterCountsByDay(t *testing.T) {
	t.Parallel()
	l := newLedger()
	c := usage.NewCounter(l, slog.New(slog.DiscardHandler))
	midnight := time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC)
	for _, at := range []time.Time{
		midnight.Add(-time.Second), midnight, midnight.In(time.FixedZone("west", -8*3600)), midnight.Add(-time.Nanosecond), midnight.Add(24*time.Hour - 1),
	} {
		c.Count(usage.Use{ClientID: "client_a", API: "urn:api", At: at})
	}
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	of := func(day string) int64 { return l.tokens[usage.Key{ClientID: "client_a", API: "urn:api", Day: day}] }
	if of("2027-02-28") != 2 || of("2027-03-01") != 3 || len(l.tokens) != 2 {
		t.Errorf("counted %v", l.tokens)
	}
}

// While the database is away, memory does not grow without end; who is known goes on being counted.
func TestCounterIsBounded(t *testing.T) {
	t.Parallel()
	const most, more = 200_000, 50
	l := newLedger()
	c := usage.NewCounter(l, slog.New(slog.DiscardHandler))
	at := time.Unix(1_800_000_000, 0)
	for i := range most + more {
		c.Count(usage.Use{ClientID: "client_" + strconv.Itoa(i), SecretID: "cs_" + strconv.Itoa(i), API: "urn:api", At: at})
	}
	c.Count(usage.Use{ClientID: "client_0", SecretID: "cs_0", API: "urn:api", At: at.Add(time.Second)})
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(l.tokens) != most || len(l.clients) != most || len(l.secrets) != most {
		t.Errorf("%d counts, %d clients and %d secrets are kept, want %d of each", len(l.tokens), len(l.clients), len(l.secrets), most)
	}
	first := usage.Key{ClientID: "client_0", API: "urn:api", Day: at.UTC().Format(time.DateOnly)}
	if l.tokens[first] != 2 || !l.clients["client_0"].Equal(at.Add(time.Second)) {
		t.Errorf("the first client: %d tokens, last used %v", l.tokens[first], l.clients["client_0"])
	}
}
