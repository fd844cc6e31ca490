package web

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/netip"
	"sync/atomic"
)

// Headers that this package reads and writes.
const (
	HeaderRequestID      = "X-Request-Id"
	headerForwardedFor   = "X-Forwarded-For"
	headerForwardedProto = "X-Forwarded-Proto"
)

// maxRequestID is how long an incoming request ID may be.
const maxRequestID = 64

// Exchange is what the middleware knows about one request.
type Exchange struct {
	RequestID string     // stands in the response, the log line and the refusal record
	ClientIP  netip.Addr // the caller behind trusted proxies; not valid on a Unix socket
	Secure    bool       // the caller spoke https: to this server, or to a trusted proxy
	Route     string     // the route pattern, set by whoever serves it; empty when nobody does

	writer recorder
}

type exchangeKey struct{}

// From returns the Exchange of a request that came through Handler, and an empty one for any other.
func From(ctx context.Context) *Exchange {
	if x, ok := ctx.Value(exchangeKey{}).(*Exchange); ok {
		return x
	}
	return &Exchange{}
}

// recorder remembers the status of an answer, and ends the connection with it while the server drains. It passes on
// everything else (http.ResponseController finds the original through Unwrap).
type recorder struct {
	http.ResponseWriter
	status   int          // 0 until the header was written
	draining *atomic.Bool // of the server; nil when Serve does not run it
}

func (w *recorder) WriteHeader(status int) {
	if status >= http.StatusOK {
		w.begin(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	w.begin(http.StatusOK)
	return w.ResponseWriter.Write(b)
}

// begin is the last moment to change the header. It does so only the first time.
func (w *recorder) begin(status int) {
	if w.status != 0 {
		return
	}
	w.status = status
	if w.draining != nil && w.draining.Load() {
		w.Header().Set("Connection", "close")
	}
}

// Unwrap serves http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// requestID keeps the incoming ID of a trusted proxy when it is harmless to print, and makes one otherwise: 130 random bits
// in letters and digits.
func requestID(r *http.Request, trusted bool) string {
	if trusted {
		if ids := r.Header[HeaderRequestID]; len(ids) == 1 && printableID(ids[0]) {
			return ids[0]
		}
	}
	return rand.Text()
}

func printableID(id string) bool {
	if id == "" || len(id) > maxRequestID {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
