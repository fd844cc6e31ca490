package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// connectTimeout bounds the making of a connection, unless the URL says otherwise.
	connectTimeout = 2 * time.Second
	// cancelTimeout bounds how long a request to cancel a statement waits for its turn, and then for its answer.
	cancelTimeout = time.Second
	// How long no connection is tried after one could not be made: longer each time that one was begun.
	shortestPause = 50 * time.Millisecond
	longestPause  = 400 * time.Millisecond
)

// pacer keeps a replica from making its database's trouble worse. PostgreSQL starts a process for each connection, also for
// one that was given up or reset while it waited to be accepted. When connections break, a pool that makes all of them anew
// at once, and again when that takes too long, can fill the queue faster than the server empties it: it then works for
// connections that nobody wants any more, and none succeeds for as long as that goes on.
//
// So the pool shrinks to what works and one more, and grows by one with each connection made: callers share what there is
// while one is made for them. When one could not be made, all who wait are told, and none is tried for a moment. Of the
// connections over which pgx asks the server to cancel a statement that it does not wait for any more, there is one at a time.
// Safe for concurrent use.
type pacer struct {
	most       int           // connections while all is well
	cancelling chan struct{} // holds the one request to cancel

	mu      sync.Mutex
	pool    *sql.DB
	size    int // connections now, 1 to most
	pending int // of them, those that are being made
	pause   time.Duration
	resume  time.Time // no connection is made before
	failure error     // of the last that could not be made
}

func newPacer(most int) *pacer {
	return &pacer{most: most, size: most, cancelling: make(chan struct{}, 1)}
}

// open returns the pool.
func (p *pacer) open(c driver.Connector, timeout time.Duration) *sql.DB {
	pool := sql.OpenDB(pacedConnector{c, p, timeout})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pool = pool
	p.resize(p.most)
	return pool
}

type pacedConnector struct {
	driver.Connector
	pacer   *pacer
	timeout time.Duration // of one connection, until it is ready
}

// connectKey is the key under which a context says that it is Connect's.
type connectKey struct{}

// Connect implements driver.Connector.
func (c pacedConnector) Connect(ctx context.Context) (driver.Conn, error) {
	if err := c.pacer.begin(1); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, connectKey{}, true), c.timeout)
	defer cancel()
	conn, err := c.Connector.Connect(ctx)
	c.pacer.end(1, err)
	return conn, err //nolint:wrapcheck // it is the connector's, whoever asked
}

// begin says whether a connection may be made; pooled is 1 if it is one of the pool's, and 0 otherwise.
func (p *pacer) begin(pooled int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Now().Before(p.resume) {
		return fmt.Errorf("no connection is made for a moment, because: %w", p.failure)
	}
	p.pending += pooled
	return nil
}

// end takes the outcome. A connection that its caller called off says nothing about the server.
func (p *pacer) end(pooled int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending -= pooled
	switch {
	case err == nil:
		p.pause = 0
		p.resize(min(p.size+pooled, p.most))
	case !errors.Is(err, context.Canceled):
		p.pause = min(max(2*p.pause, shortestPause), longestPause)
		if errors.Is(err, syscall.ECONNREFUSED) {
			p.pause = shortestPause // it has left nothing behind
		}
		p.resume = time.Now().Add(p.pause)
		p.failure = err
		p.resize(p.works())
	}
}

// lost says that a connection of the pool broke, before the pool knows.
func (p *pacer) lost() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resize(min(p.size, p.works()))
}

// works is the number of connections that are not being made, but at least 1; p.mu is held.
func (p *pacer) works() int { return max(1, p.pool.Stats().OpenConnections-p.pending) }

// resize gives the pool a size; p.mu is held.
func (p *pacer) resize(size int) {
	p.size = size
	p.pool.SetMaxOpenConns(size)
	p.pool.SetMaxIdleConns(p.most) // which the other has lowered
}

// dial returns the dial function of pgx. What is not dialled for Connect is dialled to cancel a statement.
func (p *pacer) dial(dialer *net.Dialer) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if ctx.Value(connectKey{}) != nil {
			return dialer.DialContext(ctx, network, address)
		}
		ctx, cancel := context.WithTimeout(ctx, cancelTimeout)
		defer cancel()
		select {
		case p.cancelling <- struct{}{}:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		conn, err := p.dialCancel(ctx, dialer, network, address)
		if err != nil {
			<-p.cancelling
		}
		return conn, err
	}
}

func (p *pacer) dialCancel(ctx context.Context, dialer *net.Dialer, network, address string) (net.Conn, error) {
	if err := p.begin(0); err != nil {
		return nil, err
	}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		p.end(0, err)
		return nil, err //nolint:wrapcheck // it is the dialer's
	}
	_ = conn.SetDeadline(time.Now().Add(cancelTimeout))
	return &cancelConn{Conn: conn, pacer: p}, nil
}

// cancelConn is the connection of a request to cancel, which the server ends when it has done so.
type cancelConn struct {
	net.Conn
	pacer *pacer
	once  sync.Once
	err   error
}

// Read implements net.Conn.
func (c *cancelConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err //nolint:wrapcheck // it is the connection's
}

// Close implements net.Conn.
func (c *cancelConn) Close() error {
	c.once.Do(func() {
		c.pacer.end(0, c.err)
		<-c.pacer.cancelling
	})
	return c.Conn.Close() //nolint:wrapcheck // it is the connection's
}
