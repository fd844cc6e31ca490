package faultlab

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// counts is what happened in a run.
type counts struct {
	revoked, cutOffs, keys atomic.Int64

	keyRevoked time.Time // when the last key was asked to be revoked; the cluster's lock holds for it

	// The rest is the test's goroutine's.
	faults      map[string]*tally
	rebuildsHit int64
	without     time.Duration // longest time until all worked while Redis alone was away
}

// tally is what is known of one kind of fault.
type tally struct {
	times, settled int
	write, trust   time.Duration // longest times to the first revocation and to trust in Redis, after the end
}

func (c *counts) of(name string) *tally {
	if c.faults == nil {
		c.faults = map[string]*tally{}
	}
	if c.faults[name] == nil {
		c.faults[name] = &tally{}
	}
	return c.faults[name]
}

func (c *counts) made(name string) { c.of(name).times++ }

func (c *counts) recovered(name string, write, trust time.Duration) {
	of := c.of(name)
	of.settled++
	of.write, of.trust = max(of.write, write), max(of.trust, trust)
}

// kills is how many cycles of the long run are done.
func (c *counts) kills() int {
	return c.of(killServer).times + c.of(killRedis).times + c.of(killPostgres).times
}

// sums is what was asked and answered. It may be called while the faults go on.
func (l *lab) sums() string {
	o := l.oracle
	return fmt.Sprintf("revoked=%d cut_offs=%d keys=%d tokens_ended=%d checks=%d live_checks=%d undecided=%d violations=%d",
		l.counts.revoked.Load(), l.counts.cutOffs.Load(), l.counts.keys.Load(), o.ends.Load(), o.checks.Load(),
		o.lives.Load(), o.doubts.Load(), len(o.broken()))
}

// line is all sums on one line.
func (l *lab) line() string {
	sums := fmt.Sprintf("kills=%d %s", l.counts.kills(), l.sums())
	if l.cluster != nil {
		l.cluster.slow.mu.Lock()
		defer l.cluster.slow.mu.Unlock()
		sums += fmt.Sprintf(" revoke_max=%v revoke_late=%d", l.cluster.slow.most.Round(time.Millisecond), l.cluster.slow.late)
	}
	return sums
}

// summary is the table that a run ends with.
func (l *lab) summary() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-20s %6s %8s %14s %14s\n", "fault", "times", "settled", "write again", "trust again")
	var all tally
	for _, name := range slices.Sorted(maps.Keys(l.counts.faults)) {
		of := l.counts.faults[name]
		fmt.Fprintf(&b, "%-20s %6d %8d %14v %14v\n", name, of.times, of.settled, of.write.Round(time.Millisecond), of.trust.Round(time.Millisecond))
		all.times, all.settled = all.times+of.times, all.settled+of.settled
		all.write, all.trust = max(all.write, of.write), max(all.trust, of.trust)
	}
	fmt.Fprintf(&b, "%-20s %6d %8d %14v %14v\n", "all", all.times, all.settled, all.write.Round(time.Millisecond), all.trust.Round(time.Millisecond))
	fmt.Fprintf(&b, "%s\n", strings.ReplaceAll(l.line(), " ", "\n"))
	fmt.Fprintf(&b, "rebuilds_hit=%d\nwithout_redis_max=%v", l.counts.rebuildsHit, l.counts.without.Round(time.Millisecond))
	if l.cluster != nil {
		revived := 0
		for _, m := range l.cluster.members {
			revived += m.revived
		}
		fmt.Fprintf(&b, "\nrevived=%d\nslowest revocation: %s", revived, l.cluster.slow.when)
	}
	return b.String()
}

// writeResults appends the sums to a file, for those who collect runs.
func (l *lab) writeResults(t testing.TB, path string, seed uint64, began time.Time) {
	t.Helper()
	var all tally
	for _, of := range l.counts.faults {
		all.times += of.times
		all.write, all.trust = max(all.write, of.write), max(all.trust, of.trust)
	}
	commit, err := exec.CommandContext(t.Context(), "git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Errorf("write results: %v", err)
		return
	}
	defer func() { _ = file.Close() }()
	if _, err := fmt.Fprintf(file, "%s commit=%s seed=%d start=%q took=%v faults=%d %s write_again_max=%v trust_again_max=%v without_redis_max=%v\n",
		began.UTC().Format(time.RFC3339), strings.TrimSpace(string(commit)), seed, os.Getenv("FAULTS_START"),
		time.Since(began).Round(time.Second), all.times, l.line(),
		all.write.Round(time.Millisecond), all.trust.Round(time.Millisecond), l.counts.without.Round(time.Millisecond)); err != nil {
		t.Errorf("write results: %v", err)
	}
}
