package faultproxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// link is one connection through the proxy.
type link struct {
	proxy *Proxy
	done  chan struct{} // closed by reset

	mu    sync.Mutex
	ended bool
	conns []net.Conn
}

// add makes reset responsible for the connection.
func (l *link) add(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, conn)
	if l.ended {
		abort(conn)
	}
}

// reset ends the link and its goroutines. It may be called more than once.
func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.ended = true
	close(l.done)
	for _, conn := range l.conns {
		abort(conn)
	}
}

// abort closes with RST in place of FIN.
func abort(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// run connects the client to the upstream and copies both ways until either side fails or both have finished.
func (l *link) run(client net.Conn) {
	defer l.proxy.forget(l)
	if !l.pass() {
		return
	}
	upstream, err := net.DialTimeout("tcp", l.proxy.target(), 10*time.Second) //nolint:noctx // has a timeout
	if err != nil {
		l.reset()
		return
	}
	l.add(upstream)
	var copies sync.WaitGroup
	copies.Go(func() { l.forward(upstream, client) })
	copies.Go(func() { l.forward(client, upstream) })
	copies.Wait()
	_ = client.Close()
	_ = upstream.Close()
}

// forward copies one way. The end of the source is passed on; anything else that goes wrong ends the link.
func (l *link) forward(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if !l.pass() {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				l.reset()
				return
			}
		}
		if err == nil {
			continue
		}
		half, ok := to.(interface{ CloseWrite() error })
		if !errors.Is(err, io.EOF) || !ok || !l.pass() || half.CloseWrite() != nil {
			l.reset()
		}
		return
	}
}

// pass waits until bytes may pass and for the latency. It reports false when the link has been reset.
func (l *link) pass() bool {
	open, latency := l.proxy.state()
	select {
	case <-open:
	case <-l.done:
		return false
	}
	if latency == 0 {
		return true
	}
	timer := time.NewTimer(latency)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.done:
		return false
	}
}
