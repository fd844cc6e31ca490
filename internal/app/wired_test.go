package app_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/app"
	"github.com/seed-1972b8eb/signet/internal/clients"
)

// with is the site with options changed.
func (s site) with(pairs ...string) site {
	for i := 0; i < len(pairs); i += 2 {
		s.flags[pairs[i]] = pairs[i+1]
	}
	return s
}

// from is a request from an address, with headers.
func from(t *testing.T, peer, method, path, form string, header ...string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(form))
	r.RemoteAddr = peer
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// TestOptionsReachTheirPlace: an option that is read, checked and then forgotten would look like one that works.
func TestOptionsReachTheirPlace(t *testing.T) {
	t.Parallel()
	const grant = "grant_type=client_credentials"
	t.Run("proxy", func(t *testing.T) {
		t.Parallel()
		a := made(t).with("proxy.terminates_tls", "true", "proxy.trusted_cidrs", "192.0.2.0/24").opened(t)
		for name, test := range map[string]struct {
			peer, proto string
			want        int
		}{
			"https through the proxy":        {"192.0.2.1:999", "https", http.StatusUnauthorized},
			"http through the proxy":         {"192.0.2.1:999", "http", http.StatusBadRequest},
			"somebody who says that it is":   {"198.51.100.1:999", "https", http.StatusBadRequest},
			"the proxy that says nothing":    {"192.0.2.1:999", "", http.StatusBadRequest},
			"somebody who says nothing":      {"198.51.100.1:999", "", http.StatusBadRequest},
			"this machine, past the proxy":   {"127.0.0.1:999", "", http.StatusBadRequest},
			"IPv4 of the proxy, mapped form": {"[::ffff:192.0.2.1]:999", "https", http.StatusUnauthorized},
		} {
			got := send(a.Public(), from(t, test.peer, http.MethodPost, "/oauth2/token", grant, "X-Forwarded-Proto", test.proto))
			if got.status != test.want {
				t.Errorf("%s: %d %s, want %d", name, got.status, got.body, test.want)
			}
		}
	})
	t.Run("limits", func(t *testing.T) {
		t.Parallel()
		a := made(t).with("limits.failures_burst", "2", "limits.failures_per_second", "0.001",
			"limits.client_burst", "1", "limits.client_per_second", "0.001").opened(t)
		c := register(t, a, "nightly")
		c.token(t, a)
		if got := c.post(t, a.Public(), "/oauth2/token", grant); got.status != http.StatusTooManyRequests || got.header.Get("Retry-After") == "" {
			t.Errorf("second token: %d %s", got.status, got.body)
		}
		thief := machine{c.id, c.secret[:len(c.secret)-1] + "!"}
		for i, want := range []int{http.StatusUnauthorized, http.StatusUnauthorized, http.StatusTooManyRequests} {
			if got := thief.post(t, a.Public(), "/oauth2/introspect", "token=x"); got.status != want {
				t.Errorf("failure %d: %d %s, want %d", i+1, got.status, got.body, want)
			}
		}
	})
	t.Run("lifetimes", func(t *testing.T) {
		t.Parallel()
		a := made(t).with("tokens.default_ttl", "7s", "tokens.max_ttl", "1h").opened(t)
		if _, err := a.APIs.Create(t.Context(), by, apis.API{Identifier: "urn:x", Name: "X", TokenTTL: time.Hour + time.Second}); err == nil {
			t.Error("an API above the ceiling")
		}
		if _, _, err := a.Clients.Create(t.Context(), by, clients.New{Name: "x", TokenTTL: time.Hour + time.Second}); err == nil {
			t.Error("a client above the ceiling")
		}
		c := register(t, a, "nightly")
		if got := c.post(t, a.Public(), "/oauth2/token", grant); !strings.Contains(got.body, `"expires_in":7,`) {
			t.Errorf("default lifetime: %s", got.body)
		}
	})
	t.Run("jwks_uri networks", func(t *testing.T) {
		t.Parallel()
		inside := clients.New{Name: "x", AuthMethod: clients.PrivateKeyJWT, JWKSURI: "https://10.1.2.3/jwks"}
		if _, _, err := made(t).opened(t).Clients.Create(t.Context(), by, inside); err == nil {
			t.Error("a jwks_uri inside the network, by default")
		}
		a := made(t).with("outbound.allow_cidrs", "10.0.0.0/8").opened(t)
		if _, _, err := a.Clients.Create(t.Context(), by, inside); err != nil {
			t.Errorf("a jwks_uri in a network that is allowed: %v", err)
		}
	})
}

// TestAdminListener: over TCP there are metrics for this machine, profiles where they are switched on, and nothing to manage.
func TestAdminListener(t *testing.T) {
	t.Parallel()
	plain, profiled := made(t).opened(t), made(t).with("telemetry.pprof", "true").opened(t)
	const here = "127.0.0.1:999"
	for name, test := range map[string]struct {
		app        *app.App
		peer, path string
		want       int
	}{
		"metrics":             {plain, here, "/metrics", http.StatusOK},
		"metrics elsewhere":   {plain, "192.0.2.1:999", "/metrics", http.StatusUnauthorized},
		"clients":             {plain, here, "/admin/v1/clients", http.StatusUnauthorized},
		"profiles by default": {plain, here, "/debug/pprof/", http.StatusUnauthorized},
		"profiles":            {profiled, here, "/debug/pprof/", http.StatusOK},
		"profiles elsewhere":  {profiled, "192.0.2.1:999", "/debug/pprof/", http.StatusUnauthorized},
	} {
		if got := send(test.app.TCP(), from(t, test.peer, http.MethodGet, test.path, "")); got.status != test.want {
			t.Errorf("%s: %d, want %d", name, got.status, test.want)
		}
	}
	for _, path := range []string{"/metrics", "/debug/pprof/", "/admin/v1/clients"} {
		if got := send(plain.Public(), from(t, here, http.MethodGet, path, "")); got.status != http.StatusNotFound {
			t.Errorf("%s on the public listener: %d, want 404", path, got.status)
		}
	}
}

// TestKeysFollowTheAPIs: an API with an algorithm that has no key gets one before it is there.
func TestKeysFollowTheAPIs(t *testing.T) {
	t.Parallel()
	a := made(t).opened(t)
	if _, err := a.APIs.Create(t.Context(), by, apis.API{Identifier: "urn:ed", Name: "Ed", Alg: apis.EdDSA, Scopes: []apis.Scope{{Name: "x"}}}); err != nil {
		t.Fatal(err)
	}
	c, secret, err := a.Clients.Create(t.Context(), by, clients.New{Name: "x", Grants: []clients.Grant{{API: "urn:ed", Scopes: []string{"x"}}}})
	if err != nil {
		t.Fatal(err)
	}
	machine{c.ID, secret.Reveal()}.token(t, a)
}

// TestReadiness: trouble with the database is degraded, and work goes on; without a signing key there is none to do.
func TestReadiness(t *testing.T) {
	t.Parallel()
	ready := func(a *app.App, want int, status string) {
		t.Helper()
		got := send(a.Public(), from(t, "127.0.0.1:999", http.MethodGet, "/readyz", ""))
		if got.status != want || !strings.Contains(got.body, `"status":"`+status+`"`) {
			t.Errorf("%d %s, want %d %s", got.status, got.body, want, status)
		}
	}
	a := made(t).opened(t)
	ready(a, http.StatusOK, "ready")

	a = made(t).opened(t)
	c := register(t, a, "nightly")
	token := c.token(t, a)
	if err := a.Database().Close(); err != nil {
		t.Fatal(err)
	}
	ready(a, http.StatusOK, "degraded")
	c.token(t, a)
	if !c.active(t, a, token) { // with SQLite the set in memory is the whole truth
		t.Error("inactive, and nobody has revoked it")
	}
	got := c.post(t, a.Public(), "/oauth2/revoke", "token="+token)
	if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
		t.Errorf("revoke without a database: %d %s, want 503 with Retry-After", got.status, got.body)
	}

	s := made(t)
	s.sqlite(t, "UPDATE signing_keys SET state = 'pending'")
	ready(s.opened(t), http.StatusServiceUnavailable, "unavailable")
}

// TestRun serves on every listener and ends when it is told to: with the socket for its owner alone, in the place of one that
// a crash has left, and with everything written that was counted.
func TestRun(t *testing.T) { // not beside others: Run sets the umask, which is the whole process's, for a moment
	s := made(t)
	if err := os.WriteFile(s.path("admin.sock"), nil, 0o600); err != nil { // what a crash leaves is just as dead
		t.Fatal(err)
	}
	a, err := s.open(t)
	if err != nil {
		t.Fatal(err)
	}
	c := register(t, a, "nightly")
	ctx, stop := context.WithCancel(t.Context())
	ended, ready := make(chan error, 1), make(chan struct{})
	go func() { ended <- a.Run(ctx, nil, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("Run = %v before it was ready", err)
	}
	info, err := os.Stat(s.path("admin.sock"))
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("admin socket: %v, %v; want mode 0600", info, err)
	}
	for network, address := range map[string]string{"unix": s.path("admin.sock"), "tcp": a.AdminAddress()} {
		conn, err := new(net.Dialer).DialContext(t.Context(), network, address)
		if err != nil {
			t.Errorf("admin over %s: %v", network, err)
			continue
		}
		_ = conn.Close()
	}
	c.token(t, a)
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v", err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	found, err := s.opened(t).Clients.Find(t.Context(), c.id)
	if err != nil || found.LastUsedAt.IsZero() {
		t.Errorf("last used %v (%v); the last flush is lost", found.LastUsedAt, err)
	}
}
