package faultlab

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	mathrand "math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// design is a way to keep revocations that is not the product's: how one replica takes a token back, and how it looks at one.
type design interface {
	revoke(ctx context.Context, jti string) error
	revoked(ctx context.Context, jti string) (bool, error)
}

// control is replicas of a design as a system. Its tokens are made of nothing, and every error of it is a 503.
type control struct {
	stores   *stores
	replicas []design
}

const controlTimeout = 1500 * time.Millisecond

func (c *control) issue(_ context.Context, _, worker int) (token, error) {
	return token{jti: rand.Text(), client: "worker " + strconv.Itoa(worker), expires: time.Now().Add(tokenTTL)}, nil
}

func (c *control) revoke(ctx context.Context, replica int, t token) error {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	return undecided(c.replicas[replica].revoke(ctx, t.jti))
}

func (c *control) check(ctx context.Context, replica int, t token) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	revoked, err := c.replicas[replica].revoked(ctx, t.jti)
	return !revoked, undecided(err)
}

func (c *control) doomed(context.Context, token) (bool, error) { return false, nil }

func (c *control) evidence(ctx context.Context, t token) string {
	return fmt.Sprintf("row: %s\nRedis: %s", c.stores.row(ctx, "SELECT * FROM lab_revocations WHERE jti = $1", t.jti),
		describeRedis(c.stores.master(), "t:"+t.jti))
}

func undecided(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errUndecided, err)
}

// labSchema is all that the designs keep in PostgreSQL.
const labSchema = `CREATE TABLE lab_revocations (seq bigserial, jti text PRIMARY KEY);
	CREATE TABLE lab_trust (generation bigint); INSERT INTO lab_trust VALUES (0)`

// labSet is the one set in Redis, and labMarker says that it is complete.
const (
	labSet    = "signet:rev:lab"
	labMarker = "__complete__"
)

// redisPool is one connection at a time, made again after an error.
type redisPool struct {
	addr string
	mu   sync.Mutex
	conn *redisConn
}

func (p *redisPool) all(commands ...[]string) ([]any, error) {
	const within = 500 * time.Millisecond
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == nil {
		conn, err := dialRedis(p.addr, within)
		if err != nil {
			return nil, err
		}
		p.conn = conn
	}
	answers, err := p.conn.all(within, commands...)
	if err != nil {
		p.conn.close()
		p.conn = nil
	}
	return answers, err
}

func (p *redisPool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil {
		p.conn.close()
	}
}

// redisOnly has no truth but Redis.
type redisOnly struct{ redis *redisPool }

func (d *redisOnly) revoke(_ context.Context, jti string) error {
	_, err := d.redis.all([]string{"ZADD", labSet, "2", "t:" + jti})
	return err
}

func (d *redisOnly) revoked(_ context.Context, jti string) (bool, error) {
	answers, err := d.redis.all([]string{"ZSCORE", labSet, "t:" + jti})
	return err == nil && answers[0] != nil, err
}

// postgresOnly asks PostgreSQL each time. With synchronous commits it is slow and right; without, it forgets.
type postgresOnly struct{ db *sql.DB }

func (d *postgresOnly) revoke(ctx context.Context, jti string) error { return insert(ctx, d.db, jti) }

func (d *postgresOnly) revoked(ctx context.Context, jti string) (bool, error) {
	var found bool
	err := d.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM lab_revocations WHERE jti = $1)", jti).Scan(&found)
	return found, err
}

func insert(ctx context.Context, db *sql.DB, jti string) error {
	_, err := db.ExecContext(ctx, "INSERT INTO lab_revocations (jti) VALUES ($1) ON CONFLICT DO NOTHING", jti)
	return err
}

// marked keeps the truth in PostgreSQL and a fast set in Redis, which it believes where a marker says that the set is complete.
// Nothing says which Redis the marker was meant for. With generations the marker has the number of the rebuild that made it, and
// every replica compares it with PostgreSQL: that ends sets that were replaced, and not those that came back.
type marked struct {
	redis       *redisPool
	db          *sql.DB
	generations bool
	current     atomic.Pointer[string] // the marker that this replica looks for
}

func newMarked(d *load, redis *redisPool, db *sql.DB, generations bool) *marked {
	m := &marked{redis: redis, db: db, generations: generations}
	plain := labMarker
	m.current.Store(&plain)
	d.task("keeper", 0, func(rng *mathrand.Rand) {
		ctx, cancel := context.WithTimeout(d.ctx, 2*time.Second)
		defer cancel()
		_ = m.keep(ctx) // next time
		d.pause(rng, 200*time.Millisecond)
	})
	return m
}

// keep rebuilds the set when its marker is gone.
func (d *marked) keep(ctx context.Context) error {
	if d.generations {
		var generation int64
		if err := d.db.QueryRowContext(ctx, "SELECT generation FROM lab_trust").Scan(&generation); err != nil {
			return err
		}
		d.look(generation)
	}
	answers, err := d.redis.all([]string{"ZSCORE", labSet, *d.current.Load()})
	if err != nil || answers[0] != nil {
		return err
	}
	if d.generations {
		var generation int64
		if err := d.db.QueryRowContext(ctx, "UPDATE lab_trust SET generation = generation + 1 RETURNING generation").Scan(&generation); err != nil {
			return err
		}
		d.look(generation)
	}
	return d.rebuild(ctx)
}

func (d *marked) look(generation int64) {
	marker := labMarker + ":" + strconv.FormatInt(generation, 10)
	d.current.Store(&marker)
}

func (d *marked) rebuild(ctx context.Context) error {
	rows, err := d.db.QueryContext(ctx, "SELECT jti FROM lab_revocations")
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	command := []string{"ZADD", labSet, "2", "t:"}
	for rows.Next() {
		var jti string
		if err := rows.Scan(&jti); err != nil {
			return err
		}
		command = append(command, "2", "t:"+jti)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	_, err = d.redis.all(command, []string{"ZADD", labSet, "1", *d.current.Load()})
	return err
}

func (d *marked) revoke(ctx context.Context, jti string) error {
	if err := insert(ctx, d.db, jti); err != nil {
		return err
	}
	_, err := d.redis.all([]string{"ZADD", labSet, "2", "t:" + jti})
	return err
}

func (d *marked) revoked(ctx context.Context, jti string) (bool, error) {
	answers, err := d.redis.all([]string{"ZSCORE", labSet, *d.current.Load()}, []string{"ZSCORE", labSet, "t:" + jti})
	if err == nil && answers[0] != nil {
		return answers[1] != nil, nil
	}
	return (&postgresOnly{d.db}).revoked(ctx, jti)
}

// polled keeps the set in memory and reads what is new by its number. Revocations wait until every replica has polled, and
// what a replica has not polled lately it does not answer. But numbers are given in another order than commits are made.
type polled struct {
	db *sql.DB

	mu     sync.Mutex
	known  map[string]bool
	last   int64
	polled time.Time
}

const (
	pollEvery = 20 * time.Millisecond
	pollLease = 500 * time.Millisecond
)

func newPolled(d *load, db *sql.DB) *polled {
	p := &polled{db: db, known: map[string]bool{}}
	d.task("poll", 0, func(rng *mathrand.Rand) {
		ctx, cancel := context.WithTimeout(d.ctx, controlTimeout)
		defer cancel()
		_ = p.poll(ctx) // next time
		d.pause(rng, pollEvery)
	})
	return p
}

func (p *polled) poll(ctx context.Context) error {
	began := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	rows, err := p.db.QueryContext(ctx, "SELECT seq, jti FROM lab_revocations WHERE seq > $1 ORDER BY seq", p.last)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var jti string
		if err := rows.Scan(&p.last, &jti); err != nil {
			return err
		}
		p.known[jti] = true
	}
	if err := rows.Err(); err != nil {
		return err
	}
	p.polled = began
	return nil
}

func (p *polled) revoke(ctx context.Context, jti string) error {
	tx, err := p.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, "INSERT INTO lab_revocations (jti) VALUES ($1) ON CONFLICT DO NOTHING", jti); err != nil {
		return err
	}
	if err := idle(ctx, time.Duration(mathrand.Int64N(int64(50*time.Millisecond)))); err != nil { // what else the transaction does
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	return idle(ctx, pollLease+2*pollEvery)
}

func (p *polled) revoked(_ context.Context, jti string) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.polled) > pollLease {
		return false, fmt.Errorf("not polled for %v", time.Since(p.polled))
	}
	return p.known[jti], nil
}

func idle(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pools are how one replica of a design reaches the stores.
func (l *lab) pools(t testing.TB, replica int) (*redisPool, *sql.DB) {
	t.Helper()
	line := l.stores.lines[replica]
	redis := &redisPool{addr: line.redis.Addr()}
	t.Cleanup(redis.close)
	return redis, openPostgres(t, line.postgres.URL(l.stores.postgres.URL()))
}
