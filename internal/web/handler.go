package web

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"time"
)

// HandlerConfig says what Handler does around every request.
type HandlerConfig struct {
	Proxies Proxies
	Log     *slog.Logger
	// Panic writes the answer to a request whose handler panicked before it had written one. Never the panic itself.
	Panic http.HandlerFunc
	// Done is told how each request ended; nil for nobody. status is 0 when the connection was dropped.
	Done func(x *Exchange, status int, took time.Duration)
}

// Handler puts an Exchange in front of every request: an ID that stands in X-Request-Id, the caller's address, security
// headers, recovery from panics. A request that went well leaves no log line above level debug.
func Handler(c HandlerConfig, next http.Handler) http.Handler {
	h := &handler{HandlerConfig: c, next: next}
	h.headers = map[string][]string{
		"X-Content-Type-Options":  {"nosniff"},
		"X-Frame-Options":         {"DENY"},
		"Referrer-Policy":         {"no-referrer"},
		"Content-Security-Policy": {"default-src 'none'; frame-ancestors 'none'"},
	}
	h.transport = []string{"max-age=31536000"}
	return h
}

type handler struct {
	HandlerConfig
	next      http.Handler
	headers   map[string][]string // shared by all answers: Header.Set replaces a value and never writes into it
	transport []string            // RFC 6797 §6.1
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	trusted := h.Proxies.Trusts(r)
	x := &Exchange{
		RequestID: requestID(r, trusted),
		ClientIP:  h.Proxies.ClientIP(r),
		Secure:    h.Proxies.secure(r, trusted),
		writer:    recorder{ResponseWriter: w, draining: drainOf(r.Context())},
	}
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	header := w.Header()
	maps.Copy(header, h.headers)
	if x.Secure {
		header["Strict-Transport-Security"] = h.transport
	}
	header[HeaderRequestID] = []string{x.RequestID}

	defer h.finish(x, r, began)
	h.next.ServeHTTP(&x.writer, r)
	x.writer.begin(http.StatusOK) // what net/http sends for a handler that wrote nothing
}

// finish is deferred, so that it sees panics and that a request is counted whatever happened to it.
func (h *handler) finish(x *Exchange, r *http.Request, began time.Time) {
	if p := recover(); p != nil {
		if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			h.done(x, r, began)
			panic(p) // net/http's own way to drop a connection
		}
		// The stack may hold a request's values; the log redacts them, the answer has none of it.
		h.Log.LogAttrs(r.Context(), slog.LevelError, "panic",
			slog.String("request_id", x.RequestID), slog.String("path", path(r)), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
		if x.writer.status != 0 {
			h.done(x, r, began)
			panic(http.ErrAbortHandler) // half an answer must not look like a whole one
		}
		h.Panic(&x.writer, r)
	}
	h.done(x, r, began)
}

func (h *handler) done(x *Exchange, r *http.Request, began time.Time) {
	took := time.Since(began)
	if h.Done != nil {
		h.Done(x, x.writer.status, took)
	}
	if h.Log.Enabled(r.Context(), slog.LevelDebug) {
		h.Log.LogAttrs(r.Context(), slog.LevelDebug, "request",
			slog.String("request_id", x.RequestID), slog.String("method", r.Method), slog.String("path", path(r)),
			slog.Int("status", x.writer.status), slog.Duration("took", took), slog.String("client_ip", x.ClientIP.String()))
	}
}

// path is the path of a request for a log line: short, and never the query, where people put secrets.
func path(r *http.Request) string {
	const most = 128
	if len(r.URL.Path) > most {
		return r.URL.Path[:most]
	}
	return r.URL.Path
}
