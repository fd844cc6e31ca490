package telemetry

import (
	"database/sql"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Cache adds a bounded memory to cache_entries and cache_capacity. stats is called at each scrape and must not block.
func (m *Metrics) Cache(name string, stats func() (entries, capacity int)) { m.caches.add(name, stats) }

// RegistryStaleness adds the gauge of how long ago the registry epoch was last read.
func (m *Metrics) RegistryStaleness(age func() time.Duration) {
	m.gauge("registry_staleness_seconds", "Time since this replica last knew that its cached clients and APIs are current. Tokens are refused above 60.",
		func() float64 { return age().Seconds() })
}

// RevocationSources is where the answers to "was it taken back?" come from, and how often that had to change. Each is asked
// when metrics are read.
type RevocationSources struct {
	Leased                                       func() bool // Redis is trusted now
	FromRedis, FromLedger, Rebuilds, Withdrawals func() int64
}

// Revocations adds the families of a server that keeps a copy of its revocations in Redis.
func (m *Metrics) Revocations(r RevocationSources) {
	m.gauge("revocation_lease", "1 while introspection reads revocations from Redis, 0 while it reads them from the database.", func() float64 {
		if r.Leased() {
			return 1
		}
		return 0
	})
	for source, answered := range map[string]func() int64{"redis": r.FromRedis, "database": r.FromLedger} {
		m.counter("revocation_reads_total", "Revocation checks that were answered, by what answered them.", prometheus.Labels{"source": source}, answered)
	}
	m.counter("revocation_rebuilds_total", "Times that this replica filled the set in Redis anew.", nil, r.Rebuilds)
	m.counter("revocation_withdrawals_total", "Times that a revocation could not be written to Redis, which then was trusted no longer.", nil, r.Withdrawals)
}

func (m *Metrics) counter(name, help string, labels prometheus.Labels, value func() int64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: namespace, Name: name, Help: help, ConstLabels: labels,
	}, func() float64 { return float64(value()) }))
}

// CertificateExpiry adds the gauge of when the TLS certificate in use ends.
func (m *Metrics) CertificateExpiry(notAfter func() time.Time) {
	m.gauge("tls_certificate_expiry_timestamp_seconds", "When the TLS certificate in use expires, in seconds since 1970.",
		func() float64 { return float64(notAfter().Unix()) })
}

func (m *Metrics) gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, value))
}

// Database adds the statistics of a connection pool.
func (m *Metrics) Database(db *sql.DB, name string) {
	m.registry.MustRegister(collectors.NewDBStatsCollector(db, name))
}

// KeyState is one kind of signing key.
type KeyState struct{ Alg, State string }

// SigningKeys adds the gauge of how many signing keys are in which state. count is called at each scrape and must not
// block.
func (m *Metrics) SigningKeys(count func() map[KeyState]int) {
	m.registry.MustRegister(&keyCollector{count: count, desc: prometheus.NewDesc(
		namespace+"_signing_keys", "Signing keys by algorithm and state.", []string{"alg", "state"}, nil)})
}

type keyCollector struct {
	count func() map[KeyState]int
	desc  *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *keyCollector) Describe(out chan<- *prometheus.Desc) { out <- c.desc }

// Collect implements prometheus.Collector.
func (c *keyCollector) Collect(out chan<- prometheus.Metric) {
	for key, n := range c.count() {
		out <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(n), key.Alg, key.State)
	}
}

// cacheCollector shows every bounded memory of the process: one that is not in it is one whose bound nobody watches.
type cacheCollector struct {
	entries, capacity *prometheus.Desc

	mu    sync.Mutex
	stats map[string]func() (int, int)
}

func newCacheCollector() *cacheCollector {
	return &cacheCollector{
		entries:  prometheus.NewDesc(namespace+"_cache_entries", "What a bounded memory of this process holds now.", []string{"cache"}, nil),
		capacity: prometheus.NewDesc(namespace+"_cache_capacity", "What a bounded memory of this process can hold.", []string{"cache"}, nil),
		stats:    map[string]func() (int, int){},
	}
}

func (c *cacheCollector) add(name string, stats func() (int, int)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats[name] = stats
}

// Describe implements prometheus.Collector.
func (c *cacheCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.entries
	out <- c.capacity
}

// Collect implements prometheus.Collector.
func (c *cacheCollector) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, stats := range c.stats {
		entries, capacity := stats()
		out <- prometheus.MustNewConstMetric(c.entries, prometheus.GaugeValue, float64(entries), name)
		out <- prometheus.MustNewConstMetric(c.capacity, prometheus.GaugeValue, float64(capacity), name)
	}
}
