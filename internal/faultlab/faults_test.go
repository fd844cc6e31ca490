package faultlab

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// fault is one way to hurt the system. Its name is what FAULT= takes and what docs/failure-modes.md speaks of.
type fault struct {
	name string
	what string
	// touches are the things that it changes. Two faults may overlap only where these differ.
	touches []string
	// hold is how long it lasts between begin and end, at least and at most.
	hold [2]time.Duration
	// begin makes the fault and returns what ends it.
	begin func(l *lab) func()
}

// The things that faults touch.
const (
	ofServers  = "servers"
	ofRedis    = "redis"
	ofPostgres = "postgres"
	ofNetwork  = "network"
	ofClocks   = "clocks"
)

// The kinds that are the cycles of the long run.
const (
	killServer   = "kill-server"
	killRedis    = "kill-redis"
	killPostgres = "kill-postgres"
)

// faults is the table of all kinds.
func faults() []*fault {
	var (
		on     = func(touched ...string) []string { return touched }
		lasts  = func(least, most int) [2]time.Duration { return [2]time.Duration{ms(least), ms(most)} }
		short  = lasts(20, 400)
		medium = lasts(50, 900)
		long   = lasts(200, 1600)
	)
	return []*fault{
		{killServer, "SIGKILL of one replica; it is started again", on(ofServers), short, (*lab).killServer},
		{killRedis, "SIGKILL of Redis; it starts empty", on(ofRedis), short, (*lab).killRedis},
		{killPostgres, "SIGKILL of all processes of PostgreSQL", on(ofPostgres), short, (*lab).killPostgres},
		{"power-cut", "SIGKILL of everything; everything starts in random order", on(ofServers, ofRedis, ofPostgres), short, (*lab).powerCut},

		{"freeze-server", "SIGSTOP of one replica", on(ofServers), long, (*lab).freezeServer},
		{"freeze-redis", "SIGSTOP of Redis", on(ofRedis), long, (*lab).freezeRedis},
		{"freeze-postgres", "SIGSTOP of all processes of PostgreSQL", on(ofPostgres), long, (*lab).freezePostgres},

		{"flushall", "FLUSHALL", on(ofRedis), short, (*lab).flush},
		{"delete-key", "UNLINK of the key that is the set", on(ofRedis), short, (*lab).deleteKey},
		{"flush-rebuild", "FLUSHALL each time that a rebuild has written its marker or rows", on(ofRedis, ofNetwork), lasts(20, 100), (*lab).flushRebuild},
		{"out-of-memory", "maxmemory with noeviction: Redis reads and does not write", on(ofRedis), medium, (*lab).outOfMemory},
		{"evict", "maxmemory with allkeys-lru: Redis forgets", on(ofRedis), short, (*lab).evict},
		{"old-snapshot", "Redis is killed and starts with a snapshot from before", on(ofRedis), medium, (*lab).oldSnapshot},
		{"demote", "REPLICAOF a server that is not there, then NO ONE", on(ofRedis), medium, (*lab).demote},
		{"resync", "Redis resynchronises from a promoted standby without its last writes, and is promoted again", on(ofRedis), medium, (*lab).resync},
		{"failover", "the standby is promoted; the old primary lives on and one replica still reaches it", on(ofRedis, ofNetwork), medium, (*lab).failover},

		{"latency-redis", "Redis is far away for some replicas", on(ofNetwork), medium, latency(toRedis)},
		{"latency-postgres", "PostgreSQL is far away for some replicas", on(ofNetwork), medium, latency(toPostgres)},
		{"reset-redis", "connections to Redis are reset again and again", on(ofNetwork), short, resets(toRedis)},
		{"reset-postgres", "connections to PostgreSQL are reset again and again", on(ofNetwork), short, resets(toPostgres)},
		{"cut-redis", "some replicas are refused by Redis", on(ofNetwork), medium, cut(toRedis)},
		{"cut-postgres", "some replicas are refused by PostgreSQL", on(ofNetwork), medium, cut(toPostgres)},
		{"hang-redis", "some replicas get no answer from Redis: half-open connections", on(ofNetwork), long, hang(toRedis)},
		{"hang-postgres", "some replicas get no answer from PostgreSQL: half-open connections", on(ofNetwork), long, hang(toPostgres)},
		{"partition", "some replicas reach neither store", on(ofNetwork), long, (*lab).partition},

		{"trust-lock", "Redis takes no writes, and a lock holds up the withdrawal of the trust in it", on(ofRedis, ofPostgres), lasts(200, 1500), (*lab).trustLock},
		{"slow-poll", "one replica hears late from PostgreSQL while Redis takes no writes", on(ofRedis, ofNetwork), long, (*lab).slowPoll},
		{"clock-ahead", "the wall clock of the last replica jumps ahead by less than a minute, and back", on(ofClocks), medium, (*lab).clockAhead},
		{"clock-back", "the wall clock of the last replica jumps back by less than a minute, and ahead", on(ofClocks), medium, (*lab).clockBack},
		{"suspend", "the last replica is suspended while Redis takes no writes, and hears nothing from PostgreSQL when it wakes", on(ofServers, ofRedis, ofNetwork, ofClocks), lasts(900, 2000), (*lab).suspend},
		{"terminate-backends", "PostgreSQL ends all connections", on(ofPostgres), short, (*lab).terminateBackends},
	}
}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// faultsNamed returns those of the names, in their order.
func faultsNamed(names ...string) ([]*fault, error) {
	var found []*fault
	for _, name := range names {
		before := len(found)
		for _, f := range faults() {
			if f.name == name {
				found = append(found, f)
			}
		}
		if len(found) == before {
			return nil, fmt.Errorf("there is no fault %q; there are:\n%s", name, faultList())
		}
	}
	return found, nil
}

// faultList shows the table.
func faultList() string {
	var b strings.Builder
	for _, f := range faults() {
		fmt.Fprintf(&b, "  %-20s %s\n", f.name, f.what)
	}
	return b.String()
}

// conflicts says whether two faults touch the same thing.
func (f *fault) conflicts(other *fault) bool {
	return slices.ContainsFunc(f.touches, func(touched string) bool { return slices.Contains(other.touches, touched) })
}
