package faultlab

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

func (l *lab) killServer() func() {
	m := l.cluster.members[l.rng.IntN(len(l.cluster.members))]
	m.kill()
	return m.start
}

func (l *lab) killRedis() func() {
	redis := l.stores.primaryRedis()
	redis.Kill()
	return redis.Start
}

func (l *lab) killPostgres() func() {
	l.stores.postgres.Kill()
	return l.stores.postgres.Start
}

func (l *lab) powerCut() func() {
	kills := []func(){l.stores.postgres.Kill, l.stores.primaryRedis().Kill}
	starts := []func(){l.stores.postgres.Start, l.stores.primaryRedis().Start}
	for _, m := range l.cluster.members {
		kills, starts = append(kills, m.kill), append(starts, m.start)
	}
	for _, list := range [][]func(){kills, starts} {
		l.rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	for _, kill := range kills {
		kill()
	}
	return func() {
		for _, start := range starts {
			start()
		}
	}
}

func (l *lab) freezeServer() func() {
	m := l.cluster.members[l.rng.IntN(len(l.cluster.members))]
	m.freeze()
	return m.thaw
}

func (l *lab) freezeRedis() func() {
	redis := l.stores.primaryRedis()
	redis.Freeze()
	return redis.Thaw
}

func (l *lab) freezePostgres() func() {
	l.stores.postgres.Freeze()
	return l.stores.postgres.Thaw
}

func (l *lab) terminateBackends() func() {
	l.must("terminate the backends", l.stores.exec(l.t.Context(),
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"))
	return func() {}
}

// trustLock holds a lock on the trust row while nobody can write to Redis. A shared one lets revocations read the row and keeps
// the withdrawal that each of them now owes from its commit; an exclusive one stops both. Leases go on meanwhile: they only read.
func (l *lab) trustLock() func() {
	strength := "SHARE"
	if l.rng.IntN(3) == 0 {
		strength = "UPDATE"
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.t.Context()), 10*time.Second)
	tx, err := l.stores.direct.BeginTx(ctx, nil)
	if err != nil {
		cancel()
		l.must("begin a transaction", err)
		return func() {}
	}
	if _, err := tx.ExecContext(ctx, "SELECT * FROM redis_trust FOR "+strength); err != nil {
		l.must("lock the trust row", err)
	}
	full := l.fill("noeviction")
	return func() {
		defer cancel()
		if l.rng.IntN(2) == 0 {
			full()
			full = func() {}
		}
		if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
			l.must("release the trust row", fmt.Errorf("roll back: %w", err))
		}
		full()
	}
}
