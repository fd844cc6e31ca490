package app

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// spareHeap is how many bytes may be allocated between two collections, however little is live. What is live is a few
	// MiB, and collecting whenever that has doubled, as Go does, takes a twentieth of the CPU time of a token.
	spareHeap = 12 << 20
	// goPercent is Go's own rule: collect when the heap has grown by as much as is live.
	goPercent = 100
	// leastPercent holds where much is live, so that full caches do not cost twice their size.
	leastPercent = 75
	heapEvery    = time.Second
)

// tuneHeap keeps the garbage collector at spareHeap until ctx ends. Where GOGC is set it does nothing: whoever set it knows
// better.
func tuneHeap(ctx context.Context) {
	if before := debug.SetGCPercent(goPercent); before != goPercent {
		debug.SetGCPercent(before)
		return
	}
	defer debug.SetGCPercent(goPercent)
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(heapEvery)
	defer tick.Stop()
	for set := goPercent; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(live)
		// Setting it stops the world for a moment, so not for every little change.
		if percent := gcPercent(live[0].Value.Uint64()); percent < set || percent > set+set/5 {
			debug.SetGCPercent(percent)
			set = percent
		}
	}
}

// gcPercent is the growth in percent at which to collect when so many bytes are live. 0 are live before the first
// collection.
func gcPercent(live uint64) int {
	if live == 0 {
		return goPercent
	}
	return int(min(max(spareHeap*100/live, leastPercent), 4*goPercent))
}
