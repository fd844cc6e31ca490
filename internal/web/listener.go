package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Listen opens a listener with at most maxConns connections at once; more wait in the kernel's queue until one ends. The
// network is "tcp" or "unix". maxConns must be positive.
func Listen(ctx context.Context, network, address string, maxConns int) (net.Listener, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false) // Linux attaches no filter to such a listener: stoppingListener could not keep its promise
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

// SyscallConn gives the socket, for what package net cannot do.
func (l *limitListener) SyscallConn() (syscall.RawConn, error) {
	if c, ok := l.Listener.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.ErrUnsupported
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

const (
	// handshake is how long the clients have that are in the middle of a TCP handshake when the server stops taking new ones.
	handshake = 250 * time.Millisecond
	// quiet is how long nobody may have come before a queue counts as empty that cannot be looked at.
	quiet = time.Millisecond
	// maxStall is how long nobody may have come out of the queue before it is given up.
	maxStall = 2 * time.Second
)

// stoppingListener ends at a moment when nobody waits in the kernel's queue. Closing a listener resets every connection
// that the kernel has completed and the program has not accepted: to those clients a request was dropped.
type stoppingListener struct {
	net.Listener
	finite  bool                      // nobody new comes into the queue; set before stopped
	stopped atomic.Pointer[time.Time] // when somebody last came out of the queue that is being emptied; nil until then
}

// stop first lets nobody new into the queue, where the system can do that: otherwise there is always one who comes between
// the last look at the queue and the close. A client that is turned away so has no connection; it tries again after a
// second, as after a lost packet, and is refused. Then Accept returns what is in the queue, and net.ErrClosed after it.
func (l *stoppingListener) stop(ctx context.Context) {
	if l.finite = refuseNew(l.Listener) == nil; l.finite {
		wait(ctx, handshake)
	}
	l.progress()
	if d, ok := l.Listener.(deadliner); !ok || d.SetDeadline(time.Now()) != nil { // wakes an Accept that waits
		_ = l.Listener.Close()
	}
}

func (l *stoppingListener) progress() {
	now := time.Now()
	l.stopped.Store(&now)
}

// stalled says whether the queue should be empty by now. At its connection limit, a listener does not even look at it.
func (l *stoppingListener) stalled() bool { return time.Since(*l.stopped.Load()) > maxStall }

// ended waits until Accept has returned its error, which is what done brings, or there is no hope of that.
func (l *stoppingListener) ended(ctx context.Context, done <-chan error) error {
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return net.ErrClosed
		case <-tick.C:
			if l.stalled() {
				return net.ErrClosed
			}
		}
	}
}

func (l *stoppingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if l.stopped.Load() == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return conn, err
	}
	// Once a deadline has passed, Accept fails without a look at the queue.
	d, ok := l.Listener.(deadliner)
	grace := patience(l.Listener)
	if !ok || grace == 0 || l.stalled() || d.SetDeadline(time.Now().Add(grace)) != nil {
		return nil, net.ErrClosed
	}
	conn, err = l.Listener.Accept()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, net.ErrClosed
	}
	if l.finite {
		l.progress()
	}
	_ = d.SetDeadline(time.Now()) // so that the next Accept comes here again
	return conn, err
}
