package faultlab

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// relay leads TCP connections to a server that can be another one for the next connection, as a failover does it.
type relay struct {
	listener net.Listener
	target   atomic.Pointer[string]
	tasks    sync.WaitGroup

	mu    sync.Mutex
	ended bool
	conns map[net.Conn]struct{}
}

// newRelay starts a relay that ends with the test.
func newRelay(t testing.TB, target string) *relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: listener, conns: map[net.Conn]struct{}{}}
	r.point(target)
	r.tasks.Go(r.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		r.mu.Lock()
		r.ended = true
		r.mu.Unlock()
		r.reset()
		r.tasks.Wait()
	})
	return r
}

func (r *relay) addr() string { return r.listener.Addr().String() }

// point leads new connections to another server; those that are there stay where they are.
func (r *relay) point(target string) { r.target.Store(&target) }

// reset ends all connections.
func (r *relay) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.conns {
		_ = conn.Close()
	}
}

func (r *relay) accept() {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.tasks.Go(func() { r.carry(conn) })
	}
}

// carry copies both ways until either side ends.
func (r *relay) carry(client net.Conn) {
	defer r.drop(client)
	if !r.keep(client) {
		return
	}
	server, err := net.DialTimeout("tcp", *r.target.Load(), 5*time.Second)
	if err != nil {
		return
	}
	defer r.drop(server)
	if !r.keep(server) {
		return
	}
	r.tasks.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	})
	_, _ = io.Copy(client, server)
}

// keep makes reset responsible for a connection, and says whether the relay still works.
func (r *relay) keep(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[conn] = struct{}{}
	return !r.ended
}

func (r *relay) drop(conn net.Conn) {
	_ = conn.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, conn)
}
