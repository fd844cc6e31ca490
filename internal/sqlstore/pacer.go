package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
)

// For how long no connection is tried after one could not be made; doubled each time. One that was refused leaves nothing
// in the server's queue, and counts for the shortest.
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 400 * time.Millisecond
)

// spareLife is how long a connection is kept whose caller went away before it was made.
const spareLife = 5 * time.Second

// pacer keeps a replica from making its database's trouble worse. PostgreSQL starts a process for each connection, also for
// one that was given up or reset while it waited to be accepted. When connections break, a pool that makes all of them anew
// at once, and again when that takes too long, can fill the queue faster than the server empties it: it then works for
// connections that nobody wants any more, and none succeeds for as long as that goes on.
//
// So the pool shrinks to what works and one more, and grows by one with each connection made: callers share what there is
// while one is made. After one could not be made, none is tried for a moment, and who has nothing to share is told. No
// attempt is given up because its caller went away: the next caller takes it over. Safe for concurrent use.
//
// Its lock is held when it asks the pool, and never the other way round: database/sql calls a connector without its own.
type pacer struct {
	connector driver.Connector
	timeout   time.Duration // of one attempt
	maxConns  int
	ended     context.Context //nolint:containedctx // of the pool, which outlives each caller
	end       context.CancelFunc
	attempts  sync.WaitGroup
	canceling chan struct{} // holds the one request to cancel a statement

	mu        sync.Mutex
	pool      *sql.DB
	limit     int        // connections that the pool may have now, 1 to maxConns
	pending   int        // callers that wait for a connection to be made; the pool counts each as one
	orphans   []*attempt // those that no caller waits for
	backoff   time.Duration
	notBefore time.Time // no connection is tried before
	lastErr   error     // of the last that could not be made
}

// attempt is a connection that is being made.
type attempt struct {
	done chan struct{} // closed when the rest is there
	conn driver.Conn
	err  error
}

// pooledConn is a connection of the pool. stdlib's does not say that it is closed, so the pool would keep it, and count it,
// until somebody wants to use it.
type pooledConn struct{ *stdlib.Conn }

// IsValid implements driver.Validator.
func (c pooledConn) IsValid() bool { return !c.Conn.Conn().IsClosed() }

func newPacer(ctx context.Context, maxConns int, timeout time.Duration) *pacer {
	p := &pacer{timeout: timeout, maxConns: maxConns, canceling: make(chan struct{}, 1)}
	p.ended, p.end = context.WithCancel(context.WithoutCancel(ctx))
	return p
}

// open makes the pool that the pacer resizes, of connections by c. It is called once.
func (p *pacer) open(c driver.Connector) *sql.DB {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.connector, p.pool = c, sql.OpenDB(p)
	p.setLimit(p.maxConns)
	return p.pool
}

// Driver implements driver.Connector.
func (p *pacer) Driver() driver.Driver { return p.connector.Driver() }

// Keys under which a context says that a connection of the pool is being made, and that none is wanted; see wake.
type (
	connectKey struct{}
	wakeKey    struct{}
)

// Connect implements driver.Connector.
func (p *pacer) Connect(ctx context.Context) (driver.Conn, error) {
	if ctx.Value(wakeKey{}) != nil {
		return nil, errWake
	}
	a, err := p.join() //nolint:contextcheck // an attempt is nobody's
	if err != nil {
		return nil, err
	}
	select {
	case <-a.done:
		p.took(a) //nolint:contextcheck // as above
	case <-ctx.Done():
		p.leave(a)
		return nil, context.Cause(ctx)
	}
	if a.err != nil {
		return nil, a.err
	}
	return pooledConn{a.conn.(*stdlib.Conn)}, nil //nolint:forcetypeassert,errcheck // whose connector it is
}

// join takes over an attempt that nobody waits for, or begins one.
func (p *pacer) join() (*attempt, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.orphans) > 0 {
		p.pending++
		a := p.orphans[0]
		p.orphans = p.orphans[1:]
		return a, nil
	}
	if err := p.mayConnect(); err != nil {
		return nil, err
	}
	p.pending++
	a := &attempt{done: make(chan struct{})}
	p.attempts.Go(func() { p.run(a) })
	return a, nil
}

// mayConnect says whether a connection may be tried now; p.mu is held.
func (p *pacer) mayConnect() error {
	if p.paused() {
		return fmt.Errorf("connection postponed after a failure: %w", p.lastErr)
	}
	return p.ended.Err()
}

func (p *pacer) paused() bool { return time.Now().Before(p.notBefore) }

// run makes the connection, for whoever waits for it then.
func (p *pacer) run(a *attempt) {
	ctx, cancel := context.WithTimeout(context.WithValue(p.ended, connectKey{}, true), p.timeout)
	defer cancel()
	a.conn, a.err = p.connector.Connect(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	close(a.done)
	if a.err != nil {
		p.fail(a.err)
	} else {
		p.backoff = 0
	}
	if slices.Contains(p.orphans, a) {
		p.keep(a)
	}
}

// keep keeps a connection that nobody waits for, for a while; p.mu is held.
func (p *pacer) keep(a *attempt) {
	drop := func() {
		p.orphans = slices.DeleteFunc(p.orphans, func(other *attempt) bool { return other == a })
	}
	if a.err != nil {
		drop()
		return
	}
	time.AfterFunc(spareLife, func() {
		p.mu.Lock()
		spare := slices.Contains(p.orphans, a)
		drop()
		p.mu.Unlock()
		if spare {
			_ = a.conn.Close()
		}
	})
}

// took is told when a caller has the outcome of its attempt, before the pool knows.
func (p *pacer) took(a *attempt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending--
	if a.err != nil {
		p.shrink(1)
	} else if p.limit < p.maxConns {
		p.grow()
		go p.wake()
	}
}

// leave is told when a caller does not wait any more.
func (p *pacer) leave(a *attempt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending--
	p.orphans = append(p.orphans, a)
	select {
	case <-a.done:
		p.keep(a)
	default: // run will
	}
}

// fail notes that a connection could not be made; p.mu is held. What fails together counts once.
func (p *pacer) fail(err error) {
	p.lastErr = err
	if p.paused() {
		return
	}
	p.backoff = min(max(2*p.backoff, minBackoff), maxBackoff)
	if errors.Is(err, syscall.ECONNREFUSED) {
		p.backoff = minBackoff
	}
	p.notBefore = time.Now().Add(p.backoff)
	p.shrink(0)
	time.AfterFunc(p.backoff, func() {
		p.mu.Lock()
		p.grow()
		p.mu.Unlock()
		p.wake()
	})
}

var errWake = errors.New("no connection is wanted")

// wake has the pool make a connection for a caller that waits, which a higher limit alone does not: it looks when a connection
// could not be made.
func (p *pacer) wake() {
	ctx, cancel := context.WithTimeout(context.WithValue(p.ended, wakeKey{}, true), time.Millisecond)
	defer cancel()
	if conn, err := p.pool.Conn(ctx); err == nil {
		_ = conn.Close()
	}
}

// lost is told when a connection of the pool broke, before the pool knows.
func (p *pacer) lost() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shrink(1)
}

// shrink lowers the limit to what there is room for, when so many of the connections that the pool counts are gone; p.mu is
// held.
func (p *pacer) shrink(gone int) { p.setLimit(min(p.limit, p.room(gone))) }

// grow raises the limit to what there is room for; p.mu is held.
func (p *pacer) grow() { p.setLimit(max(p.limit, p.room(0))) }

// room is the number of connections that are there, and one more to make unless some are being made or none may.
func (p *pacer) room(gone int) int {
	there := p.pool.Stats().OpenConnections - p.pending - gone
	more := max(p.pending, 1)
	if p.paused() {
		more = p.pending
	}
	return min(max(there+more, 1), p.maxConns)
}

// setLimit resizes the pool; p.mu is held.
func (p *pacer) setLimit(limit int) {
	p.limit = limit
	p.pool.SetMaxOpenConns(limit)
	p.pool.SetMaxIdleConns(p.maxConns) // which the other lowers, and does not raise again
}

// Close implements io.Closer, for sql.DB.Close. Callers that still wait get an error.
func (p *pacer) Close() error {
	p.mu.Lock()
	p.end()
	p.mu.Unlock()
	p.attempts.Wait()
	p.mu.Lock()
	orphans := p.orphans
	p.orphans = nil
	p.mu.Unlock()
	for _, a := range orphans {
		_ = a.conn.Close()
	}
	return nil
}
