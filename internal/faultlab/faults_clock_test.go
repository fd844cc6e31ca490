package faultlab

import "time"

// leastSkew and mostSkew bound how far the clocks of two replicas differ: by less than a minute is what is allowed.
const (
	leastSkew = time.Second
	mostSkew  = 50 * time.Second
)

func (l *lab) clockAhead() func() { return l.jump(l.between(leastSkew, mostSkew)) }
func (l *lab) clockBack() func()  { return l.jump(-l.between(leastSkew, mostSkew)) }

// jump sets the wall clock of the last replica while it runs. Everybody else has the true time, PostgreSQL and the oracle too.
func (l *lab) jump(by time.Duration) func() {
	l.history.add("  by %v", by)
	l.cluster.moved.Set(by)
	return func() { l.cluster.moved.Set(0) }
}

// suspend stops the last replica as the pause of a virtual machine does: its monotonic clock stands still meanwhile, and only
// the wall clock tells it afterwards that its lease has ended. What is revoked meanwhile is not in Redis, and the replica hears
// of that late.
func (l *lab) suspend() func() {
	last := len(l.cluster.members) - 1
	m, postgres := l.cluster.members[last], l.stores.lines[last].postgres
	m.freeze()
	stopped := time.Now()
	full := l.fill("noeviction")
	return func() {
		postgres.Hang()
		// A little less than it stood still, so that the clock never runs backwards.
		l.cluster.moved.StoodStill(max(time.Since(stopped)-ms(10), 0))
		m.thaw()
		l.wait(l.between(ms(100), ms(700)))
		full()
		postgres.Heal()
	}
}
