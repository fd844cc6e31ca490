package telemetry_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/telemetry"
)

// scrape gives what a Prometheus server gets.
func scrape(t *testing.T, m *telemetry.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics("1.2.3")
	route := m.Route("/oauth2/token")
	route.Observe(200, 3*time.Millisecond)
	route.Observe(200, 3*time.Millisecond)
	route.Observe(401, time.Millisecond)
	route.Observe(299, time.Millisecond)
	m.Issued("ES256")
	m.Checked("revoked")
	m.Panicked()
	m.Refused("token", "secret_mismatch")
	m.Cache("clients", func() (int, int) { return 3, 100 })
	m.RegistryStaleness(func() time.Duration { return 1500 * time.Millisecond })
	m.CertificateExpiry(func() time.Time { return time.Unix(1_800_000_000, 0) })
	m.SigningKeys(func() map[telemetry.KeyState]int {
		return map[telemetry.KeyState]int{{Alg: "ES256", State: "active"}: 1}
	})

	got := scrape(t, m)
	for _, want := range []string{
		`signet_http_requests_total{route="/oauth2/token",status="200"} 2`,
		`signet_http_requests_total{route="/oauth2/token",status="401"} 1`,
		`signet_http_requests_total{route="/oauth2/token",status="503"} 0`,
		`signet_http_requests_total{route="/oauth2/token",status="other"} 1`,
		`signet_http_request_duration_seconds_bucket{route="/oauth2/token",le="0.0025"} 2`,
		`signet_http_request_duration_seconds_count{route="/oauth2/token"} 4`,
		`signet_tokens_issued_total{alg="ES256"} 1`,
		`signet_tokens_issued_total{alg="RS256"} 0`,
		`signet_revocation_checks_total{outcome="revoked"} 1`,
		`signet_panics_total 1`,
		`signet_refusals_total{endpoint="token",reason="secret_mismatch"} 1`,
		`signet_cache_entries{cache="clients"} 3`,
		`signet_cache_capacity{cache="clients"} 100`,
		`signet_registry_staleness_seconds 1.5`,
		`signet_tls_certificate_expiry_timestamp_seconds 1.8e+09`,
		`signet_signing_keys{alg="ES256",state="active"} 1`,
		`version="1.2.3"} 1`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("missing: %s", want)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}

// TestEveryFamilyIsDocumented: an empty help text is a family that nobody can use.
func TestEveryFamilyIsDocumented(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics("dev")
	m.Route("/")
	m.Refused("token", "x")
	for line := range strings.Lines(scrape(t, m)) {
		fields := strings.Fields(line)
		if strings.HasPrefix(line, "# HELP signet_") && len(fields) < 6 {
			t.Errorf("says too little: %s", line)
		}
	}
}

// TestSeriesAreBounded sends what a hostile caller could make vary.
func TestSeriesAreBounded(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics("dev")
	route := m.Route("/oauth2/token")
	for i := range 2000 {
		route.Observe(i, time.Millisecond)
		m.Refused("token", fmt.Sprint("reason_", i))
		m.Issued(fmt.Sprint("alg_", i))
		m.Checked(fmt.Sprint("outcome_", i))
	}
	got := scrape(t, m)
	for family, most := range map[string]int{
		"signet_http_requests_total{": 20, "signet_refusals_total{": 257, "signet_tokens_issued_total{": 3, "signet_revocation_checks_total{": 3,
	} {
		if n := strings.Count(got, "\n"+family); n > most {
			t.Errorf("%s has %d series", family, n)
		}
	}
	if !strings.Contains(got, `signet_refusals_total{endpoint="token",reason="other"} 1744`) {
		t.Error("what was too much is not counted as other")
	}
}

func TestMetricsConcurrentUse(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics("dev")
	route := m.Route("/")
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for range 200 {
				route.Observe(200, time.Millisecond)
				m.Refused("token", fmt.Sprint(i))
				m.Cache(fmt.Sprint(i), func() (int, int) { return 0, 1 })
			}
		})
	}
	scrape(t, m)
	all.Wait()
}

func BenchmarkObserve(b *testing.B) {
	route := telemetry.NewMetrics("dev").Route("/oauth2/token")
	b.ReportAllocs()
	for b.Loop() {
		route.Observe(200, 40*time.Microsecond)
	}
}
