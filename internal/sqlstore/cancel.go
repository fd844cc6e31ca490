package sqlstore

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// cancelTimeout bounds how long a request to cancel a statement waits for its turn, and then how long for its answer.
const cancelTimeout = time.Second

// dial returns the dial function of pgx. It is called for the pacer, and with another context when pgx closes a connection
// and asks the server, over one more, to cancel what it still does for it. Those cost the server a process each, too: there
// is one at a time, and none while no connection may be made.
func (p *pacer) dial(dialer *net.Dialer) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if ctx.Value(connectKey{}) != nil {
			return dialer.DialContext(ctx, network, address)
		}
		turn := time.NewTimer(cancelTimeout)
		defer turn.Stop()
		select {
		case p.canceling <- struct{}{}:
		case <-turn.C:
			return nil, context.DeadlineExceeded
		}
		conn, err := p.dialCancel(ctx, dialer, network, address)
		if err != nil {
			<-p.canceling
		}
		return conn, err
	}
}

func (p *pacer) dialCancel(ctx context.Context, dialer *net.Dialer, network, address string) (net.Conn, error) {
	p.mu.Lock()
	err := p.mayConnect()
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, cancelTimeout)
	defer cancel()
	conn, err := dialer.DialContext(ctx, network, address)
	if err == nil {
		err = conn.SetDeadline(time.Now().Add(cancelTimeout))
	}
	if err != nil {
		p.canceled(err) //nolint:contextcheck // what it sets off is nobody's
		return nil, err //nolint:wrapcheck // it is the dialer's
	}
	return &cancelConn{Conn: conn, pacer: p}, nil
}

// canceled takes the outcome of a request. One that failed says that connections cannot be made; one that did not says
// little, for a server that is full does it, too.
func (p *pacer) canceled(err error) {
	if err == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail(err)
}

// cancelConn is the connection of a request to cancel, which the server ends when it has taken it.
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

// Write implements net.Conn.
func (c *cancelConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err != nil {
		c.err = err
	}
	return n, err //nolint:wrapcheck // it is the connection's
}

// Close implements net.Conn.
func (c *cancelConn) Close() error {
	c.once.Do(func() {
		c.pacer.canceled(c.err)
		<-c.pacer.canceling
	})
	return c.Conn.Close() //nolint:wrapcheck // it is the connection's
}
