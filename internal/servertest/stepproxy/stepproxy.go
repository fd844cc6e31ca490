// Package stepproxy puts a proxy between a server under test and its stores, PostgreSQL and Redis, that knows where each request
// ends. It strikes at one request after the other, each when the store has done it and before the server hears of it.
// Faults of the network are faultproxy's.
package stepproxy

import (
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"testing"
)

// Proxy leads a server to its stores. Connections to all of them count as one sequence of requests.
type Proxy struct {
	t      testing.TB
	ignore func(request string) bool
	tasks  sync.WaitGroup
	asked  sync.WaitGroup // requests since Arm that the stores have yet to answer

	mu        sync.Mutex
	ended     bool
	conns     map[*net.TCPConn]struct{}
	strike    func()          // nil: not armed
	struck    chan struct{}   // closed when strike has returned
	at        string          // where it strikes; empty: nowhere yet
	delivered []string        // since Arm
	seen      map[string]int  // the same, counted
	before    map[string]bool // where it has struck since Forget
}

// New returns a proxy that ends with the test. Requests that ignore says true of pass without being counted: what a server
// asks again and again while nothing happens.
func New(t testing.TB, ignore func(request string) bool) *Proxy {
	t.Helper()
	p := &Proxy{t: t, ignore: ignore, conns: map[*net.TCPConn]struct{}{}, before: map[string]bool{}}
	t.Cleanup(p.close)
	return p
}

// Postgres returns the URL at which the PostgreSQL server of a URL is reached through the proxy. It must be one without TLS.
func (p *Proxy) Postgres(store string) string {
	p.t.Helper()
	return p.lead(store, newPostgres)
}

// Redis is Postgres for Redis.
func (p *Proxy) Redis(store string) string {
	p.t.Helper()
	return p.lead(store, newRedis)
}

// Forget lets the proxy strike everywhere again: what it is armed for from now on is another work.
func (p *Proxy) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.before)
}

// Arm lets the proxy strike once: at the first request from now on at which it has not struck before. The store is given
// that request; when it answers, strike is called, and the answer goes nowhere.
//
// A request is known by its text, by those before it in its transaction, and by how many of the same came since Arm. So who
// arms the proxy for the same work again and again, until it does not strike, has struck once at each step.
func (p *Proxy) Arm(strike func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.strike, p.struck = strike, make(chan struct{})
	p.at, p.delivered, p.seen = "", nil, map[string]int{}
}

// Disarm ends Arm. It returns the request at which the proxy struck, after strike has returned, or nothing; and all that were
// delivered since Arm, this one included. Each stands after those before it in its transaction, a line each.
func (p *Proxy) Disarm() (string, []string) {
	p.mu.Lock()
	at, struck := p.at, p.struck
	if at == "" {
		p.strike = nil
	}
	p.mu.Unlock()
	if at != "" {
		<-struck
		p.asked.Wait() // of other connections: a COMMIT that was on its way is done now
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.strike = nil
	return at, slices.Clone(p.delivered)
}

// deliver notes a request that is about to be given to the store on a link, and what to do there when it answers. It says false
// for one that comes after the one at which the proxy strikes: nothing more gets through.
func (p *Proxy) deliver(l *link, request string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.strike == nil {
		return true
	}
	if p.at != "" {
		return false
	}
	if !l.asked.Swap(true) { // one answer ends what came in two pieces
		p.asked.Add(1)
	}
	p.delivered = append(p.delivered, request)
	p.seen[request]++
	key := strconv.Itoa(p.seen[request]) + " " + request
	if p.before[key] {
		return true
	}
	p.before[key], p.at = true, request
	strike, struck := p.strike, p.struck
	then := sync.OnceFunc(func() {
		defer close(struck)
		strike()
	})
	l.strike.Store(&then)
	return true
}

// lead listens for connections to the store of a URL.
func (p *Proxy) lead(store string, reader func(io.Reader) requests) string {
	p.t.Helper()
	parsed, err := url.Parse(store)
	if err != nil {
		p.t.Fatalf("parse URL: %v", err)
	}
	upstream, err := net.ResolveTCPAddr("tcp", parsed.Host)
	if err != nil {
		p.t.Fatalf("find the store: %v", err)
	}
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		p.t.Fatalf("listen: %v", err)
	}
	p.t.Cleanup(func() { _ = listener.Close() })
	p.tasks.Go(func() {
		for {
			conn, err := listener.AcceptTCP()
			if err != nil {
				return
			}
			p.tasks.Go(func() { p.carry(conn, upstream, reader(conn)) })
		}
	})
	parsed.Host = listener.Addr().String()
	return parsed.String()
}

// keep makes close responsible for a connection, and says whether the proxy still works.
func (p *Proxy) keep(conn *net.TCPConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[conn] = struct{}{}
	return !p.ended
}

func (p *Proxy) drop(conn *net.TCPConn) {
	_ = conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
}

// close returns when all goroutines have ended. The listeners are closed by then: clean-ups run in reverse order.
func (p *Proxy) close() {
	p.mu.Lock()
	p.ended = true
	for conn := range p.conns {
		_ = conn.Close()
	}
	p.mu.Unlock()
	p.tasks.Wait()
}
