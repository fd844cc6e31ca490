package faultlab

import (
	"flag"
	"iter"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/clock"
)

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	servertest.CleanUp()
	os.Exit(code)
}

// TestFaults runs the real servers. Without an order it makes each fault twice; FAULTS_CYCLES asks for so many kills among other
// faults, FAULTS_ONLY for cycles of the faults that it names. FAULTS_SEED repeats the choices of a run, not its timing.
// FAULTS_START is how long PostgreSQL takes for each connection that it accepts, one after the other.
func TestFaults(t *testing.T) {
	if os.Getenv("FAULTS_ONLY") == "list" {
		t.Skipf("the faults:\n%s", faultList())
	}
	seed, began := seedOf(t), time.Now()
	t.Logf("FAULTS_SEED=%d", seed)
	l := &lab{t: t, rng: newRNG(seed, "faults"), stores: startStores(t, replicaCount), history: &history{}}
	if text := os.Getenv("FAULTS_START"); text != "" {
		each, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("FAULTS_START: %v", err)
		}
		l.stores.startSlowly(t, each)
	}
	sequence := l.ordered(t)
	l.cluster = startCluster(t, l.stores, clock.New(t))
	l.oracle = newOracle(l.cluster, newJournal(t), l.history, replicaCount)
	d := prepareLoad(l, seed)
	defer d.end() // also when something fails in between
	d.start(workerCount)
	stop := l.progress(t)
	l.settle("start")
	l.drive(sequence)
	d.end()
	stop()
	l.sweep()
	l.judge(t)
	t.Logf("%v, FAULTS_SEED=%d\n%s", time.Since(began).Round(time.Second), seed, l.summary())
	if path := os.Getenv("FAULTS_RESULTS"); path != "" {
		l.writeResults(t, path, seed, began)
	}
}

func seedOf(t testing.TB) uint64 {
	t.Helper()
	text := os.Getenv("FAULTS_SEED")
	if text == "" {
		return uint64(time.Now().UnixNano())
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("FAULTS_SEED: %v", err)
	}
	return seed
}

// ordered is the sequence of faults that the environment asks for.
func (l *lab) ordered(t testing.TB) iter.Seq[*fault] {
	t.Helper()
	cycles := 0
	if text := os.Getenv("FAULTS_CYCLES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("FAULTS_CYCLES: %v", err)
		}
		cycles = n
	}
	if only := os.Getenv("FAULTS_ONLY"); only != "" {
		list, err := faultsNamed(strings.Split(only, ",")...)
		if err != nil {
			t.Fatal(err)
		}
		return l.rounds(list, max(cycles, 1)*len(list))
	}
	switch {
	case cycles > 0:
		return l.killCycles(cycles)
	case testing.Short():
		list, err := faultsNamed(killServer, killRedis, killPostgres, "resync", "hang-redis", "trust-lock")
		if err != nil {
			t.Fatal(err)
		}
		return l.rounds(list, len(list))
	default:
		list := faults()
		return l.rounds(list, 2*len(list))
	}
}

// rounds gives n faults in rounds: each of the list once, in an order of its own, before any comes again.
func (l *lab) rounds(list []*fault, n int) iter.Seq[*fault] {
	return func(yield func(*fault) bool) {
		var round []*fault
		for range n {
			if len(round) == 0 {
				round = slices.Clone(list)
				l.rng.Shuffle(len(round), func(i, j int) { round[i], round[j] = round[j], round[i] })
			}
			if !yield(round[0]) {
				return
			}
			round = round[1:]
		}
	}
}

// killCycles gives n kills, of a server, Redis and PostgreSQL in turns, with other faults between them.
func (l *lab) killCycles(n int) iter.Seq[*fault] {
	kills, err := faultsNamed(killServer, killRedis, killPostgres)
	l.must("find the kills", err)
	others := slices.DeleteFunc(faults(), func(f *fault) bool { return f.name == killServer || f.name == killRedis || f.name == killPostgres })
	return func(yield func(*fault) bool) {
		next, stop := iter.Pull(l.rounds(others, n))
		defer stop()
		for i := range n {
			if l.rng.IntN(2) == 0 {
				if other, ok := next(); ok && !yield(other) {
					return
				}
			}
			if !yield(kills[i%len(kills)]) {
				return
			}
		}
	}
}

// progress says once a minute how far the run is, and at once what is broken.
func (l *lab) progress(t testing.TB) func() {
	t.Helper()
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		reported := 0
		for second := 1; ; second++ {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			if broken := l.oracle.broken(); len(broken) > reported && broken[reported].text != "" {
				t.Log(broken[reported].text)
				reported++
			}
			if second%60 == 0 {
				t.Logf("%d min: %s; last: %s", second/60, l.sums(), l.history.last())
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// sweep asks every replica once more about everything in the journal, as the file has it; about a sample where that is much.
func (l *lab) sweep() {
	const most = 3000
	lines, err := l.oracle.journal.read()
	l.must("read the journal", err)
	l.rng.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	asked := 0
	for _, line := range lines[:min(len(lines), most)] {
		t, err := readToken(line.Token)
		if err != nil || time.Until(t.expires) < time.Minute {
			continue
		}
		for replica := range l.cluster.members {
			if !l.until(func() bool {
				return l.oracle.ask(l.t.Context(), replica, known{t, line.How, line.Time})
			}) {
				l.t.Errorf("replica %d does not answer at the end", replica)
				return
			}
		}
		asked++
	}
	l.t.Logf("at the end all replicas were asked about %d of the %d tokens in the journal", asked, len(lines))
	if int64(len(lines)) != l.oracle.ends.Load() || asked == 0 && len(lines) > 0 {
		l.t.Errorf("the journal has %d lines for %d acknowledged ends", len(lines), l.oracle.ends.Load())
	}
}

// judge fails the test for what was broken, and for a run that shows nothing.
func (l *lab) judge(t testing.TB) {
	t.Helper()
	for i, v := range l.oracle.broken() {
		if i < mostReported {
			t.Errorf("%s", v.text)
		}
	}
	if n := len(l.oracle.broken()); n > 0 {
		t.Errorf("%d violations", n)
	}
	slow := &l.cluster.slow
	if slow.most > revokeWithin+slack {
		t.Errorf("a revocation took %v (%s), want at most %v and %v of slack", slow.most, slow.when, revokeWithin, slack)
	}
	if l.counts.revoked.Load() == 0 || l.counts.cutOffs.Load() == 0 || l.oracle.lives.Load() == 0 || slices.Contains(l.oracle.decisions(), 0) {
		t.Errorf("the run shows nothing: %s", l.line())
	}
}

func (h *history) last() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lines[len(h.lines)-1]
}
