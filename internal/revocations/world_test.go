package revocations_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/revocations"
)

// world is a database and some Redis servers as replicas meet them: slow, sometimes failing without effect, with an effect
// whose reply is lost, or with one that comes after the caller has given up. What happens when is the seed's decision, and
// time is that of a synctest bubble, so that a run of minutes takes a moment. The real stores are tested by their own
// packages, and the whole by the laboratory; this one is for the schedules that those rarely meet.
type world struct {
	mu      sync.Mutex
	rng     *rand.Rand
	trouble float64 // the share of calls that fail
	// database
	apart   []bool // replicas that do not reach it
	rows    map[string]bool
	cuts    map[string]cutRow
	trust   revocations.Trust
	rebuild bool // the exclusion is taken

	published map[int][]time.Time // by replica
	// Redis
	servers []*server // by number; what a replica reaches is its view
	views   []int
	mute    []bool // replicas that reach none
	made    int
}

type cutRow struct {
	cut       revocations.CutOff
	confirmed bool
}

// server is one Redis process: sets by the identity that their keys name.
type server struct {
	id   revocations.Identity
	sets map[revocations.Identity]map[string]int64
}

func newWorld(seed uint64, replicas int) *world {
	w := &world{
		rng:  rand.New(rand.NewPCG(seed, 1)),
		rows: map[string]bool{}, cuts: map[string]cutRow{}, trust: revocations.Trust{Generation: 1, Settled: true},
		servers: []*server{nil, nil}, views: make([]int, replicas), apart: make([]bool, replicas),
		mute: make([]bool, replicas), published: map[int][]time.Time{},
	}
	w.servers[0], w.servers[1] = w.process(nil), w.process(nil)
	return w
}

// process starts a Redis process with these sets.
func (w *world) process(sets map[revocations.Identity]map[string]int64) *server {
	w.made++
	if sets == nil {
		sets = map[revocations.Identity]map[string]int64{}
	}
	return &server{revocations.Identity(fmt.Sprintf("redis-%d", w.made)), sets}
}

func copySets(sets map[revocations.Identity]map[string]int64) map[revocations.Identity]map[string]int64 {
	out := map[revocations.Identity]map[string]int64{}
	for id, set := range sets {
		out[id] = maps.Clone(set)
	}
	return out
}

func (w *world) chance(p float64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.Float64() < p
}

func (w *world) number(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(n)
}

var errLost = errors.New("connection lost")

// call lets effect happen, or not, or later than the caller knows. effect runs with the lock and must not block.
func (w *world) call(ctx context.Context, effect func() error) error {
	w.mu.Lock()
	there := time.Duration(w.rng.IntN(3000)) * time.Microsecond
	back := time.Duration(w.rng.IntN(3000)) * time.Microsecond
	if w.rng.Float64() < w.trouble/3 {
		there += time.Duration(w.rng.IntN(900)) * time.Millisecond
	}
	if w.rng.Float64() < w.trouble/3 {
		back += time.Duration(w.rng.IntN(900)) * time.Millisecond
	}
	lost, unsent := w.rng.Float64() < w.trouble/4, w.rng.Float64() < w.trouble/2
	w.mu.Unlock()
	if unsent {
		return errLost
	}
	result := make(chan error, 1)
	go func() {
		time.Sleep(there)
		w.mu.Lock()
		err := effect()
		w.mu.Unlock()
		time.Sleep(back)
		if lost {
			err = errLost
		}
		result <- err
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// disturb does one thing that happens to Redis servers and networks.
func (w *world) disturb() {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.rng.IntN(len(w.servers))
	switch old := w.servers[n]; w.rng.IntN(10) {
	case 0: // killed, and started empty
		w.servers[n] = w.process(nil)
	case 1: // killed, and started from a snapshot with everything in it
		w.servers[n] = w.process(copySets(old.sets))
	case 2: // flushed, or the key evicted
		clear(old.sets)
	case 3: // demoted and resynchronised from the other one: same process, other identity, older data
		w.servers[n] = w.process(copySets(w.servers[1-n].sets))
	case 4: // one replica reaches another server than before
		w.views[w.rng.IntN(len(w.views))] = n
	case 5: // all do
		for i := range w.views {
			w.views[i] = n
		}
	case 6: // one replica loses the database, or finds it again
		i := w.rng.IntN(len(w.apart))
		w.apart[i] = !w.apart[i]
	case 7: // one replica loses Redis, or finds it again
		i := w.rng.IntN(len(w.mute))
		w.mute[i] = !w.mute[i]
	case 8: // only one of them reaches Redis
		for i := range w.mute {
			w.mute[i] = i != n
		}
	case 9: // all find everything again
		clear(w.apart)
		clear(w.mute)
	}
}

// replicaOf runs a Replicated over the world until ctx ends.
func replicaOf(ctx context.Context, t *testing.T, w *world, number int) *revocations.Replicated {
	t.Helper()
	r := revocations.NewReplicated(revocations.ReplicatedConfig{Ledger: ledger{w: w, replica: number}, Set: set{w: w, replica: number}})
	go r.Run(ctx)
	go func() {
		for ctx.Err() == nil {
			sent := time.Now()
			var trust revocations.Trust
			unconfirmed := false
			err := ledger{w: w, replica: number}.call(ctx, func() {
				trust = w.trust
				for _, c := range w.cuts {
					unconfirmed = unconfirmed || !c.confirmed
				}
			})
			if err == nil {
				r.Polled(sent, time.Time{}, trust, unconfirmed)
			}
			time.Sleep(200 * time.Millisecond)
		}
	}()
	return r
}
