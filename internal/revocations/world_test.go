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

	"github.com/seed-1972b8eb/signet/internal/audit"
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

// ledger is the database as every replica sees it.
type ledger struct {
	revocations.Ledger // nil: a call of anything else panics

	w       *world
	replica int
}

func (l ledger) call(ctx context.Context, effect func()) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return l.w.call(ctx, func() error {
		if l.w.apart[l.replica] {
			return errLost
		}
		effect()
		return nil
	})
}

func (l ledger) Record(ctx context.Context, r revocations.Revocation, _ audit.Event) (revocations.Trust, error) {
	var trust revocations.Trust
	err := l.call(ctx, func() {
		l.w.rows[r.JTI] = true
		trust = l.w.trust
	})
	if err != nil { // it may yet happen
		return revocations.Trust{}, err
	}
	return trust, nil
}

func (l ledger) Revoked(ctx context.Context, tokens []revocations.Token) ([]bool, error) {
	answers := make([]bool, len(tokens))
	err := l.call(ctx, func() {
		for i, t := range tokens {
			c, cut := l.w.cuts[t.ClientID]
			answers[i] = l.w.rows[t.JTI] || cut && t.Generation < c.cut.Generation
		}
	})
	if err != nil {
		return nil, err
	}
	return answers, nil
}

func (l ledger) Live(ctx context.Context, batch func([]revocations.Revocation, []revocations.CutOff) error) error {
	var revoked []revocations.Revocation
	var cutOffs []revocations.CutOff
	err := l.call(ctx, func() {
		for jti := range l.w.rows {
			revoked = append(revoked, revocations.Revocation{JTI: jti})
		}
		for _, c := range l.w.cuts {
			cutOffs = append(cutOffs, c.cut)
		}
	})
	if err != nil {
		return err
	}
	for len(revoked) > 0 {
		n := min(len(revoked), 10)
		if err := batch(revoked[:n], nil); err != nil {
			return err
		}
		revoked = revoked[n:]
	}
	return batch(nil, cutOffs)
}

func (l ledger) Withdraw(ctx context.Context, generation int64) (revocations.Trust, error) {
	var trust revocations.Trust
	err := l.call(ctx, func() {
		if l.w.trust.Generation == generation {
			l.w.trust = revocations.Trust{Generation: generation + 1}
		}
		trust = l.w.trust
	})
	if err != nil {
		return revocations.Trust{}, err
	}
	return trust, nil
}

func (l ledger) Publish(ctx context.Context, id revocations.Identity, generation int64) (int64, error) {
	var next int64
	err := l.call(ctx, func() {
		if l.w.trust.Generation == generation {
			next = generation + 1 + l.w.rng.Int64N(1000)
			l.w.trust = revocations.Trust{WriteID: id, Generation: next}
			l.w.published[l.replica] = append(l.w.published[l.replica], time.Now())
		}
	})
	if err != nil {
		return 0, err
	}
	return next, nil
}

func (l ledger) Complete(ctx context.Context, id revocations.Identity, generation int64) (bool, error) {
	done := false
	err := l.call(ctx, func() {
		if done = l.w.trust.Generation == generation && l.w.trust.WriteID == id; done {
			l.w.trust.ReadID = id
		}
	})
	return err == nil && done, err
}

func (l ledger) Settle(ctx context.Context, generation int64) error {
	return l.call(ctx, func() {
		if l.w.trust.Generation == generation {
			l.w.trust.Settled = true
		}
	})
}

func (l ledger) Unconfirmed(ctx context.Context) ([]revocations.CutOff, revocations.Trust, error) {
	var cutOffs []revocations.CutOff
	var trust revocations.Trust
	err := l.call(ctx, func() {
		for _, c := range l.w.cuts {
			if !c.confirmed {
				cutOffs = append(cutOffs, c.cut)
			}
		}
		trust = l.w.trust
	})
	if err != nil {
		return nil, revocations.Trust{}, err
	}
	return cutOffs, trust, nil
}

func (l ledger) Confirm(ctx context.Context, cutOffs []revocations.CutOff) error {
	return l.call(ctx, func() {
		for _, c := range cutOffs {
			if l.w.cuts[c.ID].cut.Generation == c.Generation {
				l.w.cuts[c.ID] = cutRow{c, true}
			}
		}
	})
}

func (l ledger) Exclusive(ctx context.Context, _ string, do func(ctx context.Context) error) (bool, error) {
	l.w.mu.Lock()
	away, taken := l.w.apart[l.replica], l.w.rebuild
	if !away && !taken {
		l.w.rebuild = true
	}
	l.w.mu.Unlock()
	if away {
		return false, errLost
	}
	if taken {
		return false, nil
	}
	defer func() { // as when the connection ends
		l.w.mu.Lock()
		defer l.w.mu.Unlock()
		l.w.rebuild = false
	}()
	return true, do(ctx)
}

// set is the Redis that one replica reaches at the moment.
type set struct {
	revocations.Set // nil: a call of anything else panics

	w       *world
	replica int
}

// call runs a command on the key of an identity, and proves afterwards who has run it.
func (s set) call(ctx context.Context, id revocations.Identity, do func(map[string]int64) error) error {
	s.w.mu.Lock()
	to := s.w.servers[s.w.views[s.replica]] // a connection leads to one process; a later one to another
	s.w.mu.Unlock()
	return s.w.call(ctx, func() error {
		alive, mute := false, s.w.mute[s.replica]
		for _, server := range s.w.servers {
			alive = alive || server == to
		}
		if !alive || mute {
			return errLost
		}
		if to.sets[id] == nil {
			to.sets[id] = map[string]int64{}
		}
		if err := do(to.sets[id]); err != nil {
			return err
		}
		if to.id != id {
			return revocations.ErrIdentity
		}
		return nil
	})
}

func marker(generation int64) string { return fmt.Sprint("complete ", generation) }

func (s set) Identity(ctx context.Context) (revocations.Identity, error) {
	var id revocations.Identity
	err := s.w.call(ctx, func() error {
		if s.w.mute[s.replica] {
			return errLost
		}
		id = s.w.servers[s.w.views[s.replica]].id
		return nil
	})
	if err != nil {
		return "", err
	}
	return id, nil
}

func (s set) Holds(ctx context.Context, id revocations.Identity, generation int64) (bool, error) {
	holds := false
	err := s.call(ctx, id, func(members map[string]int64) error {
		holds = members[marker(generation)] == 1
		return nil
	})
	return err == nil && holds, err
}

func (s set) Revoked(ctx context.Context, id revocations.Identity, generation int64, tokens []revocations.Token) ([]bool, error) {
	answers := make([]bool, len(tokens))
	err := s.call(ctx, id, func(members map[string]int64) error {
		if members[marker(generation)] != 1 {
			return revocations.ErrIncomplete
		}
		for i, t := range tokens {
			_, revoked := members["t:"+t.JTI]
			answers[i] = revoked || t.Generation < members["c:"+t.ClientID]
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return answers, nil
}

func (s set) Add(ctx context.Context, id revocations.Identity, revoked []revocations.Revocation, cutOffs []revocations.CutOff) error {
	return s.call(ctx, id, func(members map[string]int64) error {
		for _, r := range revoked {
			members["t:"+r.JTI] = 1
		}
		for _, c := range cutOffs {
			members["c:"+c.ID] = max(members["c:"+c.ID], c.Generation)
		}
		return nil
	})
}

func (s set) Begin(ctx context.Context, id revocations.Identity, generation int64) error {
	return s.call(ctx, id, func(members map[string]int64) error {
		clear(members)
		members[marker(generation)] = 0
		return nil
	})
}

func (s set) Finish(ctx context.Context, id revocations.Identity, generation int64) error {
	return s.call(ctx, id, func(members map[string]int64) error {
		if score, there := members[marker(generation)]; !there || score != 0 {
			return revocations.ErrIncomplete
		}
		members[marker(generation)] = 1
		return nil
	})
}

func (s set) Purge(context.Context, revocations.Identity) error { return nil }

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
				r.Polled(sent, trust, unconfirmed)
			}
			time.Sleep(200 * time.Millisecond)
		}
	}()
	return r
}
