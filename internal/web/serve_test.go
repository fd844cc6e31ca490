package web_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
	"github.com/seed-1972b8eb/signet/internal/web"
)

// running is a server on a real socket.
type running struct {
	addr string
	stop context.CancelFunc
	done chan error // what Serve returned
}

func start(t *testing.T, c web.ServerConfig, maxConns int, drain time.Duration) *running {
	t.Helper()
	return startOn(t, c, listen(t, maxConns), drain)
}

func listen(t *testing.T, maxConns int) net.Listener {
	t.Helper()
	ln, err := web.Listen(t.Context(), "tcp", "127.0.0.1:0", maxConns)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func startOn(t *testing.T, c web.ServerConfig, ln net.Listener, drain time.Duration) *running {
	t.Helper()
	c.Log = slog.New(slog.DiscardHandler)
	c.Handler = web.Handler(web.HandlerConfig{Log: c.Log}, c.Handler)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	s := &running{addr: ln.Addr().String(), stop: cancel, done: make(chan error, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.done <- web.Serve(ctx, web.NewServer(c), ln, drain)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return s
}

func TestServerLimits(t *testing.T) {
	t.Parallel()
	s := web.NewServer(web.ServerConfig{Log: slog.New(slog.DiscardHandler)})
	if s.ReadHeaderTimeout != 5*time.Second || s.ReadTimeout != 10*time.Second || s.WriteTimeout != 15*time.Second ||
		s.IdleTimeout != time.Minute || s.MaxHeaderBytes != 16<<10 {
		t.Errorf("limits: %v %v %v %v %d", s.ReadHeaderTimeout, s.ReadTimeout, s.WriteTimeout, s.IdleTimeout, s.MaxHeaderBytes)
	}
}

func TestHugeHeaderIsRefused(t *testing.T) {
	t.Parallel()
	s := start(t, web.ServerConfig{Handler: http.NotFoundHandler()}, 10, time.Second)
	conn := dial(t, s.addr)
	// The server may hang up before it has read everything; its answer counts.
	_, _ = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: h\r\nCookie: %s\r\n\r\n", strings.Repeat("a=b; ", 10_000))
	resp := readResponse(t, conn)
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d, want 431", resp.StatusCode)
	}
}

// socket is what a listener of web.Listen can do.
type socket interface {
	net.Listener
	syscall.Conn
	SetDeadline(at time.Time) error
}

// slow is a listener on a machine that has no time for it: Accept comes too late for its deadlines, with many still in the
// queue, and Close so late that somebody comes after the last look at it.
type slow struct{ socket }

func (l slow) Accept() (net.Conn, error) {
	time.Sleep(50 * time.Millisecond)
	return l.socket.Accept()
}

func (l slow) Close() error {
	time.Sleep(30 * time.Millisecond)
	return l.socket.Close()
}

// TestDrainDropsNothing has clients that never retry ask without a pause, over connections that they keep and over new
// ones, until the listener is gone. A connection that was never made is no dropped request; everything else that is not a whole
// answer is.
func TestDrainDropsNothing(t *testing.T) {
	t.Parallel()
	t.Run("as it is", func(t *testing.T) {
		t.Parallel()
		drainUnderLoad(t, func(ln net.Listener) net.Listener { return ln })
	})
	t.Run("slow", func(t *testing.T) {
		t.Parallel()
		if runtime.GOOS != "linux" {
			daemon.Lack(t, "only Linux can keep new connections out of the queue")
		}
		drainUnderLoad(t, func(ln net.Listener) net.Listener {
			s, ok := ln.(socket)
			if !ok {
				t.Fatalf("%T is no socket", ln)
			}
			return slow{s}
		})
	})
}

func drainUnderLoad(t *testing.T, wrap func(net.Listener) net.Listener) {
	t.Helper()
	body := strings.Repeat("x", 2000)
	s := startOn(t, web.ServerConfig{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Errorf("read: %v", err)
		}
		_, _ = io.WriteString(w, body)
	})}, wrap(listen(t, 1000)), 5*time.Second)

	var answered, closing atomic.Int64
	var clients sync.WaitGroup
	begun := make(chan struct{}, 100)
	for i := range 8 {
		clients.Go(func() {
			transport := &http.Transport{DisableKeepAlives: i%2 == 0}
			defer transport.CloseIdleConnections()
			for first := true; ; first = false {
				resp, err := post(transport, s.addr)
				var op *net.OpError
				if errors.As(err, &op) && op.Op == "dial" {
					return
				}
				if err != nil {
					t.Errorf("dropped: %v", err)
					return
				}
				got, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || string(got) != body {
					t.Errorf("half an answer: %d bytes, %v", len(got), err)
					return
				}
				answered.Add(1)
				if resp.Close && i%2 == 1 {
					closing.Add(1)
				}
				if first {
					begun <- struct{}{}
				}
			}
		})
	}
	for range 8 {
		<-begun
	}
	s.stop()
	if err := <-s.done; err != nil {
		t.Errorf("Serve: %v", err)
	}
	clients.Wait()
	if closing.Load() == 0 {
		t.Error("no answer during the drain ended its connection")
	}
	t.Logf("%d answers, %d of them ended a connection that was kept", answered.Load(), closing.Load())
}

// post sends a request that net/http cannot send twice.
func post(transport *http.Transport, addr string) (*http.Response, error) {
	r, err := http.NewRequest(http.MethodPost, "http://"+addr+"/", io.NopCloser(strings.NewReader("grant_type=client_credentials")))
	if err != nil {
		return nil, err
	}
	return transport.RoundTrip(r)
}

func TestDrainWaitsForRequests(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	var canceled atomic.Bool
	s := start(t, web.ServerConfig{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-release
		canceled.Store(r.Context().Err() != nil)
		_, _ = io.WriteString(w, fmt.Sprint(web.Draining(r.Context())))
	})}, 10, 10*time.Second)
	conn := dial(t, s.addr)
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	<-entered
	s.stop()
	waitRefused(t, s.addr)
	close(release)
	resp := readResponse(t, conn)
	if got, _ := io.ReadAll(resp.Body); string(got) != "true" || !resp.Close {
		t.Errorf("draining %q, connection closes: %v; want true, true", got, resp.Close)
	}
	if canceled.Load() {
		t.Error("the request's context ended with the server's")
	}
	if err := <-s.done; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestDrainEnds(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	s := start(t, web.ServerConfig{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-release
	})}, 10, 200*time.Millisecond)
	conn := dial(t, s.addr)
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	<-entered
	s.stop()
	if err := <-s.done; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Serve: %v, want the deadline", err)
	}
}

func TestNotDrainingWhileServing(t *testing.T) {
	t.Parallel()
	s := start(t, web.ServerConfig{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, fmt.Sprint(web.Draining(r.Context())))
	})}, 10, time.Second)
	conn := dial(t, s.addr)
	for range 2 { // on one connection
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		resp := readResponse(t, conn)
		if got, _ := io.ReadAll(resp.Body); string(got) != "false" || resp.Close {
			t.Errorf("draining %q, connection closes: %v", got, resp.Close)
		}
	}
	if web.Draining(t.Context()) {
		t.Error("a context from elsewhere is draining")
	}
}

// TestConnectionLimit opens one connection more than may be: it is served once another one ends, and not before.
func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	var open, most atomic.Int64
	c := web.ServerConfig{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		now := open.Add(1)
		for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
		}
		open.Add(-1)
	})}
	s := start(t, c, 2, time.Second)
	first, second, third := dial(t, s.addr), dial(t, s.addr), dial(t, s.addr)
	for _, conn := range []net.Conn{first, second} {
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		readResponse(t, conn)
	}
	_, _ = io.WriteString(third, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	_ = third.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := third.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the third connection is served beside two open ones: %v", err)
	}
	_ = third.SetReadDeadline(time.Time{})
	_ = first.Close()
	if resp := readResponse(t, third); resp.StatusCode != http.StatusOK {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// TestDrainAtConnectionLimit ends although Accept waits for a slot.
func TestDrainAtConnectionLimit(t *testing.T) {
	t.Parallel()
	s := start(t, web.ServerConfig{Handler: http.NotFoundHandler()}, 1, 5*time.Second)
	conn := dial(t, s.addr)
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	readResponse(t, conn)
	s.stop()
	if err := <-s.done; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestServeTLS(t *testing.T) {
	t.Parallel()
	files := newPair(t, "first", time.Now().Add(time.Hour))
	cert, err := web.NewCertificate(files.cert, files.key)
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, web.ServerConfig{Certificate: cert, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
	})}, 10, time.Second)

	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(files.pem(t))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("https://" + s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, _ := io.ReadAll(resp.Body); string(got) != "HTTP/2.0" {
		t.Errorf("protocol %q", got)
	}

	old := &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	if conn, err := tls.Dial("tcp", s.addr, old); err == nil {
		_ = conn.Close()
		t.Error("TLS 1.1 is accepted")
	}
	plain := dial(t, s.addr)
	_, _ = io.WriteString(plain, "POST /oauth2/token HTTP/1.1\r\nHost: h\r\n\r\n")
	if resp := readResponse(t, plain); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("plain http on a TLS port: status %d, want 400", resp.StatusCode)
	}
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// waitRefused returns when nobody listens at addr any more.
func waitRefused(t *testing.T, addr string) {
	t.Helper()
	for {
		conn, err := net.Dial("tcp", addr)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if err == nil {
			_ = conn.Close()
		}
	}
}

func readResponse(t *testing.T, conn net.Conn) *http.Response {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	return resp
}

// TestCloseWakesAccept closes a listener that is at its connection limit.
func TestCloseWakesAccept(t *testing.T) {
	t.Parallel()
	ln := listen(t, 1)
	dial(t, ln.Addr().String())
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	woken := make(chan error, 1)
	go func() {
		_, err := ln.Accept()
		woken <- err
	}()
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-woken:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept: %v, want net.ErrClosed", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Accept still waits")
	}
}
