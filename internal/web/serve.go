package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// lameDuckPart is the part of the time to drain during which new connections are still taken, so that load balancers
	// can see that the server is not ready before it refuses anyone.
	lameDuckPart = 10
	// newGrace is how long a new connection is waited for that has not sent anything.
	newGrace = time.Second
	// drainPoll is how often the end of the last request is looked for.
	drainPoll = 5 * time.Millisecond
)

type drainKey struct{}

// Draining says whether the server that the request came to has begun to end: /readyz must say "not ready".
func Draining(ctx context.Context) bool {
	d := drainOf(ctx)
	return d != nil && d.Load()
}

func drainOf(ctx context.Context) *atomic.Bool {
	d, _ := ctx.Value(drainKey{}).(*atomic.Bool)
	return d
}

// Serve serves until ctx ends and then drains within the given time, so that no request is dropped:
//
//  1. Draining is true from then on.
//  2. For a tenth of the time everything is served as before, but every answer that comes through Handler ends its
//     connection ("Connection: close"), so that no client sends its next request into a connection that is about to close.
//  3. For a quarter of a second no new connection is made, and those that are being made are accepted; then the listener
//     closes, at a moment when none waits.
//  4. Requests under way have the rest of the time. What is left then is cut off, and Serve returns an error.
//
// It replaces srv.BaseContext and srv.ConnState, and closes ln. It returns nil after a drain that dropped nothing.
func Serve(ctx context.Context, srv *http.Server, ln net.Listener, drain time.Duration) error {
	conns := &connections{}
	base := context.WithValue(context.WithoutCancel(ctx), drainKey{}, &conns.draining)
	srv.BaseContext = func(net.Listener) context.Context { return base }
	srv.ConnState = conns.changed

	listener := &stoppingListener{Listener: ln}
	ended := make(chan error, 1)
	go func() {
		if srv.TLSConfig != nil {
			ended <- srv.ServeTLS(listener, "", "")
			return
		}
		ended <- srv.Serve(listener)
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}

	conns.draining.Store(true)
	limit, cancel := context.WithTimeout(base, drain)
	defer cancel()
	wait(limit, drain/lameDuckPart)
	listener.stop(limit)
	if err := listener.ended(limit, ended); !errors.Is(err, net.ErrClosed) {
		return errors.Join(fmt.Errorf("drain: the listener failed: %w", err), srv.Close())
	}
	conns.settle(limit)
	if err := srv.Shutdown(limit); err != nil {
		return errors.Join(fmt.Errorf("drain: requests were cut off: %w", err), srv.Close())
	}
	return nil
}

// wait returns after d, or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// connections knows, once a drain has begun, which connections are in the middle of something. Server.Shutdown alone does
// not do: it drops a request whose header arrives after Shutdown was called, also on a connection that was accepted before.
type connections struct {
	draining atomic.Bool

	mu   sync.Mutex
	busy map[net.Conn]http.ConnState // new or active since the drain began
}

// changed is the server's ConnState.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	if !c.draining.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if state == http.StateNew || state == http.StateActive {
		if c.busy == nil {
			c.busy = map[net.Conn]http.ConnState{}
		}
		c.busy[conn] = state
		return
	}
	delete(c.busy, conn)
}

// settle waits until no connection is in the middle of a request, or limit ends.
func (c *connections) settle(limit context.Context) {
	began := time.Now()
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	for c.unsettled(time.Since(began) < newGrace) {
		select {
		case <-tick.C:
		case <-limit.Done():
			return
		}
	}
}

// unsettled says whether a request is under way, or, if wanted, may be on a new connection.
func (c *connections) unsettled(countNew bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, state := range c.busy {
		if state == http.StateActive || countNew {
			return true
		}
	}
	return false
}
