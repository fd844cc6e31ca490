package limits_test

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/seed-1972b8eb/signet/internal/limits"
)

var (
	here  = netip.MustParseAddr("203.0.113.9")
	there = netip.MustParseAddr("203.0.113.10")
)

func limited(f *limits.Failures, client string, ip netip.Addr) bool {
	_, limited := f.Limited(client, ip)
	return limited
}

func fail(f *limits.Failures, client string, ip netip.Addr, times int) {
	for range times {
		f.Failed(client, ip)
	}
}

func TestBurst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := limits.NewFailures(limits.Config{})
		for i := range limits.DefaultBurst {
			if limited(f, "a", here) {
				t.Fatalf("limited after %d failures", i)
			}
			f.Failed("a", here)
		}
		wait, isLimited := f.Limited("a", here)
		if !isLimited || wait != time.Second {
			t.Fatalf("after the burst: limited %v, wait %v; want true, 1s", isLimited, wait)
		}
		if limited(f, "b", here) || limited(f, "a", there) {
			t.Error("another client, or the same from elsewhere, is limited too")
		}
	})
}

func TestRefill(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := limits.NewFailures(limits.Config{Burst: 10, PerSecond: 2})
		fail(f, "a", here, 10_000) // going on does not lengthen the sentence
		time.Sleep(499 * time.Millisecond)
		if !limited(f, "a", here) {
			t.Error("free before its time")
		}
		time.Sleep(time.Millisecond)
		if limited(f, "a", here) {
			t.Error("limited after its time")
		}
		f.Failed("a", here)
		if !limited(f, "a", here) {
			t.Error("one failure more than trickled in is allowed")
		}
		time.Sleep(5 * time.Second)
		for i := range 10 {
			if limited(f, "a", here) {
				t.Fatalf("limited after %d failures of a new burst", i)
			}
			f.Failed("a", here)
		}
	})
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		failing, asking string
		limited         bool
	}{
		"same IPv4":                  {"203.0.113.9", "203.0.113.9", true},
		"neighbour in IPv4":          {"203.0.113.9", "203.0.113.8", false},
		"IPv4 and its mapped form":   {"203.0.113.9", "::ffff:203.0.113.9", true},
		"neighbours in mapped forms": {"::ffff:203.0.113.9", "::ffff:203.0.113.8", false},
		"same /64":                   {"2001:db8::1", "2001:db8::ffff:2", true},
		"another /64":                {"2001:db8::1", "2001:db8:0:1::1", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := limits.NewFailures(limits.Config{Burst: 2, PerSecond: 0.001})
			fail(f, "a", netip.MustParseAddr(tt.failing), 3)
			if got := limited(f, "a", netip.MustParseAddr(tt.asking)); got != tt.limited {
				t.Errorf("limited %v", got)
			}
			if limited(f, "a", netip.Addr{}) {
				t.Error("a Unix socket shares the network")
			}
		})
	}
}

// TestHotCallersAreKept floods a small set with callers that fail once each: those that failed often stay limited.
func TestHotCallersAreKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := limits.NewFailures(limits.Config{Burst: 10, Capacity: 100})
		for i := range 50 {
			fail(f, fmt.Sprint("hot", i), here, 11)
		}
		for i := range 100_000 {
			f.Failed(fmt.Sprint("cold", i), here)
		}
		if entries, capacity := f.Stats(); entries != 100 || capacity != 100 {
			t.Errorf("%d entries of %d", entries, capacity)
		}
		for i := range 50 {
			if !limited(f, fmt.Sprint("hot", i), here) {
				t.Fatalf("caller %d was forgotten", i)
			}
		}
	})
}

func TestForgetsWhoIsOutOfDebt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := limits.NewFailures(limits.Config{})
		for i := range 1000 {
			f.Failed(fmt.Sprint(i), here)
		}
		time.Sleep(2 * time.Second)
		f.Failed("last", here)
		if entries, _ := f.Stats(); entries != 1 {
			t.Errorf("%d entries, want 1", entries)
		}
	})
}

// TestFailuresProperty: whatever others do, a caller is limited exactly when its own failures say so, as long as the set
// is not full.
func TestFailuresProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(*testing.T) {
			const burst = 5
			f := limits.NewFailures(limits.Config{Burst: burst, PerSecond: 1, Capacity: 1000})
			debt := map[string]time.Duration{} // the model: how much each has used up, in time
			for range rapid.IntRange(1, 60).Draw(rt, "steps") {
				client := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "client")
				pause := time.Duration(rapid.IntRange(0, 1500).Draw(rt, "pause")) * time.Millisecond
				time.Sleep(pause)
				for name, used := range debt {
					debt[name] = max(used-pause, 0)
				}
				if got, want := limited(f, client, here), debt[client]+time.Second > burst*time.Second; got != want {
					rt.Fatalf("%s with debt %v: limited %v, want %v", client, debt[client], got, want)
				}
				f.Failed(client, here)
				debt[client] = min(debt[client]+time.Second, burst*time.Second)
			}
		})
	})
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	f := limits.NewFailures(limits.Config{Burst: 1000, PerSecond: 0.001, Capacity: 50})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 1000 {
				f.Failed("shared", here)
				f.Failed(fmt.Sprint(i, j), here)
				f.Limited("shared", here)
			}
		})
	}
	all.Wait()
	if entries, _ := f.Stats(); entries > 50 {
		t.Errorf("%d entries", entries)
	}
	if !limited(f, "shared", here) {
		t.Error("the hottest caller is not limited")
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := limits.NewRate(limits.Config{Burst: 3, PerSecond: 1})
		for i := range 3 {
			if _, ok := r.Allow("a"); !ok {
				t.Fatalf("token %d refused", i)
			}
		}
		for range 100 { // asking too often does not lengthen the wait
			if wait, ok := r.Allow("a"); ok || wait != time.Second {
				t.Fatalf("allowed %v, wait %v", ok, wait)
			}
		}
		if _, ok := r.Allow("b"); !ok {
			t.Error("another client is limited too")
		}
		time.Sleep(time.Second)
		if _, ok := r.Allow("a"); !ok {
			t.Error("refused after the wait")
		}
	})
}

func TestNoRate(t *testing.T) {
	t.Parallel()
	r := limits.NewRate(limits.Config{Burst: 1})
	for range 1000 {
		if _, ok := r.Allow("a"); !ok {
			t.Fatal("limited although nobody asked for a limit")
		}
	}
	if entries, capacity := r.Stats(); entries != 0 || capacity != 0 {
		t.Errorf("%d entries of %d", entries, capacity)
	}
}

func BenchmarkLimited(b *testing.B) {
	f := limits.NewFailures(limits.Config{})
	f.Failed("someone else", there)
	b.ReportAllocs()
	for b.Loop() {
		f.Limited("client_0123456789abcdefghij", here)
	}
}
