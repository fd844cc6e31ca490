package web_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/internal/web"
)

// proxies trusts 10.0.0.0/8 and fd00::/8.
func proxies() web.Proxies {
	return web.NewProxies([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")})
}

func TestExchange(t *testing.T) {
	t.Parallel()
	const fromProxy, fromStranger = "10.0.0.1:4000", "203.0.113.9:4000"
	tests := map[string]struct {
		peer   string
		header http.Header
		ip     string // wanted; "" for an address that is not valid
		id     string // wanted; "" for a new one
		secure bool
	}{
		"stranger":                           {peer: fromStranger, ip: "203.0.113.9"},
		"stranger on a mapped address":       {peer: "[::ffff:203.0.113.9]:1", ip: "203.0.113.9"},
		"stranger with a zone":               {peer: "[fe80::1%eth0]:1", ip: "fe80::1"},
		"unix socket":                        {peer: "@", ip: ""},
		"stranger claims an address":         {peer: fromStranger, header: http.Header{"X-Forwarded-For": {"198.51.100.7"}}, ip: "203.0.113.9"},
		"stranger claims https":              {peer: fromStranger, header: http.Header{"X-Forwarded-Proto": {"https"}}, ip: "203.0.113.9"},
		"stranger claims an ID":              {peer: fromStranger, header: http.Header{"X-Request-Id": {"abc"}}, ip: "203.0.113.9"},
		"other headers are never read":       {peer: fromProxy, header: http.Header{"X-Real-Ip": {"198.51.100.7"}, "Forwarded": {"for=198.51.100.7;proto=https"}, "X_forwarded_for": {"198.51.100.7"}}, ip: "10.0.0.1"},
		"proxy without headers":              {peer: fromProxy, ip: "10.0.0.1"},
		"proxy":                              {peer: fromProxy, header: http.Header{"X-Forwarded-For": {"198.51.100.7"}, "X-Forwarded-Proto": {"https"}, "X-Request-Id": {"Abc-1_2.3"}}, ip: "198.51.100.7", id: "Abc-1_2.3", secure: true},
		"IPv6 proxy":                         {peer: "[fd00::1]:1", header: http.Header{"X-Forwarded-For": {"2001:db8::7"}}, ip: "2001:db8::7"},
		"chain of proxies":                   {peer: fromProxy, header: http.Header{"X-Forwarded-For": {"198.51.100.7, 10.0.0.3 ,10.0.0.2"}}, ip: "198.51.100.7"},
		"caller claims a hop before":         {peer: fromProxy, header: http.Header{"X-Forwarded-For": {"1.2.3.4, 198.51.100.7"}}, ip: "198.51.100.7"},
		"caller claims garbage before":       {peer: fromProxy, header: http.Header{"X-Forwarded-For": {"<script>, 198.51.100.7"}}, ip: "198.51.100.7"},
		"two lines count as one":             {peer: fromProxy, header: http.Header{"X-Forwarded-For": {"1.2.3.4", "198.51.100.7, 10.0.0.2"}}, ip: "198.51.100.7"},
		"with ports":                         {peer: fromProxy, header: http.Header{"X-Forwarded-For": {"198.51.100.7:1234, 10.0.0.2:1"}}, ip: "198.51.100.7"},
		"IPv6 with a port":                   {peer: fromProxy, header: http.Header{"X-Forwarded-For": {"[2001:db8::7]:1234"}}, ip: "2001:db8::7"},
		"proxies all the way":                {peer: fromProxy, header: http.Header{"X-Forwarded-For": {"10.9.9.9, 10.0.0.2"}}, ip: "10.9.9.9"},
		"garbage is the peer":                {peer: fromProxy, header: http.Header{"X-Forwarded-For": {"198.51.100.7, unknown"}}, ip: "10.0.0.1"},
		"empty is the peer":                  {peer: fromProxy, header: http.Header{"X-Forwarded-For": {""}}, ip: "10.0.0.1"},
		"trailing comma is the peer":         {peer: fromProxy, header: http.Header{"X-Forwarded-For": {"198.51.100.7,"}}, ip: "10.0.0.1"},
		"endless chain is the peer":          {peer: fromProxy, header: http.Header{"X-Forwarded-For": {"198.51.100.7" + strings.Repeat(",10.0.0.2", 40)}}, ip: "10.0.0.1"},
		"plain http at the proxy":            {peer: fromProxy, header: http.Header{"X-Forwarded-Proto": {"http"}}, ip: "10.0.0.1"},
		"plain http somewhere":               {peer: fromProxy, header: http.Header{"X-Forwarded-Proto": {"https, http"}}, ip: "10.0.0.1"},
		"plain http on a second line":        {peer: fromProxy, header: http.Header{"X-Forwarded-Proto": {"https", "http"}}, ip: "10.0.0.1"},
		"https in capitals":                  {peer: fromProxy, header: http.Header{"X-Forwarded-Proto": {"HTTPS"}}, ip: "10.0.0.1", secure: true},
		"ID that breaks a log line":          {peer: fromProxy, header: http.Header{"X-Request-Id": {"a\nb"}}, ip: "10.0.0.1"},
		"ID that is markup":                  {peer: fromProxy, header: http.Header{"X-Request-Id": {"<b>"}}, ip: "10.0.0.1"},
		"ID that is too long":                {peer: fromProxy, header: http.Header{"X-Request-Id": {strings.Repeat("a", 65)}}, ip: "10.0.0.1"},
		"two IDs":                            {peer: fromProxy, header: http.Header{"X-Request-Id": {"a", "b"}}, ip: "10.0.0.1"},
		"network given in mapped form works": {peer: "192.0.2.1:1", header: http.Header{"X-Forwarded-For": {"198.51.100.7"}}, ip: "198.51.100.7"},
	}
	trusted := web.NewProxies([]netip.Prefix{
		netip.MustParsePrefix("10.1.2.3/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("::ffff:192.0.2.0/120"),
	})
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got web.Exchange
			h := web.Handler(web.HandlerConfig{Proxies: trusted, Log: slog.New(slog.DiscardHandler)}, http.HandlerFunc(
				func(_ http.ResponseWriter, r *http.Request) { got = *web.From(r.Context()) }))
			r := httptest.NewRequest(http.MethodGet, "http://h/", nil)
			r.RemoteAddr = tt.peer
			r.Header = tt.header
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)

			var want netip.Addr
			if tt.ip != "" {
				want = netip.MustParseAddr(tt.ip)
			}
			if got.ClientIP != want || got.Secure != tt.secure {
				t.Errorf("got address %v, secure %v; want %v, %v", got.ClientIP, got.Secure, want, tt.secure)
			}
			if tt.id != "" && got.RequestID != tt.id {
				t.Errorf("request ID %q, want %q", got.RequestID, tt.id)
			}
			if tt.id == "" && len(got.RequestID) != 26 {
				t.Errorf("request ID %q, want a new one", got.RequestID)
			}
			if h := w.Result().Header.Get("X-Request-Id"); h != got.RequestID {
				t.Errorf("X-Request-Id: %q, want %q", h, got.RequestID)
			}
			if hsts := w.Result().Header.Get("Strict-Transport-Security"); (hsts != "") != tt.secure {
				t.Errorf("Strict-Transport-Security: %q with secure %v", hsts, tt.secure)
			}
		})
	}
}

func TestRequestIDsDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	h := web.Handler(web.HandlerConfig{Log: slog.New(slog.DiscardHandler)}, http.HandlerFunc(
		func(_ http.ResponseWriter, r *http.Request) { seen[web.From(r.Context()).RequestID] = true }))
	for range 1000 {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	}
	if len(seen) != 1000 {
		t.Errorf("%d different IDs of 1000 requests", len(seen))
	}
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	h := web.Handler(web.HandlerConfig{Log: slog.New(slog.DiscardHandler)}, http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/changed" {
				w.Header().Add("Content-Security-Policy", "sandbox")
				w.Header().Set("X-Frame-Options", "SAMEORIGIN")
			}
		}))
	want := http.Header{
		"X-Content-Type-Options":  {"nosniff"},
		"X-Frame-Options":         {"DENY"},
		"Referrer-Policy":         {"no-referrer"},
		"Content-Security-Policy": {"default-src 'none'; frame-ancestors 'none'"},
	}
	// What one handler changes must not show in the next answer: the values are shared.
	for _, target := range []string{"/changed", "/"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
		got := w.Result().Header
		got.Del("X-Request-Id")
		if diff := cmp.Diff(want, got); target == "/" && diff != "" {
			t.Errorf("headers (-want +got):\n%s", diff)
		}
	}
}

func TestPanic(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		handler http.HandlerFunc
		status  int // of the answer; 0 when the connection is to be dropped
	}{
		"before an answer":  {func(http.ResponseWriter, *http.Request) { panic("signet-internals") }, http.StatusInternalServerError},
		"runtime error":     {func(http.ResponseWriter, *http.Request) { _ = strings.Split("a", "b")[1] }, http.StatusInternalServerError},
		"in half an answer": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK); panic("signet-internals") }, 0},
		"deliberate abort":  {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0},
		"no panic":          {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }, http.StatusTeapot},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			done := -1
			h := web.Handler(web.HandlerConfig{
				Log:   slog.New(slog.NewJSONHandler(&log, nil)),
				Panic: func(w http.ResponseWriter, r *http.Request) { web.WriteProblem(w, r, web.Problem{}) },
				Done:  func(_ *web.Exchange, status int, _ time.Duration) { done = status },
			}, tt.handler)
			w := httptest.NewRecorder()
			aborted := false
			func() {
				defer func() {
					if p := recover(); p != nil {
						err, _ := p.(error)
						aborted = errors.Is(err, http.ErrAbortHandler)
					}
				}()
				h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/x?client_secret=s3cr3t", nil))
			}()
			if aborted != (tt.status == 0) {
				t.Fatalf("dropped: %v", aborted)
			}
			if tt.status != 0 && (w.Code != tt.status || done != tt.status) {
				t.Errorf("status %d, reported %d, want %d", w.Code, done, tt.status)
			}
			if done == -1 {
				t.Error("the request was not counted")
			}
			if body := w.Body.String(); strings.Contains(body, "internals") || strings.Contains(body, "goroutine") {
				t.Errorf("the answer tells about the panic: %s", body)
			}
			if strings.Contains(name, "abort") && log.Len() > 0 {
				t.Errorf("a deliberate abort was logged: %s", log.String())
			}
			if tt.status == http.StatusInternalServerError {
				checkPanicLog(t, log.Bytes(), w.Header().Get("X-Request-Id"))
			}
		})
	}
}

func checkPanicLog(t *testing.T, line []byte, id string) {
	t.Helper()
	var entry struct {
		Level     string
		RequestID string `json:"request_id"`
		Path      string
		Stack     string
	}
	if err := json.Unmarshal(line, &entry); err != nil {
		t.Fatalf("want one line of JSON: %v\n%s", err, line)
	}
	if entry.Level != "ERROR" || entry.RequestID != id || entry.Path != "/x" || !strings.Contains(entry.Stack, "exchange_test.go") {
		t.Errorf("log line %s", line)
	}
}

func TestSuccessLeavesNoLogLine(t *testing.T) {
	t.Parallel()
	for level, lines := range map[slog.Level]int{slog.LevelInfo: 0, slog.LevelDebug: 1} {
		var log bytes.Buffer
		h := web.Handler(web.HandlerConfig{Log: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: level}))},
			http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/"+strings.Repeat("p", 5000)+"?token=s3cr3t", nil))
		if got := bytes.Count(log.Bytes(), []byte("\n")); got != lines {
			t.Errorf("level %v: %d lines, want %d", level, got, lines)
		}
		if strings.Contains(log.String(), "s3cr3t") || log.Len() > 1000 {
			t.Errorf("the log has the query or the whole path: %s", log.String())
		}
	}
}

func TestProblem(t *testing.T) {
	t.Parallel()
	h := web.Handler(web.HandlerConfig{Log: slog.New(slog.DiscardHandler)}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		web.WriteProblem(w, r, web.Problem{Status: http.StatusConflict, Detail: "name is taken"})
	}))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"type": "about:blank", "title": "Conflict", "status": 409.0, "detail": "name is taken",
		"request_id": w.Header().Get("X-Request-Id"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	if w.Code != http.StatusConflict || w.Header().Get("Content-Type") != "application/problem+json" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("status %d, header %v", w.Code, w.Header())
	}
}

func FuzzForwardedFor(f *testing.F) {
	for _, seed := range []string{"198.51.100.7", "1.2.3.4, 10.0.0.2", "[::1]:80", ",,,", "unknown", "::ffff:10.0.0.1"} {
		f.Add(seed)
	}
	trusted := proxies()
	f.Fuzz(func(t *testing.T, value string) {
		r := &http.Request{RemoteAddr: "10.0.0.1:1", Header: http.Header{"X-Forwarded-For": {value}}}
		got := trusted.ClientIP(r)
		if !got.IsValid() || got.Zone() != "" || got.Is4In6() {
			t.Errorf("%q gives %v", value, got)
		}
		// A stranger's header never matters.
		r.RemoteAddr = "203.0.113.9:1"
		if got := trusted.ClientIP(r); got != netip.MustParseAddr("203.0.113.9") {
			t.Errorf("%q from a stranger gives %v", value, got)
		}
	})
}
