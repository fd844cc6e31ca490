package faultlab

import (
	"iter"
	"slices"
	"time"
)

// active is a fault that has begun and not ended.
type active struct {
	*fault

	end   func()
	began time.Time
}

// drive makes one fault after another. Now and then one lasts into the next, and now and then the system gets the time to
// recover, which is measured; more often it does not.
func (l *lab) drive(sequence iter.Seq[*fault]) {
	var open *active
	for f := range sequence {
		if l.t.Context().Err() != nil || len(l.oracle.broken()) >= mostReported {
			break
		}
		if open != nil && (open.conflicts(f) || l.rng.IntN(3) == 0) {
			l.finish(open)
			open = nil
			l.perhapsSettle(f)
		}
		l.tend()
		next := l.start(f)
		if open != nil {
			l.wait(l.between(0, ms(200)))
			l.finish(open)
		}
		l.wait(l.between(f.hold[0], f.hold[1]))
		if open = next; l.rng.IntN(2) == 0 {
			l.available(open)
			l.finish(open)
			open = nil
			l.perhapsSettle(f)
		}
	}
	if open != nil {
		l.finish(open)
	}
	l.settle("the end")
}

func (l *lab) start(f *fault) *active {
	l.history.add("begin %s", f.name)
	a := &active{fault: f, began: time.Now()}
	a.end = f.begin(l)
	l.counts.made(f.name)
	return a
}

func (l *lab) finish(a *active) {
	a.end()
	l.history.add("end %s after %v", a.name, time.Since(a.began).Round(time.Millisecond))
}

// perhapsSettle waits for the recovery in one case of three, and else goes on into what has not recovered.
func (l *lab) perhapsSettle(after *fault) {
	if l.rng.IntN(3) == 0 {
		l.settle(after.name)
	} else {
		l.wait(l.between(0, ms(200)))
	}
}

// tend starts what has ended by itself.
func (l *lab) tend() {
	if l.cluster == nil {
		return
	}
	for i, m := range l.cluster.members {
		if log := m.tend(); log != "" {
			l.history.add("replica %d had ended by itself and was started again: %s", i, lastLines(log, 1))
		}
	}
}

// awayOnly are faults that leave revocation and introspection to work, on every replica: PostgreSQL is there (REVOCATION.md P2, P3).
func awayOnly(name string) bool {
	switch name {
	case "cut-redis", "hang-redis", "freeze-redis", killRedis, "out-of-memory":
		return true
	default:
		return false
	}
}

// recoverWithin is how long the system may take to be well again, on a machine that does much else.
const recoverWithin = 45 * time.Second

// slowRecovery is what is worth a look: Redis is promised to be trusted again by then, and writes to be done.
const slowRecovery = 5 * time.Second

// available wants revocations acknowledged and every replica to answer while Redis alone is away.
func (l *lab) available(a *active) {
	if l.cluster == nil || !awayOnly(a.name) {
		return
	}
	began, decided := time.Now(), l.oracle.decisions()
	if !l.until(func() bool {
		l.tend()
		return l.oracle.acknowledgedSince(began) && l.oracle.allDecidedSince(decided)
	}) {
		l.t.Errorf("%s: no revocation or no introspection in %v", a.name, recoverWithin)
	}
	l.counts.without = max(l.counts.without, time.Since(began))
}

// settle waits until every replica trusts Redis and answers, and a revocation is acknowledged that was asked for after the end
// of the fault.
func (l *lab) settle(after string) {
	if l.cluster == nil {
		return
	}
	began, decided := time.Now(), l.oracle.decisions()
	var wrote, trusted time.Duration
	trusts := make([]bool, replicaCount) // each has been seen to; leases come and go where the machine is slow
	done := l.until(func() bool {
		l.tend()
		if wrote == 0 && l.oracle.acknowledgedSince(began) {
			wrote = time.Since(began)
		}
		if l.cluster.trust(l.t.Context(), trusts); trusted == 0 && !slices.Contains(trusts, false) {
			trusted = time.Since(began)
		}
		return wrote > 0 && trusted > 0 && l.oracle.allDecidedSince(decided)
	})
	if !done && l.t.Context().Err() == nil {
		l.t.Errorf("after %s: not well again in %v (writes: %v, trusts: %v, answers: %t)\n%s", after, recoverWithin, wrote, trusted,
			l.oracle.allDecidedSince(decided), l.cluster.evidence(l.t.Context(), token{}))
	}
	if wrote > slowRecovery || trusted > slowRecovery {
		l.t.Logf("after %s: written after %v, trusted after %v\n%s", after, wrote, trusted, l.history.tail())
	}
	l.history.add("settled after %s: written after %v, trusted after %v", after, wrote.Round(time.Millisecond), trusted.Round(time.Millisecond))
	l.counts.recovered(after, wrote, trusted)
}

// decisions is how many answers each replica has given.
func (o *oracle) decisions() []int64 {
	out := make([]int64, len(o.decided))
	for i := range o.decided {
		out[i] = o.decided[i].Load()
	}
	return out
}

// allDecidedSince says whether each replica has answered more often.
func (o *oracle) allDecidedSince(before []int64) bool {
	for i, now := range o.decisions() {
		if now <= before[i] {
			return false
		}
	}
	return true
}
