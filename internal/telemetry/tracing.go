package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// reportEvery is how often a collector that does not answer is mentioned in the log.
const reportEvery = time.Minute

// spanAttributes are all that leaves the process about a request. Neither its query nor any of its headers is among them,
// and what a new version of the instrumentation adds is not either.
var spanAttributes = map[attribute.Key]bool{ //nolint:gochecknoglobals // a constant in all but name
	"http.request.method": true, "http.response.status_code": true, "http.route": true, "error.type": true,
	"http.request.body.size": true, "http.response.body.size": true, "network.protocol.version": true, "url.scheme": true,
}

// TracingConfig says where traces go.
type TracingConfig struct {
	Endpoint string  // OTLP/HTTP URL; empty: no traces
	Ratio    float64 // share of requests that are traced where a trusted caller does not say
	Log      *slog.Logger
	// Trusted says whose traceparent header is continued; others only get a link to theirs. nil: nobody's.
	Trusted func(*http.Request) bool
}

// Tracing makes one span for each request that is sampled. The zero value, and nil, make none.
type Tracing struct {
	provider *sdktrace.TracerProvider
	trusted  func(*http.Request) bool
}

// NewTracing returns nil when there is no endpoint. It changes no global of OpenTelemetry, and connects in the background.
func NewTracing(ctx context.Context, c TracingConfig) (*Tracing, error) {
	if c.Endpoint == "" {
		return nil, nil //nolint:nilnil // no tracing is what was asked for, and a nil *Tracing does it
	}
	otlp, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(c.Endpoint))
	if err != nil {
		return nil, fmt.Errorf("set up traces to %s: %w", Redact(c.Endpoint), err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(c.Ratio))),
		sdktrace.WithBatcher(&leanExporter{SpanExporter: otlp, log: c.Log}),
	)
	return &Tracing{provider: provider, trusted: c.Trusted}, nil
}

// Handler puts a span around each request, named by its route pattern.
func (t *Tracing) Handler(next http.Handler) http.Handler {
	if t == nil || t.provider == nil {
		return next
	}
	return otelhttp.NewHandler(next, "request",
		otelhttp.WithTracerProvider(t.provider),
		otelhttp.WithPropagators(propagation.TraceContext{}),
		otelhttp.WithPublicEndpointFn(func(r *http.Request) bool { return t.trusted == nil || !t.trusted(r) }),
		otelhttp.WithSpanNameFormatter(func(operation string, r *http.Request) string {
			if r.Pattern != "" {
				return r.Pattern
			}
			return operation
		}))
}

// Close sends what is left.
func (t *Tracing) Close(ctx context.Context) error {
	if t == nil || t.provider == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last traces: %w", err)
	}
	return nil
}

// leanExporter sends spans with spanAttributes only, and without events, whose texts may come from anywhere. What cannot be
// sent is lost: traces never hold up requests.
type leanExporter struct {
	sdktrace.SpanExporter
	log      *slog.Logger
	reported atomic.Int64 // when a failure was last logged, in Unix seconds
}

// ExportSpans implements sdktrace.SpanExporter.
func (e *leanExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	lean := make([]sdktrace.ReadOnlySpan, len(spans))
	for i, span := range spans {
		lean[i] = leanSpan{span}
	}
	if err := e.SpanExporter.ExportSpans(ctx, lean); err != nil {
		now, last := time.Now().Unix(), e.reported.Load()
		if now-last >= int64(reportEvery/time.Second) && e.reported.CompareAndSwap(last, now) {
			e.log.LogAttrs(ctx, slog.LevelWarn, "traces were not sent", slog.Int("spans", len(spans)), slog.Any("error", err))
		}
	}
	return nil // logged here; OpenTelemetry would print it past the logger
}

type leanSpan struct{ sdktrace.ReadOnlySpan }

// Attributes implements sdktrace.ReadOnlySpan.
func (s leanSpan) Attributes() []attribute.KeyValue {
	var kept []attribute.KeyValue
	for _, a := range s.ReadOnlySpan.Attributes() {
		if spanAttributes[a.Key] {
			kept = append(kept, a)
		}
	}
	return kept
}

// Events implements sdktrace.ReadOnlySpan.
func (leanSpan) Events() []sdktrace.Event { return nil }
