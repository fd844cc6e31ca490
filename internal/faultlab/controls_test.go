package faultlab

import (
	"testing"
	"time"
)

// caughtWithin is how long the laboratory may take to catch a design that is wrong.
const caughtWithin = time.Minute

// TestControls runs designs that are known to be wrong under the faults that they do not survive, with the same stores, proxies
// and oracle as the product. The laboratory must see each of them break the promise: if it did not, its silence about the
// product would mean nothing.
func TestControls(t *testing.T) {
	for name, test := range map[string]struct {
		settings []string // of PostgreSQL
		faults   []string
		make     func(t *testing.T, l *lab, d *load, replica int) design
	}{
		"Redis only": {
			faults: []string{killRedis, "flushall", "evict", "delete-key"},
			make: func(t *testing.T, l *lab, _ *load, replica int) design {
				redis, _ := l.pools(t, replica)
				return &redisOnly{redis}
			},
		},
		"marker without identity": {
			faults: []string{"failover", "resync"},
			make: func(t *testing.T, l *lab, d *load, replica int) design {
				redis, db := l.pools(t, replica)
				return newMarked(d, redis, db, false)
			},
		},
		"snapshot without identity": {
			faults: []string{"old-snapshot"},
			make: func(t *testing.T, l *lab, d *load, replica int) design {
				redis, db := l.pools(t, replica)
				return newMarked(d, redis, db, true)
			},
		},
		"asynchronous commits": {
			// The writer of the log would save most of what a kill can lose.
			settings: []string{"synchronous_commit=off", "wal_writer_delay=10s"},
			faults:   []string{killPostgres},
			make: func(t *testing.T, l *lab, _ *load, replica int) design {
				_, db := l.pools(t, replica)
				return &postgresOnly{db}
			},
		},
		"polling by sequence": {
			faults: []string{"latency-redis"}, // transactions side by side are enough: this only takes its time
			make: func(t *testing.T, l *lab, d *load, replica int) design {
				_, db := l.pools(t, replica)
				return newPolled(d, db)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, d := startControl(t, test.settings, test.make)
			defer d.end()
			list, err := faultsNamed(test.faults...)
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			caught := func() bool { return len(l.oracle.broken()) > 0 }
			for f := range l.rounds(list, 1000) {
				if caught() || time.Since(began) > caughtWithin {
					break
				}
				l.one(f)
			}
			d.end()
			if !caught() {
				t.Fatalf("not caught in %v: %s\n%s", caughtWithin, l.line(), l.history.tail())
			}
			first := l.oracle.broken()[0]
			t.Logf("caught after %v: %s\n%s", time.Since(began).Round(time.Millisecond), l.line(), first.text)
			if first.kind != resurrected {
				t.Errorf("caught for another reason: %s", first.text)
			}
		})
	}
}

// TestControlThatHolds runs a design that is right, only slow, under the faults that break a wrong one of the same kind: the
// oracle has nothing to say.
func TestControlThatHolds(t *testing.T) {
	l, d := startControl(t, nil, func(t *testing.T, l *lab, _ *load, replica int) design {
		_, db := l.pools(t, replica)
		return &postgresOnly{db}
	})
	defer d.end()
	list, err := faultsNamed(killPostgres, "terminate-backends", "cut-postgres")
	if err != nil {
		t.Fatal(err)
	}
	for f := range l.rounds(list, len(list)) {
		l.one(f)
	}
	d.end()
	for _, v := range l.oracle.broken() {
		t.Errorf("%s", v.text)
	}
	if l.oracle.ends.Load() == 0 || l.oracle.checks.Load() == 0 {
		t.Errorf("nothing was asked: %s", l.line())
	}
	t.Log(l.line())
}

// startControl is a laboratory without servers.
func startControl(t *testing.T, settings []string, replica func(*testing.T, *lab, *load, int) design) (*lab, *load) {
	t.Helper()
	seed := seedOf(t)
	t.Logf("FAULTS_SEED=%d", seed)
	l := &lab{t: t, rng: newRNG(seed, "faults"), stores: startStores(t, 2, settings...), history: &history{}}
	c := &control{stores: l.stores}
	l.oracle = newOracle(c, newJournal(t), l.history, len(l.stores.lines))
	l.must("make the tables", l.stores.exec(t.Context(), labSchema))
	l.must("keep the tables, however the settings commit", l.stores.exec(t.Context(), "CHECKPOINT"))
	d := prepareLoad(l, seed)
	for i := range l.stores.lines {
		c.replicas = append(c.replicas, replica(t, l, d, i))
	}
	d.start(workerCount)
	return l, d
}

// one makes a fault and ends it, with enough time between two for some revocations.
func (l *lab) one(f *fault) {
	l.wait(l.between(ms(100), ms(300)))
	a := l.start(f)
	l.wait(l.between(f.hold[0], f.hold[1]))
	l.finish(a)
	l.wait(l.between(ms(100), ms(300)))
}
