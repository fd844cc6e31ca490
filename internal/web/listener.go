package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Listen opens a listener with at most maxConns connections at once; more wait in the kernel's queue until one ends. The
// network is "tcp" or "unix". maxConns must be positive.
func Listen(ctx context.Context, network, address string, maxConns int) (net.Listener, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return &limitListener{Listener: l, slots: make(chan struct{}, maxConns), closed: make(chan struct{})}, nil
}

// limitListener holds a slot for each open connection.
type limitListener struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitConn{Conn: conn, release: func() { <-l.slots }}, nil
}

func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// SetDeadline bounds Accept, as net.TCPListener's does.
func (l *limitListener) SetDeadline(t time.Time) error {
	if d, ok := l.Listener.(deadliner); ok {
		return d.SetDeadline(t)
	}
	return errors.ErrUnsupported
}

type limitConn struct {
	net.Conn
	once    sync.Once
	release func()
}

func (c *limitConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.release)
	return err
}

// CloseWrite lets net/http end a connection without resetting it, so that an answer to a request that was not read to its
// end (413) arrives.
func (c *limitConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// deadliner is what the listeners of package net can do besides net.Listener.
type deadliner interface{ SetDeadline(t time.Time) error }

// quiet is how long the queue of new connections must have been empty before a stopping listener closes, and maxQuiet how
// long that is waited for.
const (
	quiet    = time.Millisecond
	maxQuiet = time.Second
)

// stoppingListener ends at a moment when nobody waits in the kernel's queue. Closing a listener resets every connection
// that the kernel has completed and the program has not accepted: to those clients a request was dropped.
type stoppingListener struct {
	net.Listener
	stopBy atomic.Pointer[time.Time] // nil until stop
}

// stop makes Accept return net.ErrClosed as soon as the queue is empty.
func (l *stoppingListener) stop() {
	by := time.Now().Add(maxQuiet)
	l.stopBy.Store(&by)
	if d, ok := l.Listener.(deadliner); !ok || d.SetDeadline(time.Now()) != nil { // wakes an Accept that waits
		_ = l.Listener.Close()
	}
}

func (l *stoppingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	for errors.Is(err, os.ErrDeadlineExceeded) {
		by := l.stopBy.Load()
		if by == nil {
			return nil, err
		}
		d, ok := l.Listener.(deadliner)
		if !ok || time.Now().After(*by) || d.SetDeadline(time.Now().Add(quiet)) != nil {
			return nil, net.ErrClosed
		}
		if conn, err = l.Listener.Accept(); errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, net.ErrClosed
		}
	}
	return conn, err
}
