package faultlab

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// redis tells a server something.
func (l *lab) redis(addr string, commands ...[]string) []any {
	l.t.Helper()
	answers, err := askRedis(addr, commands...)
	l.must("tell Redis "+commands[0][0], err)
	return answers
}

func (l *lab) flush() func() {
	l.redis(l.stores.master(), []string{"FLUSHALL"})
	return func() {}
}

const deleteSets = `local n = 0
for _, key in ipairs(redis.call('KEYS', 'signet:rev:*')) do n = n + redis.call('UNLINK', key) end
return n`

func (l *lab) deleteKey() func() {
	l.redis(l.stores.master(), []string{"EVAL", deleteSets, "0"})
	return func() {}
}

// flushHalfBuilt empties Redis when a set in it has a marker that is not complete, and at least as many members as are asked for.
const flushHalfBuilt = `for _, key in ipairs(redis.call('KEYS', 'signet:rev:*')) do
  if #redis.call('ZRANGEBYSCORE', key, '0', '0') > 0 and redis.call('ZCARD', key) >= tonumber(ARGV[1]) then
    redis.call('FLUSHALL')
    return 1
  end
end
return 0`

// flushRebuild makes rebuilds necessary, slows them down a little, and hits each of them between its marker and its rows or
// between its rows and its end.
func (l *lab) flushRebuild() func() {
	for _, line := range l.stores.lines {
		line.redis.SetLatency(l.between(ms(1), ms(15)))
		defer line.redis.Heal()
	}
	c, err := dialRedis(l.stores.master(), time.Second)
	if err != nil {
		l.must("reach Redis", err)
		return func() {}
	}
	defer c.close()
	_, err = c.do(time.Second, "FLUSHALL")
	members, hits := "1", int64(0)
	for end := time.Now().Add(l.between(ms(500), ms(1500))); err == nil && time.Now().Before(end); {
		var hit any
		hit, err = c.do(time.Second, "EVAL", flushHalfBuilt, "0", members)
		if n, _ := hit.(int64); n > 0 {
			hits++
			rows := len(l.oracle.all()) / 2
			members = strconv.Itoa([]int{1, max(2, rows), max(2, rows)}[l.rng.IntN(3)])
		}
	}
	l.must("flush Redis during a rebuild", err)
	l.history.add("  flushed %d rebuilds", hits)
	l.counts.rebuildsHit += hits
	return func() {}
}

// fill lets Redis have no memory left.
func (l *lab) fill(policy string) func() {
	addr := l.stores.master()
	l.redis(addr, []string{"CONFIG", "SET", "maxmemory-policy", policy}, []string{"CONFIG", "SET", "maxmemory", "1"})
	return func() {
		l.redis(addr, []string{"CONFIG", "SET", "maxmemory", "0"}, []string{"CONFIG", "SET", "maxmemory-policy", "noeviction"})
	}
}

func (l *lab) outOfMemory() func() { return l.fill("noeviction") }

// slowPoll keeps a replica so far from PostgreSQL that it reads the trust row just before a withdrawal and hears of it long after.
// It answers from Redis meanwhile, which has what was there before.
func (l *lab) slowPoll() func() {
	line := l.stores.lines[l.rng.IntN(len(l.stores.lines))]
	line.postgres.SetLatency(l.between(ms(120), ms(450)))
	l.wait(l.between(ms(200), ms(900)))
	full := l.fill("noeviction")
	return func() {
		full()
		line.postgres.Heal()
	}
}

func (l *lab) evict() func() { return l.fill("allkeys-lru") }

func (l *lab) oldSnapshot() func() {
	redis := l.stores.primaryRedis()
	answers := l.redis(redis.Addr(), []string{"SAVE"}, []string{"CONFIG", "GET", "dir"})
	return func() {
		redis.Kill()
		l.wait(l.between(0, ms(100)))
		redis.Start()
		pair, _ := answers[1].([]any)
		dir, _ := pair[1].(string)
		if err := os.Remove(filepath.Join(dir, "dump.rdb")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			l.must("remove the snapshot", err)
		}
	}
}

// replicaOf makes one server the replica of another; "" makes it a primary.
func (l *lab) replicaOf(addr, primary string) {
	if primary == "" {
		l.redis(addr, []string{"REPLICAOF", "NO", "ONE"})
		return
	}
	host, port, err := net.SplitHostPort(primary)
	l.must("name the primary", err)
	l.redis(addr, []string{"REPLICAOF", host, port})
}

// follow makes one server the replica of another and waits until it has everything.
func (l *lab) follow(addr, primary string) {
	l.replicaOf(addr, primary)
	if !l.until(func() bool {
		answers, err := askRedis(addr, []string{"INFO", "replication"})
		return err == nil && infoField(answers[0], "master_link_status") == "up"
	}) {
		l.must("replicate", fmt.Errorf("the link is not up after %v", recoverWithin))
	}
}

func (l *lab) demote() func() {
	addr := l.stores.master()
	l.replicaOf(addr, "127.0.0.1:1") // where nobody listens
	return func() { l.replicaOf(addr, "") }
}

// resync promotes the standby with a copy, lets the primary go on for a while, and makes it throw that away: it keeps its run
// ID, its key and its marker.
func (l *lab) resync() func() {
	master, standby := l.stores.master(), l.stores.standby()
	l.follow(standby, master)
	l.replicaOf(standby, "")
	l.wait(l.between(ms(20), ms(400)))
	l.follow(master, standby)
	return func() { l.replicaOf(master, "") }
}

// failover promotes the standby. One replica, or none, goes on with the old primary, which knows nothing of it; at times so do
// the connections that are open. At the end all are led to the new one, and the roles have changed.
func (l *lab) failover() func() {
	s := l.stores
	l.follow(s.standby(), s.master())
	l.wait(l.between(0, ms(100)))
	l.replicaOf(s.standby(), "")
	behind, abrupt := l.rng.IntN(len(s.lines)+1), l.rng.IntN(2) == 0
	l.history.add("  replica %d of %d stays behind, connections end: %t", behind, len(s.lines), abrupt)
	s.primary.Store(1 - s.primary.Load())
	for i, line := range s.lines {
		if i == behind {
			continue
		}
		line.relay.point(s.master())
		if abrupt {
			line.relay.reset()
		}
	}
	return func() {
		for _, line := range s.lines {
			line.relay.point(s.master())
			line.relay.reset()
		}
	}
}
