package endpoints_test

import (
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/internal/endpoints"
	"github.com/seed-1972b8eb/signet/internal/limits"
	"github.com/seed-1972b8eb/signet/internal/web"
)

// paths are the endpoints that take credentials.
var paths = []string{endpoints.PathToken, endpoints.PathRevoke, endpoints.PathIntrospect}

func TestTokenThenRevoke(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	w := s.do(s.post(endpoints.PathToken, grant()))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	checkPrivate(t, w)
	var issued map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &issued); err != nil {
		t.Fatal(err)
	}
	access, _ := issued["access_token"].(string)
	delete(issued, "access_token")
	if diff := cmp.Diff(map[string]any{"token_type": "Bearer", "expires_in": 60.0, "scope": "read"}, issued); diff != "" {
		t.Errorf("answer without the token (-want +got):\n%s", diff)
	}

	form := url.Values{"token": {access}}
	w = s.do(s.post(endpoints.PathIntrospect, form))
	checkPrivate(t, w)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"active":true`) {
		t.Errorf("introspection: %d %s", w.Code, w.Body)
	}
	w = s.do(s.post(endpoints.PathRevoke, form))
	if w.Code != http.StatusOK || w.Body.Len() > 0 || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("revocation: %d %q %v", w.Code, w.Body, w.Header())
	}
	w = s.do(s.post(endpoints.PathIntrospect, form))
	checkPrivate(t, w)
	if w.Code != http.StatusOK || w.Body.String() != `{"active":false}` {
		t.Errorf("introspection after revocation: %d %s", w.Code, w.Body)
	}
	checkMetrics(t, s, `signet_tokens_issued_total{alg="ES256"} 1`, `signet_revocation_checks_total{outcome="live"} 1`,
		`signet_revocation_checks_total{outcome="revoked"} 1`, `signet_http_requests_total{route="/oauth2/introspect",status="200"} 2`)
	if strings.Contains(s.log.String(), access) || strings.Contains(s.log.String(), s.secret) {
		t.Error("the log holds the token or the secret")
	}
}

// checkPrivate holds for every answer that has a token, an introspection or an error in it (GEN-04, GEN-05).
func checkPrivate(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	h := w.Result().Header
	if h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" || h.Get("Pragma") != "no-cache" {
		t.Errorf("headers %v", h)
	}
	if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Request-Id") == "" {
		t.Errorf("headers %v", h)
	}
	for name := range h {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("%s: %s", name, h.Get(name))
		}
	}
	if !json.Valid(w.Body.Bytes()) {
		t.Errorf("no JSON: %q", w.Body)
	}
}

func checkMetrics(t *testing.T, s *surface, want ...string) {
	t.Helper()
	w := httptest.NewRecorder()
	s.metrics.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, line := range want {
		if !strings.Contains(w.Body.String(), line+"\n") {
			t.Errorf("metrics lack %s", line)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	form := func(r *http.Request, body string) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	}
	tests := map[string]struct {
		change func(*http.Request)
		status int
		code   string
		reason string
		header http.Header // wanted besides
	}{
		"wrong secret": {
			func(r *http.Request) { r.SetBasicAuth(clientID, "wrong") },
			401, "invalid_client", "secret_malformed",
			http.Header{"Www-Authenticate": {`Basic realm="https://as.test", charset="UTF-8"`}},
		},
		"no credentials": {
			func(r *http.Request) { r.Header.Del("Authorization") },
			401, "invalid_client", "credentials_missing",
			http.Header{"Www-Authenticate": {`Basic realm="https://as.test", charset="UTF-8"`}},
		},
		"GET":     {func(r *http.Request) { r.Method = http.MethodGet }, 405, "invalid_request", "method_not_allowed", http.Header{"Allow": {"POST"}}},
		"HEAD":    {func(r *http.Request) { r.Method = http.MethodHead }, 405, "invalid_request", "method_not_allowed", http.Header{"Allow": {"POST"}}},
		"PUT":     {func(r *http.Request) { r.Method = http.MethodPut }, 405, "invalid_request", "method_not_allowed", http.Header{"Allow": {"POST"}}},
		"unknown": {func(r *http.Request) { r.Method = "BREW" }, 405, "invalid_request", "method_not_allowed", http.Header{"Allow": {"POST"}}},
		"preflight": {
			func(r *http.Request) {
				r.Method = http.MethodOptions
				r.Header.Set("Origin", "https://evil.test")
				r.Header.Set("Access-Control-Request-Method", "POST")
			}, 405, "invalid_request", "method_not_allowed", http.Header{"Allow": {"POST"}},
		},
		"JSON":            {func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }, 415, "invalid_request", "content_type", nil},
		"announced large": {func(r *http.Request) { r.ContentLength = 1 << 30 }, 413, "invalid_request", "body_too_large", http.Header{"Connection": {"close"}}},
		"large": {func(r *http.Request) {
			form(r, strings.Repeat("a", 65<<10))
			r.ContentLength = -1
		}, 413, "invalid_request", "body_too_large", http.Header{"Connection": {"close"}}},
		"repeated":        {func(r *http.Request) { form(r, "grant_type=client_credentials&scope=a&scope=a") }, 400, "invalid_request", "parameter_repeated", nil},
		"secret in query": {func(r *http.Request) { r.URL.RawQuery = "client_secret=x" }, 400, "invalid_request", "parameter_in_query", nil},
	}
	for name, tt := range tests {
		for _, path := range paths {
			t.Run(name+path, func(t *testing.T) {
				t.Parallel()
				s := setup(t, nil)
				r := s.post(path, grant())
				tt.change(r)
				w := s.do(r)
				checkPrivate(t, w)
				var body struct {
					Error       string
					Description string `json:"error_description"`
				}
				if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
					t.Fatal(err)
				}
				id := w.Header().Get("X-Request-Id")
				if w.Code != tt.status || body.Error != tt.code || body.Description == "" || strings.Contains(w.Body.String(), id) {
					t.Errorf("status %d, body %+v, request ID %s", w.Code, body, id)
				}
				for header, want := range tt.header {
					if diff := cmp.Diff(want, w.Result().Header[header]); diff != "" {
						t.Errorf("%s (-want +got):\n%s", header, diff)
					}
				}
				if got := w.Header().Get("WWW-Authenticate"); (got != "") != (w.Code == 401) {
					t.Errorf("status %d with WWW-Authenticate %q", w.Code, got)
				}
				checkNoted(t, s, id, strings.TrimPrefix(path, "/oauth2/"), tt.code, tt.reason)
			})
		}
	}
}

// checkNoted looks for a refusal in the three places where an operator looks.
func checkNoted(t *testing.T, s *surface, id, endpoint, code, reason string) {
	t.Helper()
	got, ok := s.refusals.Find(id)
	if !ok || got.Endpoint != endpoint || got.Code != code || got.Reason != reason || got.Source != "192.0.2.1" || got.Time.IsZero() {
		t.Errorf("record %+v", got)
	}
	line := s.log.line(t, "request refused", id)
	if line["reason"] != reason || line["error"] != code || line["endpoint"] != endpoint || line["level"] != "INFO" {
		t.Errorf("log line %v", line)
	}
	checkMetrics(t, s, `signet_refusals_total{endpoint="`+endpoint+`",reason="`+reason+`"} 1`)
}

// A secret in the wrong parameter is neither remembered, nor logged, nor sent back.
func TestMisplacedSecret(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(f url.Values, secret string){
		"scope":     func(f url.Values, secret string) { f.Set("scope", secret) },
		"client_id": func(f url.Values, secret string) { f.Set("client_id", secret); f.Set("grant_type", "password") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t, nil)
			form := grant()
			change(form, s.secret)
			w := s.do(s.post(endpoints.PathToken, form))
			got, ok := s.refusals.Find(w.Header().Get("X-Request-Id"))
			if w.Code != http.StatusBadRequest || !ok || got.Detail == "" {
				t.Fatalf("status %d, record %+v", w.Code, got)
			}
			for place, text := range map[string]string{"answer": w.Body.String(), "record": got.Detail + got.ClientID, "log": s.log.String()} {
				if strings.Contains(text, s.secret[:30]) { // some places shorten what they keep
					t.Errorf("the %s has the secret", place)
				}
			}
		})
	}
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	for _, path := range paths {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			s := setup(t, nil)
			form := grant()
			form.Set("token", s.token(t))
			s.store.down.Store(true)
			w := s.do(s.post(path, form))
			checkPrivate(t, w)
			seconds, err := strconv.Atoi(w.Header().Get("Retry-After"))
			if w.Code != http.StatusServiceUnavailable || err != nil || seconds < 1 {
				t.Errorf("status %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
			}
			if !strings.Contains(w.Body.String(), `"temporarily_unavailable"`) || strings.Contains(w.Body.String(), "db.internal") {
				t.Errorf("body %s", w.Body)
			}
			// The operator sees the cause, and no password even then.
			line := s.log.line(t, "request refused", w.Header().Get("X-Request-Id"))
			cause, _ := line["cause"].(string)
			if line["level"] != "ERROR" || !strings.Contains(cause, "db.internal") || strings.Contains(cause, "hunter2") {
				t.Errorf("log line %v", line)
			}
			s.store.down.Store(false)
			s.token(t)
		})
	}
}

func TestPanic(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	s.store.panicing.Store(true)
	w := s.do(s.post(endpoints.PathToken, grant()))
	checkPrivate(t, w)
	id := w.Header().Get("X-Request-Id")
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), `"server_error"`) || id == "" {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	if body := w.Body.String(); strings.Contains(body, "internals") || strings.Contains(body, "goroutine") || strings.Contains(body, "panic") {
		t.Errorf("the answer tells about the panic: %s", w.Body)
	}
	line := s.log.line(t, "panic", id)
	if stack, _ := line["stack"].(string); !strings.Contains(stack, "setup_test.go") {
		t.Errorf("log line %v", line)
	}
	checkMetrics(t, s, "signet_panics_total 1", `signet_http_requests_total{route="/oauth2/token",status="500"} 1`)
	s.store.panicing.Store(false)
	s.token(t)
}

// TestThrottle: after 100 failures the next one is told to wait; the right secret still passes from the same address
// (ATTACKS Q6), and so does another client's first failure.
func TestThrottle(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	attempt := func(id string) *httptest.ResponseRecorder {
		r := s.post(endpoints.PathToken, grant())
		r.SetBasicAuth(id, "signet_cs_wrong")
		return s.do(r)
	}
	for i := range 100 {
		if w := attempt(clientID); w.Code != http.StatusUnauthorized {
			t.Fatalf("failure %d: status %d", i, w.Code)
		}
	}
	w := attempt(clientID)
	checkPrivate(t, w)
	if seconds, err := strconv.Atoi(w.Header().Get("Retry-After")); w.Code != http.StatusTooManyRequests || err != nil || seconds < 1 {
		t.Errorf("status %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	if w := attempt("client_aaaaaaaaaaaaaaaaaaaa"); w.Code != http.StatusUnauthorized {
		t.Errorf("another client: status %d", w.Code)
	}
	s.token(t)
}

func TestRate(t *testing.T) {
	t.Parallel()
	s := setupRated(t, limits.NewRate(limits.Config{PerSecond: 0.4, Burst: 2}), nil)
	began := time.Now()
	s.token(t)
	s.token(t)
	w := s.do(s.post(endpoints.PathToken, grant()))
	checkPrivate(t, w)
	// The next is due 2.5 s after the first.
	least := math.Ceil((2500*time.Millisecond - time.Since(began)).Seconds())
	seconds, err := strconv.Atoi(w.Header().Get("Retry-After"))
	if w.Code != http.StatusTooManyRequests || err != nil || float64(seconds) < least || seconds > 3 || strings.Contains(w.Body.String(), "access_token") {
		t.Errorf("status %d, Retry-After %q: %s", w.Code, w.Header().Get("Retry-After"), w.Body)
	}
	checkNoted(t, s, w.Header().Get("X-Request-Id"), "token", "temporarily_unavailable", "rate_limited")
	checkMetrics(t, s, `signet_tokens_issued_total{alg="ES256"} 2`)
}

func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	proxies := web.NewProxies([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
	const proxy, stranger = "10.0.0.1:1", "203.0.113.9:1"
	tests := map[string]struct {
		peer, proto string
		required    bool
		served      bool
	}{
		"through the proxy":               {proxy, "https", true, true},
		"plain http at the proxy":         {proxy, "http", true, false},
		"proxy says nothing":              {proxy, "", true, false},
		"past the proxy":                  {stranger, "", true, false},
		"past the proxy, claiming https":  {stranger, "https", true, false},
		"loopback development":            {stranger, "", false, true},
		"loopback development with claim": {stranger, "http", false, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t, func(c *endpoints.Config) { c.Proxies, c.RequireTLS = proxies, tt.required })
			for _, path := range append([]string{endpoints.PathJWKS, endpoints.PathMetadata}, paths...) {
				form := grant()
				form.Set("token", "x")
				r := s.post(path, form)
				if !strings.HasPrefix(path, "/oauth2/") {
					r.Method = http.MethodGet
				}
				r.RemoteAddr = tt.peer
				if tt.proto != "" {
					r.Header.Set("X-Forwarded-Proto", tt.proto)
				}
				w := s.do(r)
				want := http.StatusOK
				if !tt.served {
					want = http.StatusBadRequest
					if w.Header().Get("Location") != "" || !strings.Contains(w.Body.String(), `"invalid_request"`) {
						t.Errorf("%s: %v %s", path, w.Header(), w.Body)
					}
				}
				if w.Code != want {
					t.Errorf("%s: status %d, want %d: %s", path, w.Code, want, w.Body)
				}
			}
			// Probes come from the machine beside and hold no credential.
			r := httptest.NewRequest(http.MethodGet, endpoints.PathReady, nil)
			r.RemoteAddr = tt.peer
			if w := s.do(r); w.Code != http.StatusOK {
				t.Errorf("readyz: status %d", w.Code)
			}
		})
	}
}

// TestClaimedHostChangesNothing: the issuer is configuration (ATTACKS P8).
func TestClaimedHostChangesNothing(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	want := s.do(httptest.NewRequest(http.MethodGet, endpoints.PathMetadata, nil)).Body.String()
	for _, header := range []string{"X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Original-Url", "X-Forwarded-Prefix"} {
		r := httptest.NewRequest(http.MethodGet, endpoints.PathMetadata, nil)
		r.Host = "evil.test"
		r.Header.Set(header, "evil.test")
		if got := s.do(r).Body.String(); got != want || strings.Contains(got, "evil") {
			t.Errorf("%s: %s", header, got)
		}
	}
}

func BenchmarkTokenEndpoint(b *testing.B) {
	s := setup(b, nil)
	body := grant().Encode()
	b.ReportAllocs()
	for b.Loop() {
		r := s.post(endpoints.PathToken, nil)
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		if w := s.do(r); w.Code != http.StatusOK {
			b.Fatal(w.Body)
		}
	}
}
