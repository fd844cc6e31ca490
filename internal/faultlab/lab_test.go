package faultlab

import (
	"math/rand/v2"
	"testing"
	"time"
)

// lab is the laboratory: stores, perhaps servers, what is asked of them, and what is done to them. Faults are begun and ended
// by the test's goroutine alone.
type lab struct {
	t       testing.TB
	rng     *rand.Rand // of the faults
	stores  *stores
	cluster *cluster // nil where a control is tested, which is no process
	oracle  *oracle
	history *history
	counts  counts
}

// newRNG makes one of the generators of a run. They are independent of each other, so that how far one client gets does not
// change which faults come.
func newRNG(seed uint64, name string) *rand.Rand {
	stream := uint64(0xcbf29ce484222325)
	for _, b := range []byte(name) {
		stream = (stream ^ uint64(b)) * 0x100000001b3
	}
	return rand.New(rand.NewPCG(seed, stream))
}

// between draws a duration.
func (l *lab) between(least, most time.Duration) time.Duration {
	return least + time.Duration(l.rng.Int64N(int64(most-least)+1))
}

// wait lets the system work on for a time, which is part of the load and waits for nothing.
func (l *lab) wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.t.Context().Done():
	}
}

// until polls, and says whether it was done within recoverWithin.
func (l *lab) until(done func() bool) bool {
	for deadline := time.Now().Add(recoverWithin); !done(); l.wait(5 * time.Millisecond) {
		if time.Now().After(deadline) || l.t.Context().Err() != nil {
			return false
		}
	}
	return true
}

// must fails the test when a fault could not be made: the run would show nothing.
func (l *lab) must(what string, err error) {
	l.t.Helper()
	if err != nil {
		l.t.Errorf("the laboratory could not %s: %v", what, err)
		l.history.add("could not %s: %v", what, err)
	}
}

// some picks one replica, or all of them now and then.
func (l *lab) some() []int {
	n := len(l.stores.lines)
	if l.rng.IntN(3) > 0 {
		return []int{l.rng.IntN(n)}
	}
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}
