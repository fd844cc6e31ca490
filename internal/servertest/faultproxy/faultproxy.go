// Package faultproxy puts a TCP proxy with faults between a test and a server: latency, refused connections,
// resets, slow starts, and connections on which nothing moves. Real server processes come from pgtest and redistest.
package faultproxy

import (
	"errors"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
)

// Proxy forwards TCP connections to one upstream at a time. Faults hold until Heal; all methods may be called at any time.
type Proxy struct {
	t     testing.TB
	port  *daemon.Port
	tasks sync.WaitGroup

	mu        sync.Mutex
	upstream  string
	latency   time.Duration
	startTime time.Duration
	restarted chan struct{} // closed when startTime changes
	accepted  int
	listener  net.Listener  // nil while cut
	open      chan struct{} // closed while bytes may pass
	links     map[*link]struct{}
}

// New starts a proxy to upstream, a host:port, on a free port of 127.0.0.1. It ends with the test.
func New(t testing.TB, upstream string) *Proxy {
	t.Helper()
	p := &Proxy{
		t: t, upstream: upstream,
		restarted: make(chan struct{}), open: make(chan struct{}), links: make(map[*link]struct{}),
	}
	close(p.open)
	for range 5 { // somebody else may take the port first
		port, err := daemon.ReservePort()
		if err != nil {
			t.Fatalf("find a port for the proxy: %v", err)
		}
		p.port = port
		if err = p.listen(); err == nil {
			t.Cleanup(p.close)
			return p
		}
		port.Release()
	}
	t.Fatal("start the proxy: no port could be bound")
	return nil
}

// Addr returns the proxy's address as host:port.
func (p *Proxy) Addr() string { return p.port.Addr() }

// URL returns the URL with the proxy's address in place of the upstream's.
func (p *Proxy) URL(upstream string) string {
	p.t.Helper()
	parsed, err := url.Parse(upstream)
	if err != nil {
		p.t.Fatalf("parse URL: %v", err)
	}
	parsed.Host = p.Addr()
	return parsed.String()
}

// Point leads new connections to another upstream, as a failover does; those that there are stay where they are.
func (p *Proxy) Point(upstream string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.upstream = upstream
}

func (p *Proxy) target() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.upstream
}

// SetLatency delays what passes from now on by d in each direction, so that a question and its answer take 2d more.
func (p *Proxy) SetLatency(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latency = d
}

// SetStart makes the proxy hold each connection for d before it forwards, one connection after the other, as a server does
// that starts a process for each. One that its client has given up meanwhile takes as long. The one that is held when d
// changes is let go.
func (p *Proxy) SetStart(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setStart(d)
}

func (p *Proxy) setStart(d time.Duration) {
	p.startTime = d
	close(p.restarted)
	p.restarted = make(chan struct{})
}

// Accepted is the number of connections that the proxy has accepted.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// Cut refuses new connections and resets the existing ones, like a server that is down.
func (p *Proxy) Cut() {
	p.mu.Lock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	p.mu.Unlock()
	p.Reset()
}

// Reset resets the existing connections (RST) and goes on accepting new ones.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for one := range p.links {
		one.reset()
	}
}

// Hang keeps connections open and accepts new ones, but forwards nothing, like a lost network. What is sent
// meanwhile arrives after Heal.
func (p *Proxy) Hang() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.passing() {
		p.open = make(chan struct{})
	}
}

// Heal ends all faults, latency included.
func (p *Proxy) Heal() {
	p.t.Helper()
	p.mu.Lock()
	p.latency = 0
	p.setStart(0)
	if !p.passing() {
		close(p.open)
	}
	cut := p.listener == nil
	p.mu.Unlock()
	if !cut {
		return
	}
	if err := p.listen(); err != nil {
		p.t.Errorf("heal the proxy: %v", err)
	}
}

// passing reports whether the gate is open; p.mu is held.
func (p *Proxy) passing() bool {
	select {
	case <-p.open:
		return true
	default:
		return false
	}
}

// state returns the gate and the latency of this moment.
func (p *Proxy) state() (<-chan struct{}, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open, p.latency
}

func (p *Proxy) listen() error {
	listener, err := daemon.Listen(p.Addr())
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listener = listener
	p.tasks.Go(func() { p.accept(listener) })
	return nil
}

func (p *Proxy) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		p.start()
		one := &link{proxy: p, done: make(chan struct{})}
		one.add(conn)
		p.mu.Lock()
		if p.listener == listener {
			p.links[one] = struct{}{}
			p.tasks.Go(func() { one.run(conn) })
		} else {
			one.reset() // cut since it was accepted
		}
		p.mu.Unlock()
	}
}

// start counts a connection and takes its time.
func (p *Proxy) start() {
	p.mu.Lock()
	p.accepted++
	startTime, restarted := p.startTime, p.restarted
	p.mu.Unlock()
	select {
	case <-time.After(startTime):
	case <-restarted:
	}
}

func (p *Proxy) forget(one *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, one)
}

// close ends the proxy and returns when its goroutines have ended.
func (p *Proxy) close() {
	p.Cut()
	p.SetStart(0)
	p.tasks.Wait()
	p.port.Release()
}
