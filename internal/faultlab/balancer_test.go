package faultlab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	checkEvery   = 100 * time.Millisecond // how often the balancer looks at /readyz
	checkTimeout = time.Second
	forwardTime  = 10 * time.Second
)

// balancer is an HTTP load balancer that does what every one does and no more: it sends requests in turns to the replicas that
// say at /readyz that they are ready, over connections that it keeps, and to another one when a connection cannot be opened at
// all. It sends nothing twice: a request that was on its way and got no answer is a 502.
type balancer struct {
	url      string
	backends []*backend
	blind    bool // for a control: looks at no /readyz, and tries nobody else
	next     atomic.Int64
	opened   atomic.Int64 // connections to replicas
	refused  atomic.Int64 // connections that could not be opened
}

// backend is a replica as the balancer knows it.
type backend struct {
	addr  string
	ready atomic.Bool

	mu   sync.Mutex
	idle []*upstream
}

// upstream is a connection to a replica.
type upstream struct {
	net.Conn

	read *bufio.Reader
}

// startBalancer balances until the test ends.
func startBalancer(t testing.TB, c *cluster, blind bool) *balancer {
	t.Helper()
	b := &balancer{blind: blind}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var checks sync.WaitGroup
	for _, m := range c.members {
		one := &backend{addr: m.server.Address}
		b.backends = append(b.backends, one)
		checks.Go(func() { one.watch(ctx) })
	}
	server := httptest.NewServer(b)
	b.url = server.URL
	t.Cleanup(func() {
		server.Close()
		cancel()
		checks.Wait()
		for _, one := range b.backends {
			one.close()
		}
	})
	return b
}

// watch asks the replica whether it is ready, over a new connection each time.
func (o *backend) watch(ctx context.Context) {
	transport := &http.Transport{DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Timeout: checkTimeout}
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		o.ready.Store(o.check(ctx, client))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (o *backend) check(ctx context.Context, client *http.Client) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+o.addr+"/readyz", http.NoBody)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	return response.Body.Close() == nil && response.StatusCode == http.StatusOK
}

// ServeHTTP forwards one request.
func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "balancer: "+err.Error(), http.StatusBadRequest)
		return
	}
	one, conn, err := b.connect()
	if err != nil {
		http.Error(w, "balancer: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	response, text, err := conn.forward(r, body)
	if err != nil {
		_ = conn.Close()
		http.Error(w, fmt.Sprintf("balancer: %s: %v", one.addr, err), http.StatusBadGateway)
		return
	}
	if response.Close {
		_ = conn.Close()
	} else {
		one.keep(conn)
	}
	response.Header.Del("Connection") // is about this connection and not about the caller's
	maps.Copy(w.Header(), response.Header)
	w.Header().Set("X-Replica", one.addr)
	w.WriteHeader(response.StatusCode)
	_, _ = w.Write(text) // the caller notices
}

// connect finds a connection to one of the replicas that are ready.
func (b *balancer) connect() (*backend, *upstream, error) {
	first := int(b.next.Add(1))
	tried := errors.New("no replica is ready")
	for i := range b.backends {
		one := b.backends[(first+i)%len(b.backends)]
		if !b.blind && !one.ready.Load() {
			continue
		}
		if conn := one.take(); conn != nil {
			return one, conn, nil
		}
		conn, err := net.DialTimeout("tcp", one.addr, checkTimeout)
		if err == nil {
			b.opened.Add(1)
			return one, &upstream{conn, bufio.NewReader(conn)}, nil
		}
		b.refused.Add(1)
		if tried = err; b.blind {
			break
		}
	}
	return nil, nil, tried
}

// take returns a connection that is kept, and that the replica has not closed as far as anybody can know.
func (o *backend) take() *upstream {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.idle) > 0 {
		conn := o.idle[len(o.idle)-1]
		o.idle = o.idle[:len(o.idle)-1]
		if conn.open() {
			return conn
		}
		_ = conn.Close()
	}
	return nil
}

func (o *backend) keep(conn *upstream) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.idle = append(o.idle, conn)
}

func (o *backend) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, conn := range o.idle {
		_ = conn.Close()
	}
	o.idle = nil
}

// open says whether the connection is still open and quiet. A balancer with an event loop would have been told.
func (u *upstream) open() bool {
	conn, ok := u.Conn.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err == nil && quiet
}

// forward sends a request once and reads the whole answer.
func (u *upstream) forward(r *http.Request, body []byte) (*http.Response, []byte, error) {
	if err := u.SetDeadline(time.Now().Add(forwardTime)); err != nil {
		return nil, nil, fmt.Errorf("set deadline: %w", err)
	}
	request := r.Clone(r.Context())
	request.Header.Del("Connection")
	request.Body, request.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if err := request.Write(u); err != nil {
		return nil, nil, fmt.Errorf("send: %w", err)
	}
	response, err := http.ReadResponse(u.read, request)
	if err != nil {
		return nil, nil, fmt.Errorf("no answer: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("half an answer: %w", err)
	}
	return response, text, nil
}
