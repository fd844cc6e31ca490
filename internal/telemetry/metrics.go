package telemetry

import (
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const namespace = "signet"

// other is the label of whatever would make a family grow without bound.
const other = "other"

// maxReasons bounds how many kinds of refusal are told apart.
const maxReasons = 256

// algorithms, outcomes and statuses are label values that exist from the start, so that a counter that never moved reads 0
// and the hot path looks nothing up by hashing labels.
var (
	algorithms = []string{"ES256", "RS256", "EdDSA"}   //nolint:gochecknoglobals // a constant in all but name
	outcomes   = []string{"live", "revoked", "failed"} //nolint:gochecknoglobals // a constant in all but name
	statuses   = []int{                                //nolint:gochecknoglobals // a constant in all but name
		200, 204, 304, 400, 401, 403, 404, 405, 409, 413, 415, 422, 429, 431, 500, 503,
	}
)

// Metrics are the metrics of one server, on a registry of their own. No label ever holds what a caller chose.
type Metrics struct {
	registry  *prometheus.Registry
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	refusals  *prometheus.CounterVec
	tokens    map[string]prometheus.Counter
	checks    map[string]prometheus.Counter
	panics    prometheus.Counter
	caches    *cacheCollector

	mu      sync.Mutex
	reasons map[string]bool
}

// NewMetrics makes all families. version is of the build, as "signet version" prints it.
func NewMetrics(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), reasons: map[string]bool{}, caches: newCacheCollector()}
	m.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "http_requests_total", Help: "Requests by route pattern and status of the answer.",
	}, []string{"route", "status"})
	m.durations = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "http_request_duration_seconds", Help: "Time from the request's header to the end of the answer, by route pattern.",
		Buckets: []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
	}, []string{"route"})
	m.refusals = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "refusals_total", Help: "Refused requests by endpoint and reason; the reasons are those of refusal records and log lines.",
	}, []string{"endpoint", "reason"})
	tokens := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "tokens_issued_total", Help: "Access tokens issued, by algorithm of the signature.",
	}, []string{"alg"})
	checks := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "revocation_checks_total", Help: "Tokens looked up in the revocation set, by outcome: live, revoked, or failed because the answer could not be known.",
	}, []string{"outcome"})
	m.panics = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Name: "panics_total", Help: "Requests that ended in a panic: every one is a bug.",
	})
	m.registry.MustRegister(m.requests, m.durations, m.refusals, tokens, checks, m.panics, m.caches, buildInfo(version),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.tokens = children(tokens, algorithms)
	m.checks = children(checks, outcomes)
	return m
}

// children resolves the counters of a family with one label.
func children(family *prometheus.CounterVec, values []string) map[string]prometheus.Counter {
	resolved := make(map[string]prometheus.Counter, len(values))
	for _, v := range values {
		resolved[v] = family.WithLabelValues(v)
	}
	return resolved
}

func buildInfo(version string) prometheus.Collector {
	revision := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision, "go_version": runtime.Version()},
	})
	g.Set(1)
	return g
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry, MaxRequestsInFlight: 4})
}

// Route is where the requests of one route pattern are counted.
type Route struct {
	duration prometheus.Observer
	byStatus map[int]prometheus.Counter // read only
	rest     prometheus.Counter
}

// Route makes the counters of a route pattern. Patterns come from the program, never from a request.
func (m *Metrics) Route(pattern string) *Route {
	r := &Route{
		duration: m.durations.WithLabelValues(pattern),
		byStatus: make(map[int]prometheus.Counter, len(statuses)),
		rest:     m.requests.WithLabelValues(pattern, other),
	}
	for _, status := range statuses {
		r.byStatus[status] = m.requests.WithLabelValues(pattern, strconv.Itoa(status))
	}
	return r
}

// Observe counts one request.
func (r *Route) Observe(status int, took time.Duration) {
	r.duration.Observe(took.Seconds())
	if c, ok := r.byStatus[status]; ok {
		c.Inc()
		return
	}
	r.rest.Inc()
}

// Issued counts a token signed with alg.
func (m *Metrics) Issued(alg string) {
	if c, ok := m.tokens[alg]; ok {
		c.Inc()
	}
}

// Checked counts a look-up in the revocation set: "live", "revoked" or "failed".
func (m *Metrics) Checked(outcome string) {
	if c, ok := m.checks[outcome]; ok {
		c.Inc()
	}
}

// Refused counts a refusal. Reasons are words of the program; should one ever not be, the family still stays small.
func (m *Metrics) Refused(endpoint, reason string) {
	m.mu.Lock()
	if !m.reasons[reason] {
		if len(m.reasons) < maxReasons {
			m.reasons[reason] = true
		} else {
			reason = other
		}
	}
	m.mu.Unlock()
	m.refusals.WithLabelValues(endpoint, reason).Inc()
}

// Panicked counts a panic.
func (m *Metrics) Panicked() { m.panics.Inc() }
