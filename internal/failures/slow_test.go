package failures

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
)

const (
	slowClients = 500
	// cutOffWithin is how long a client may take that never finishes its request; the server's own limits are 5 and 10 s.
	cutOffWithin = 15 * time.Second
)

// TestBadCallers: callers that are slow, or send too much, stop nobody else.
func TestBadCallers(t *testing.T) { //nolint:tparallel // times are measured
	t.Parallel()
	s := serve(t, servertest.Config{})
	c := s.client(t)
	s.token(t, c)
	t.Run("slow", func(t *testing.T) { s.slowClients(t, c) })
	t.Run("huge", func(t *testing.T) { s.hugeRequests(t, c) })
}

// slowClients: hundreds of connections that send a byte a second, half of them headers and half of them bodies, stop
// nobody, and are ended.
func (s *server) slowClients(t *testing.T, c client) {
	long(t)
	ctx, cancel := context.WithTimeout(t.Context(), cutOffWithin)
	defer cancel()
	var open, trickling atomic.Int64
	var tasks sync.WaitGroup
	for i := range slowClients {
		conn, err := net.DialTimeout("tcp", s.Address, 5*time.Second)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		begin := "POST " + pathToken + " HTTP/1.1\r\nHost: x\r\n"
		if i%2 == 0 {
			begin += "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\n"
		}
		open.Add(1)
		tasks.Go(func() {
			defer open.Add(-1)
			defer func() { _ = conn.Close() }()
			trickle(ctx, conn, begin, &trickling)
		})
	}
	eventually(t, 5*time.Second, "have them all send", func() bool { return trickling.Load() == slowClients })
	var slowest time.Duration
	during(t, 2*time.Second, func() {
		for _, a := range []answer{s.request(c), s.get(pathJWKS), s.get(pathReady)} {
			if !a.ok() {
				t.Errorf("beside slow clients: %d %s (%v)", a.status, a.body, a.err)
			}
			slowest = max(slowest, a.took)
		}
	})
	if slowest > time.Second {
		t.Errorf("beside slow clients an answer took %v", slowest)
	}
	tasks.Wait()
	if ctx.Err() != nil {
		t.Errorf("slow clients were not ended in %v", cutOffWithin)
	}
	t.Logf("the slowest answer beside %d slow clients took %v", slowClients, slowest.Round(time.Millisecond))
}

// trickle sends one byte a second until the server ends the connection.
func trickle(ctx context.Context, conn net.Conn, begin string, trickling *atomic.Int64) {
	if _, err := io.WriteString(conn, begin); err != nil {
		return
	}
	trickling.Add(1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, conn)
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ended:
			return
		case <-tick.C:
			if _, err := conn.Write([]byte("x")); err != nil {
				return
			}
		}
	}
}

// hugeRequests: what is too large is refused with the status that says so, without being read to its end, and the
// connection is not used again.
func (s *server) hugeRequests(t *testing.T, c client) {
	post := "POST " + pathToken + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
	const huge = 10 << 20
	for name, test := range map[string]struct {
		head   string
		body   func(w io.Writer) error
		status int
	}{
		"announced body": {fmt.Sprintf("%sContent-Length: %d\r\n\r\n", post, huge), pour(huge, 0), http.StatusRequestEntityTooLarge},
		"chunked body":   {post + "Transfer-Encoding: chunked\r\n\r\n", pour(huge, 64<<10), http.StatusRequestEntityTooLarge},
		"many headers":   {post + strings.Repeat("X-Flood: "+strings.Repeat("y", 100)+"\r\n", 10_000) + "\r\n", nil, http.StatusRequestHeaderFieldsTooLarge},
		"long header":    {post + "X-Flood: " + strings.Repeat("y", 1<<20) + "\r\n\r\n", nil, http.StatusRequestHeaderFieldsTooLarge},
		"long path":      {"GET /" + strings.Repeat("y", 1<<20) + " HTTP/1.1\r\nHost: x\r\n\r\n", nil, http.StatusRequestHeaderFieldsTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sent, response, err := flood(s.Address, test.head, test.body)
			if err != nil {
				t.Fatalf("no answer: %v", err)
			}
			if response.StatusCode != test.status || !response.Close {
				t.Errorf("status %d, ends the connection %t; want %d and the end", response.StatusCode, response.Close, test.status)
			}
			if sent > 2<<20 {
				t.Errorf("the server took %d bytes of it", sent)
			}
			s.token(t, c)
		})
	}
}

// pour writes n bytes, in chunks of that size where it is not 0.
func pour(n, chunk int) func(w io.Writer) error {
	return func(w io.Writer) error {
		for sent := 0; sent < n; sent += 32 << 10 {
			block := strings.Repeat("z", 32<<10)
			if chunk > 0 {
				block = fmt.Sprintf("%x\r\n%s\r\n", len(block), block)
			}
			if _, err := io.WriteString(w, block); err != nil {
				return err
			}
		}
		return nil
	}
}

// flood sends while it reads, as clients do, and returns how much it could send and the answer.
func flood(address, head string, body func(io.Writer) error) (int64, *http.Response, error) {
	to, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return 0, nil, err
	}
	conn, err := net.DialTCP("tcp", nil, to)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = conn.Close() }()
	// What waits in this side's kernel counts as sent, though no server took it: it may keep 4 MiB if it is not told.
	if err := errors.Join(conn.SetDeadline(time.Now().Add(20*time.Second)), conn.SetWriteBuffer(64<<10)); err != nil {
		return 0, nil, err
	}
	counted := &counter{to: conn}
	written := make(chan error, 1)
	go func() {
		_, err := io.WriteString(counted, head)
		if err == nil && body != nil {
			err = body(counted)
		}
		written <- err
	}()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == nil {
		_ = response.Body.Close()
	}
	_ = conn.Close()
	if failed := <-written; failed != nil && !errors.Is(failed, net.ErrClosed) && !errors.Is(failed, syscall.ECONNRESET) &&
		!errors.Is(failed, syscall.EPIPE) && !errors.Is(failed, os.ErrDeadlineExceeded) {
		err = errors.Join(err, failed)
	}
	return counted.n.Load(), response, err
}

// counter counts what it passes on.
type counter struct {
	to io.Writer
	n  atomic.Int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n.Add(int64(n))
	return n, err
}
