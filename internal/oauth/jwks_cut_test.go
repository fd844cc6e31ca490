package oauth_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/oauth"
)

// plainly answers with these very bytes, and ends the connection by end.
func plainly(t *testing.T, answer string, end func(*net.TCPConn)) http.HandlerFunc {
	t.Helper()
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, answer)
		if tcp, ok := conn.(*net.TCPConn); ok {
			end(tcp)
		}
	}
}

// Ways in which a connection ends.
func inOrder(*net.TCPConn) {}

func byReset(conn *net.TCPConn) { _ = conn.SetLinger(0) }

func never(conn *net.TCPConn) { _, _ = conn.Read(make([]byte, 1)) } // until the other side has had enough

// framing is a way to send a body.
type framing func(body string, whole int) string

func withLength(body string, whole int) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", whole, body)
}

func withoutLength(body string, _ int) string { return "HTTP/1.0 200 OK\r\n\r\n" + body }

func inOneChunk(body string, whole int) string {
	const head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	if len(body) < whole {
		return fmt.Sprintf("%s%x\r\n%s", head, whole, body)
	}
	return fmt.Sprintf("%s%x\r\n%s\r\n0\r\n\r\n", head, whole, body)
}

// inGoodOrder ends its chunks whatever is missing, as a server does whose own source has failed.
func inGoodOrder(body string, _ int) string { return inOneChunk(body, len(body)) }

// TestPublishedKeysCutShort cuts the answer of a jwks_uri short in every way, at the beginning, in the middle and before its last
// byte: nothing is known of the keys then, so nobody is refused for it, and no failure is counted. The whole answer, sent the
// same way, is good.
func TestPublishedKeysCutShort(t *testing.T) {
	t.Parallel()
	good := string(allKeys(t))
	for name, test := range map[string]struct {
		text string
		send framing
		end  func(*net.TCPConn)
	}{
		"length, then the end":        {good, withLength, inOrder},
		"length, then a reset":        {good, withLength, byReset},
		"length, then silence":        {good, withLength, never},
		"chunk, then the end":         {good, inOneChunk, inOrder},
		"chunk, then a reset":         {good, inOneChunk, byReset},
		"chunk, then silence":         {good, inOneChunk, never},
		"chunks that end in order":    {good, inGoodOrder, inOrder},
		"no length, then the end":     {good, withoutLength, inOrder},
		"no length, then silence":     {good, withoutLength, never},
		"white space, ends in order":  {"   ", inGoodOrder, inOrder},
		"white space, without length": {"   ", withoutLength, inOrder},
	} {
		for at, n := range map[string]int{"first": 0, "middle": len(test.text) / 2, "last": len(test.text) - 1} {
			t.Run(name+"/"+at, func(t *testing.T) {
				t.Parallel()
				p := publish(t, plainly(t, test.send(test.text[:n], len(test.text)), test.end))
				b := setupWith(t, loopback())
				publishedClient(b, p.URL)
				wantAway(t, b, p)
			})
		}
		if test.text == good {
			p := publish(t, plainly(t, test.send(good, len(good)), inOrder))
			b := setupWith(t, loopback())
			publishedClient(b, p.URL)
			if a := b.send(t, asserting(ecSigner().sign(t, change(), nil))); a.status != http.StatusOK {
				t.Errorf("%s, whole: %d %s %v", name, a.status, a.body, a.err)
			}
		}
	}
}

// TestPublishedKeysServerInTrouble is told of it by the status.
func TestPublishedKeysServerInTrouble(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusGatewayTimeout} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			p := publish(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
			b := setupWith(t, loopback())
			publishedClient(b, p.URL)
			wantAway(t, b, p)
		})
	}
}

// TestPublishedKeysThatNeverEnd: more than a set may have is an answer, and wrong, although what was read of it is the beginning of
// one.
func TestPublishedKeysThatNeverEnd(t *testing.T) {
	t.Parallel()
	p := publish(t, func(w http.ResponseWriter, _ *http.Request) {
		for range 1 << 12 {
			if _, err := w.Write(bytes.Repeat([]byte(" "), 1<<12)); err != nil {
				return
			}
		}
	})
	b := setupWith(t, loopback())
	publishedClient(b, p.URL)
	wantError(t, b.send(t, asserting(ecSigner().sign(t, change(), nil))), 401, "invalid_client", oauth.ReasonJWKSUnavailable)
	if b.throttle.count() != 1 {
		t.Errorf("%d failures are counted", b.throttle.count())
	}
}

// wantAway presents two assertions of a client whose keys cannot be had.
func wantAway(t *testing.T, b *bundle, p *publisher) {
	t.Helper()
	for range 2 {
		a := b.send(t, asserting(ecSigner().sign(t, change(), nil)))
		wantError(t, a, 503, "temporarily_unavailable", oauth.ReasonJWKSUnreachable)
		if a.err != nil && (a.err.RetryAfter <= 0 || a.err.RetryAfter > 30*time.Second) {
			t.Errorf("Retry-After %s; the next fetch is in 30 s", a.err.RetryAfter)
		}
	}
	if p.hits.Load() != 1 || b.throttle.count() != 0 {
		t.Errorf("%d fetches, want 1; %d failures are counted, want none", p.hits.Load(), b.throttle.count())
	}
}
