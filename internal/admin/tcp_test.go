package admin_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/admin"
	"github.com/seed-1972b8eb/signet/internal/web"
)

func TestAdminListener(t *testing.T) {
	t.Parallel()
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("signet_up 1")) })
	tests := []struct {
		name, method, path, peer string
		header                   [2]string
		pprof                    bool
		status                   int
	}{
		{name: "metrics for this machine", path: "/metrics", peer: "127.0.0.1:999", status: 200},
		{name: "metrics for this machine over IPv6", path: "/metrics", peer: "[::1]:999", status: 200},
		{name: "metrics for this machine in mapped form", path: "/metrics", peer: "[::ffff:127.0.0.1]:999", status: 200},
		{name: "metrics for another machine", path: "/metrics", peer: "192.0.2.1:999", status: 401},
		{name: "metrics through a proxy on this machine", path: "/metrics", peer: "127.0.0.1:999", header: [2]string{"X-Forwarded-For", "192.0.2.1"}, status: 401},
		{name: "metrics through a proxy that says Forwarded", path: "/metrics", peer: "127.0.0.1:999", header: [2]string{"Forwarded", "for=192.0.2.1"}, status: 401},
		{name: "metrics from nowhere", path: "/metrics", peer: "@", status: 401},
		{name: "posted metrics", method: "POST", path: "/metrics", peer: "127.0.0.1:999", status: 401},
		{name: "admin API", path: "/admin/v1/clients", peer: "127.0.0.1:999", status: 401},
		{name: "admin API with a token", path: "/admin/v1/clients", peer: "127.0.0.1:999", header: [2]string{"Authorization", "Bearer x.y.z"}, status: 401},
		{name: "description of the admin API", path: "/admin/openapi.json", peer: "127.0.0.1:999", status: 401},
		{name: "root", path: "/", peer: "127.0.0.1:999", status: 401},
		{name: "profiles by default", path: "/debug/pprof/cmdline", peer: "127.0.0.1:999", status: 401},
		{name: "profiles switched on", path: "/debug/pprof/", peer: "127.0.0.1:999", pprof: true, status: 200},
		{name: "profiles for another machine", path: "/debug/pprof/heap", peer: "192.0.2.1:999", pprof: true, status: 401},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := web.Handler(web.HandlerConfig{Log: slog.New(slog.DiscardHandler), Panic: admin.Panicked},
				admin.TCP(admin.TCPConfig{Metrics: metrics, Pprof: tt.pprof}))
			method := tt.method
			if method == "" {
				method = http.MethodGet
			}
			r := httptest.NewRequestWithContext(t.Context(), method, tt.path, nil)
			r.RemoteAddr = tt.peer
			if tt.header[0] != "" {
				r.Header.Set(tt.header[0], tt.header[1])
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Fatalf("status %d, want %d", w.Code, tt.status)
			}
			if tt.status != http.StatusUnauthorized {
				return
			}
			challenge := w.Header().Get("WWW-Authenticate")
			if !strings.HasPrefix(challenge, "Bearer realm=") || strings.Contains(challenge, "invalid_token") != (tt.header[0] == "Authorization") {
				t.Errorf("challenge %q", challenge)
			}
			if kind := w.Header().Get("Content-Type"); kind != "application/problem+json" || strings.Contains(w.Body.String(), "signet_up") {
				t.Errorf("answer %q: %s", kind, w.Body)
			}
		})
	}
}
