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
