package app_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/app"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/config"
)

var by = audit.Actor{ID: "test"}

// site is the configuration of a server on SQLite, and the directory that it names.
type site struct{ flags map[string]string }

// made is a site that app.Init has made.
func made(t *testing.T) site {
	t.Helper()
	s := unmade(t)
	if err := s.init(t); err != nil {
		t.Fatal(err)
	}
	return s
}

func unmade(t *testing.T) site {
	t.Helper()
	dir, err := os.MkdirTemp("", "signet-") //nolint:usetesting // t.TempDir is too long for a Unix socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return site{flags: map[string]string{
		"issuer": "http://127.0.0.1", "data_dir": filepath.Join(dir, "data"), "listen.public": "127.0.0.1:0", "listen.admin": "127.0.0.1:0",
	}}
}

func (s site) path(name string) string { return filepath.Join(s.flags["data_dir"], name) }

func (s site) config(t *testing.T) *config.Config {
	t.Helper()
	cfg, err := config.Load(config.Options{Flags: s.flags})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func (s site) init(t *testing.T) error {
	t.Helper()
	return app.Init(t.Context(), s.config(t), slog.New(slog.DiscardHandler), apis.ES256)
}

// open wires a server and runs nothing beside it: no poll and no loop mends what a change has forgotten to tell.
func (s site) open(t *testing.T) (*app.App, error) {
	t.Helper()
	return app.New(t.Context(), app.Options{Config: s.config(t), Log: slog.New(slog.DiscardHandler), Version: "test"})
}

// opened is open, closed with the test.
func (s site) opened(t *testing.T) *app.App {
	t.Helper()
	a, err := s.open(t)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

// machine is a client with its secret.
type machine struct{ id, secret string }

// register makes the API and a client that may read, write and introspect.
func register(t *testing.T, a *app.App, name string) machine {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	_, err := a.APIs.Create(ctx, by, apis.API{Identifier: api, Name: "Orders", Scopes: []apis.Scope{{Name: "orders:read"}, {Name: "orders:write"}}})
	if err != nil && !strings.Contains(err.Error(), apis.ErrTaken.Error()) {
		t.Fatal(err)
	}
	c, secret, err := a.Clients.Create(ctx, by, clients.New{
		Name: name, Introspects: []string{api}, Grants: []clients.Grant{{API: api, Scopes: []string{"orders:read", "orders:write"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return machine{c.ID, secret.Reveal()}
}

// answer is what came back on the wire.
type answer struct {
	status int
	header http.Header
	body   string
}

func (m machine) post(t *testing.T, h http.Handler, path, form string) answer {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(m.id, m.secret)
	return send(h, r)
}

func send(h http.Handler, r *http.Request) answer {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{w.Code, w.Result().Header, w.Body.String()}
}

// token is a fresh access token.
func (m machine) token(t *testing.T, a *app.App) string {
	t.Helper()
	got := m.post(t, a.Public(), "/oauth2/token", "grant_type=client_credentials")
	var issued struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(got.body), &issued); err != nil || got.status != http.StatusOK || issued.Token == "" {
		t.Fatalf("no token: %d %s", got.status, got.body)
	}
	return issued.Token
}

// active is what introspection says of a token.
func (m machine) active(t *testing.T, a *app.App, token string) bool {
	t.Helper()
	got := m.post(t, a.Public(), "/oauth2/introspect", "token="+token)
	if got.status != http.StatusOK {
		t.Fatalf("introspection: %d %s", got.status, got.body)
	}
	if got.body == `{"active":false}` {
		return false
	}
	if !strings.Contains(got.body, `"active":true`) {
		t.Fatalf("introspection: %s", got.body)
	}
	return true
}
