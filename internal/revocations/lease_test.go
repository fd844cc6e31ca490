package revocations

import (
	"testing"
	"time"
	"unsafe"
)

// later returns a moment that the two clocks see differently far after another.
func later(t *testing.T, than time.Time, monotonic, wall time.Duration) time.Time {
	t.Helper()
	reading := func(at *time.Time) *int64 {
		return &(*struct { // the layout of time.Time
			wall uint64
			ext  int64
			loc  *time.Location
		})(unsafe.Pointer(at)).ext
	}
	same, at := than.Add(monotonic), than.Add(wall)
	*reading(&at) = *reading(&same)
	if at.Sub(than) != monotonic || at.Round(0).Sub(than.Round(0)) != wall {
		t.Fatal("time.Time has another layout now")
	}
	return at
}

// TestSweptByTheClockOfTheLedger: of a token that lives here and expired minutes ago by the ledger's clock, it may have nothing
// any more. The ledger's clock is taken for as late as it can be: as if it had said so before it was asked, and by either clock.
func TestSweptByTheClockOfTheLedger(t *testing.T) {
	t.Parallel()
	const margin = Retention / 2
	for name, test := range map[string]struct {
		ahead           time.Duration // of the ledger's clock when it was asked
		monotonic, wall time.Duration // since then
		lives           time.Duration // the token, after it was asked
		swept           bool
	}{
		"clocks agree":                     {0, time.Second, time.Second, 2 * time.Second, false},
		"just over by the ledger's":        {time.Minute, 0, 0, time.Second, false},
		"behind, and not for long enough":  {time.Minute, 0, 0, time.Minute - margin, false},
		"behind":                           {10 * time.Minute, 0, 0, time.Minute, true},
		"behind, and the token lives on":   {10 * time.Minute, 0, 0, 10*time.Minute - margin, false},
		"as long as the look is ago":       {0, margin + 2*time.Second, margin + 2*time.Second, time.Second, true},
		"while the machine was suspended":  {0, 0, margin + 2*time.Second, time.Second, true},
		"the clock was set back meanwhile": {0, margin + 2*time.Second, -time.Hour, time.Second, true},
		"the ledger is behind":             {-time.Hour, 0, 0, time.Second, false},
	} {
		sent := time.Now()
		c := &clock{sent: sent, now: sent.Add(test.ahead)}
		if got := c.swept(Token{ExpiresAt: sent.Add(test.lives)}, later(t, sent, test.monotonic, test.wall)); got != test.swept {
			t.Errorf("%s: swept = %t", name, got)
		}
	}
	var none *clock
	if none.swept(Token{ExpiresAt: time.Now()}, time.Now()) || (&clock{}).swept(Token{ExpiresAt: time.Now()}, time.Now()) {
		t.Error("a clock that nobody has read says so")
	}
}

// TestLeaseGoesByBothClocks: a lease is dead as soon as one of the clocks says so: the monotonic one, which nobody sets, or
// the other one, which does not stand still while the machine is suspended. One that runs backwards is not believed.
func TestLeaseGoesByBothClocks(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for name, test := range map[string]struct {
		monotonic, wall time.Duration // since it was dated
		alive           bool
	}{
		"new":                  {0, 0, true},
		"just alive":           {499 * ms, 499 * ms, true},
		"just over":            {500 * ms, 500 * ms, false},
		"suspended":            {100 * ms, 500 * ms, false},
		"suspended for long":   {100 * ms, 10 * time.Hour, false},
		"clock set forward":    {100 * ms, time.Hour, false},
		"clock set back":       {100 * ms, -time.Hour, false},
		"clock set back a bit": {100 * ms, -ms, false},
		"clock set back, over": {500 * ms, 100 * ms, false},
		"clock set back since": {time.Hour, 100 * ms, false},
		"monotonic runs back":  {-ms, 100 * ms, false},
		"clocks differ a bit":  {300 * ms, 310 * ms, true},
	} {
		dated := time.Now()
		l := &lease{dated: dated}
		if got := l.alive(later(t, dated, test.monotonic, test.wall), leaseLife); got != test.alive {
			t.Errorf("%s: alive = %t", name, got)
		}
	}
	var none *lease
	if none.alive(time.Now(), leaseLife) {
		t.Error("a lease that is not there is alive")
	}
}
