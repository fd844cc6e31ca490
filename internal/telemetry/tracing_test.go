package telemetry_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/telemetry"
)

// collector is an OTLP/HTTP endpoint that keeps what it gets.
type collector struct {
	status int
	mu     sync.Mutex
	bodies bytes.Buffer
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		body = unzipped
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = io.Copy(&c.bodies, body)
	w.Header().Set("Content-Type", "application/x-protobuf")
	w.WriteHeader(c.status)
}

// trace sends one request through a traced mux and gives what the collector got, and the log.
func trace(t *testing.T, c *collector, trusted bool) (string, string) {
	t.Helper()
	server := httptest.NewServer(c)
	defer server.Close()
	var log bytes.Buffer
	tracing, err := telemetry.NewTracing(t.Context(), telemetry.TracingConfig{
		Endpoint: server.URL + "/v1/traces", Ratio: 1, Log: slog.New(slog.NewJSONHandler(&log, nil)),
		Trusted: func(*http.Request) bool { return trusted },
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/oauth2/token", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	r := httptest.NewRequest(http.MethodPost, "/oauth2/token?client_secret="+canary, strings.NewReader("token="+canary))
	r.Header.Set("Authorization", "Basic "+canary)
	r.Header.Set("User-Agent", "agent "+canary)
	r.Header.Set("X-Forwarded-For", canary)
	r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	r.Host = "host-" + canary
	tracing.Handler(mux).ServeHTTP(httptest.NewRecorder(), r)
	if err := tracing.Close(t.Context()); err != nil {
		t.Errorf("Close: %v", err)
	}
	return c.bodies.String(), log.String()
}

func TestSpansHoldNoSecrets(t *testing.T) {
	t.Parallel()
	got, log := trace(t, &collector{status: http.StatusOK}, false)
	if !strings.Contains(got, "/oauth2/token") || !strings.Contains(got, "http.response.status_code") {
		t.Errorf("no span of the route: %q", got)
	}
	for _, absent := range []string{canary, "user_agent", "url.query", "server.address", "client.address"} {
		if strings.Contains(got, absent) {
			t.Errorf("the span has %s: %q", absent, got)
		}
	}
	if log != "" {
		t.Errorf("log: %s", log)
	}
}

// TestTraceparent continues a trace only for whom the operator trusts: the trace ID of the request is in the span either
// way (as a link for others), so look at whose ID the span itself has.
func TestTraceparent(t *testing.T) {
	t.Parallel()
	id := "\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c"
	const spanTraceID = "\x0a\x10" // field 1 of Span, 16 bytes
	for _, trusted := range []bool{true, false} {
		got, _ := trace(t, &collector{status: http.StatusOK}, trusted)
		parent := strings.Contains(got, "\x22\x08\xb7\xad\x6b\x71\x69\x20\x33\x31") // field 4: parent_span_id
		if parent != trusted || !strings.Contains(got, spanTraceID+id) {
			t.Errorf("trusted %v: the caller's span is the parent: %v", trusted, parent)
		}
	}
}

func TestCollectorInTrouble(t *testing.T) {
	t.Parallel()
	_, log := trace(t, &collector{status: http.StatusBadRequest}, false)
	if !strings.Contains(log, "traces were not sent") || strings.Contains(log, canary) {
		t.Errorf("log: %s", log)
	}
}

func TestNoTracing(t *testing.T) {
	t.Parallel()
	tracing, err := telemetry.NewTracing(t.Context(), telemetry.TracingConfig{})
	if err != nil || tracing != nil {
		t.Fatalf("got %v, %v", tracing, err)
	}
	next := http.NewServeMux()
	if got := tracing.Handler(next); got != next {
		t.Error("the handler is wrapped although there are no traces")
	}
	if err := tracing.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
