package endpoints_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/endpoints"
	"github.com/seed-1972b8eb/signet/internal/web"
)

var documents = []string{endpoints.PathJWKS, endpoints.PathMetadata, endpoints.PathOpenIDAlias}

func get(s *surface, target string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	if header != nil {
		r.Header = header
	}
	return s.do(r)
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	for _, path := range documents {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			w := get(s, path, nil)
			etag := w.Header().Get("ETag")
			if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "public, max-age=300" {
				t.Errorf("status %d, headers %v", w.Code, w.Header())
			}
			if !strings.HasPrefix(etag, `"`) || len(etag) < 10 || w.Header().Get("Pragma") != "" || w.Header().Get("Set-Cookie") != "" {
				t.Errorf("headers %v", w.Header())
			}
			if !json.Valid(w.Body.Bytes()) {
				t.Errorf("body %s", w.Body)
			}
			body := w.Body.Bytes()

			head := httptest.NewRequest(http.MethodHead, path, nil)
			if w := s.do(head); w.Code != http.StatusOK || w.Body.Len() > 0 || w.Header().Get("ETag") != etag || w.Header().Get("Content-Length") == "0" {
				t.Errorf("HEAD: status %d, %d bytes, headers %v", w.Code, w.Body.Len(), w.Header())
			}
			for _, match := range []string{etag, "W/" + etag, `"other", ` + etag, "*"} {
				w := get(s, path, http.Header{"If-None-Match": {match}})
				if w.Code != http.StatusNotModified || w.Body.Len() > 0 || w.Header().Get("ETag") != etag || w.Header().Get("Cache-Control") == "" {
					t.Errorf("If-None-Match %s: status %d, %d bytes, headers %v", match, w.Code, w.Body.Len(), w.Header())
				}
			}
			// Nothing that a caller sends makes another document, or one that a cache must not keep.
			for _, target := range []string{path + "?x=1", path + "?kid=evil"} {
				for _, header := range []http.Header{
					{"If-None-Match": {`"other"`}}, {"Accept": {"text/html"}}, {"Authorization": {"Basic eA=="}}, {"Origin": {"https://evil.test"}},
				} {
					w := get(s, target, header)
					if diff := cmp.Diff(string(body), w.Body.String()); w.Code != http.StatusOK || diff != "" || w.Header().Get("ETag") != etag {
						t.Errorf("%s %v: status %d\n%s", target, header, w.Code, diff)
					}
					if w.Header().Get("Access-Control-Allow-Origin") != "" || w.Header().Get("Vary") != "" {
						t.Errorf("%s %v: headers %v", target, header, w.Header())
					}
				}
			}
			post := httptest.NewRequest(http.MethodPost, path, nil)
			if w := s.do(post); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" || !json.Valid(w.Body.Bytes()) {
				t.Errorf("POST: status %d, headers %v", w.Code, w.Header())
			}
		})
	}
}

func TestDiscoveryIsOneDocument(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	first, second := get(s, endpoints.PathMetadata, nil), get(s, endpoints.PathOpenIDAlias, nil)
	if sha256.Sum256(first.Body.Bytes()) != sha256.Sum256(second.Body.Bytes()) {
		t.Errorf("%s\n%s", first.Body, second.Body)
	}
	var m map[string]any
	if err := json.Unmarshal(first.Body.Bytes(), &m); err != nil {
		t.Fatal(err)
	}
	for member, path := range map[string]string{
		"token_endpoint": endpoints.PathToken, "revocation_endpoint": endpoints.PathRevoke,
		"introspection_endpoint": endpoints.PathIntrospect, "jwks_uri": endpoints.PathJWKS,
	} {
		if m[member] != issuer+path {
			t.Errorf("%s: %v, want %s", member, m[member], issuer+path)
		}
	}
	if m["issuer"] != issuer {
		t.Errorf("issuer: %v", m["issuer"])
	}
}

// TestMetadataFollowsTheKeys: a new algorithm changes the document and its tag at once.
func TestMetadataFollowsTheKeys(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	before := get(s, endpoints.PathMetadata, nil)
	s.ensure(t, apis.EdDSA)
	after := get(s, endpoints.PathMetadata, http.Header{"If-None-Match": {before.Header().Get("ETag")}})
	if after.Code != http.StatusOK || !strings.Contains(after.Body.String(), `"EdDSA"`) || after.Header().Get("ETag") == before.Header().Get("ETag") {
		t.Errorf("status %d: %s", after.Code, after.Body)
	}
	if again := get(s, endpoints.PathMetadata, nil); again.Header().Get("ETag") != after.Header().Get("ETag") {
		t.Error("the tag changes from request to request")
	}
}

func TestIssuerWithPath(t *testing.T) {
	t.Parallel()
	s := setup(t, func(c *endpoints.Config) { c.Issuer = "https://as.test/t1" })
	for _, path := range []string{
		"/.well-known/oauth-authorization-server/t1", "/.well-known/openid-configuration/t1", // RFC 8414 §3.1
		"/t1/.well-known/openid-configuration", // OpenID Connect Discovery §4
		"/t1/.well-known/oauth-authorization-server", "/t1/.well-known/jwks.json", "/.well-known/jwks.json",
		"/.well-known/oauth-authorization-server",
	} {
		if w := get(s, path, nil); w.Code != http.StatusOK {
			t.Errorf("%s: status %d", path, w.Code)
		}
	}
	if w := s.do(s.post("/t1"+endpoints.PathToken, grant())); w.Code != http.StatusOK {
		t.Errorf("token: status %d: %s", w.Code, w.Body)
	}
	for _, path := range []string{"/t2/.well-known/jwks.json", "/t1", "/t1/", "/t1/readyz"} {
		if w := get(s, path, nil); w.Code != http.StatusNotFound {
			t.Errorf("%s: status %d", path, w.Code)
		}
	}
	checkMetrics(t, s, `signet_http_requests_total{route="/oauth2/token",status="200"} 1`)
}

func TestNothingElse(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	targets := []string{
		"/", "/oauth2", "/oauth2/", "/oauth2/token/", "//oauth2/token", "/oauth2//token", "/oauth2/../oauth2/token", "/oauth2/./token",
		"/OAUTH2/TOKEN", "/oauth2/authorize", "/oauth2/device", "/oauth2/register", "/login", "/console", "/admin/v1/clients", "/metrics",
		"/debug/pprof/", "/debug/vars", "/.env", "/.git/config", "/robots.txt", "/livez/x", "/actuator/health", "/.well-known/",
	}
	for _, target := range targets {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions, http.MethodTrace, "BREW"} {
			r := httptest.NewRequest(method, "http://h/", nil)
			r.URL.Path, _, _ = strings.Cut(target, "?")
			w := s.do(r)
			if w.Code != http.StatusNotFound || w.Header().Get("Location") != "" {
				t.Errorf("%s %s: status %d, Location %q", method, target, w.Code, w.Header().Get("Location"))
			}
			checkPrivate(t, w)
			if _, ok := s.refusals.Find(w.Header().Get("X-Request-Id")); ok {
				t.Errorf("%s %s: a scanner fills the memory of refusals", method, target)
			}
		}
	}
	if strings.Contains(s.log.String(), `"level":"INFO"`) {
		t.Error("a scanner fills the log")
	}
}

// TestSeriesAreBounded: neither method nor path nor User-Agent makes a series (ATTACKS P14).
func TestSeriesAreBounded(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	count := func() int {
		w := httptest.NewRecorder()
		s.metrics.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		return strings.Count(w.Body.String(), "\nsignet_")
	}
	hostile := func(suffix string) {
		r := httptest.NewRequest("M"+suffix, "http://h/"+suffix, nil)
		r.Header.Set("User-Agent", suffix)
		s.do(r)
		r = httptest.NewRequest("M"+suffix, "http://h"+endpoints.PathToken, nil)
		s.do(r)
	}
	hostile("first")
	before := count()
	for i := range 300 {
		hostile(strings.Repeat("x", i))
	}
	if after := count(); after != before {
		t.Errorf("%d series grew to %d", before, after)
	}
}

func TestProbes(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		checks []endpoints.Check
		status int
		want   string
	}{
		"no checks": {nil, 200, `{"status":"ready","checks":[]}`},
		"ready":     {[]endpoints.Check{{Name: "database", State: endpoints.OK}}, 200, `{"status":"ready","checks":[{"name":"database","state":"ok"}]}`},
		"degraded": {
			[]endpoints.Check{{Name: "database", State: endpoints.Degraded, Detail: "tokens are issued for 40 more seconds"}, {Name: "keys", State: endpoints.OK}},
			200, `{"status":"degraded","checks":[{"name":"database","state":"degraded","detail":"tokens are issued for 40 more seconds"},{"name":"keys","state":"ok"}]}`,
		},
		"failing beats degraded": {
			[]endpoints.Check{{Name: "keys", State: endpoints.Failing}, {Name: "database", State: endpoints.Degraded}},
			503, `{"status":"unavailable","checks":[{"name":"keys","state":"failing"},{"name":"database","state":"degraded"}]}`,
		},
		"unknown state": {[]endpoints.Check{{Name: "keys"}}, 503, `{"status":"unavailable","checks":[{"name":"keys","state":""}]}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t, func(c *endpoints.Config) {
				if tt.checks != nil {
					c.Ready = func(context.Context) []endpoints.Check { return tt.checks }
				}
			})
			w := get(s, endpoints.PathReady, nil)
			if w.Code != tt.status || w.Body.String() != tt.want || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("status %d, body %s, headers %v", w.Code, w.Body, w.Header())
			}
			if w := get(s, endpoints.PathLive, nil); w.Code != http.StatusOK || w.Body.String() != `{"status":"ok"}` {
				t.Errorf("livez: %d %s", w.Code, w.Body)
			}
		})
	}
}

// TestReadinessIsNotLoad asks often: the checks run once in a while, and a caller that hangs up does not fail them.
func TestReadinessIsNotLoad(t *testing.T) {
	t.Parallel()
	calls := 0
	s := setup(t, func(c *endpoints.Config) {
		c.Ready = func(ctx context.Context) []endpoints.Check {
			calls++
			if ctx.Err() != nil {
				return []endpoints.Check{{Name: "database", State: endpoints.Failing}}
			}
			return []endpoints.Check{{Name: "database", State: endpoints.OK}}
		}
	})
	began := time.Now()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if w := s.do(httptest.NewRequestWithContext(gone, http.MethodGet, endpoints.PathReady, nil)); w.Code != http.StatusOK {
		t.Errorf("status %d", w.Code)
	}
	for range 1000 {
		get(s, endpoints.PathReady, nil)
	}
	if most := 2 + int(time.Since(began)/(200*time.Millisecond)); calls > most {
		t.Errorf("the checks ran %d times in %v", calls, time.Since(began))
	}
}

// TestDraining asks on a connection that was open before the drain began: not ready, alive, and the connection ends.
func TestDraining(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	served := make(chan error, 1)
	log := slog.New(slog.DiscardHandler)
	go func() {
		served <- web.Serve(ctx, web.NewServer(web.ServerConfig{Handler: s.handler, Log: log}), ln, 20*time.Second)
	}()
	ask := func(path string) (int, string, bool) {
		resp, err := http.Get("http://" + ln.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body), resp.Close
	}
	if status, _, _ := ask(endpoints.PathReady); status != http.StatusOK {
		t.Errorf("before: status %d", status)
	}
	stop()
	status, body, closes := ask(endpoints.PathReady)
	for status == http.StatusOK { // the server learns of its end a moment after us
		status, body, closes = ask(endpoints.PathReady)
	}
	if status != http.StatusServiceUnavailable || !strings.Contains(body, `"draining"`) || !closes {
		t.Errorf("status %d, body %s, connection closes: %v", status, body, closes)
	}
	if status, _, _ := ask(endpoints.PathLive); status != http.StatusOK {
		t.Errorf("livez: status %d", status)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}
