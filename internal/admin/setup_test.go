package admin_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/admin"
	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/credential"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/registry"
	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/rootkeys"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
	"github.com/seed-1972b8eb/signet/internal/tokens"
	"github.com/seed-1972b8eb/signet/internal/web"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

const (
	issuer  = "https://auth.example.com"
	ordersA = "https://orders.example.com"
)

// server is the admin API over a real SQLite database, with what a test looks at behind it.
type server struct {
	handler  http.Handler
	client   *adminapi.Client // over a real Unix socket
	config   admin.Config
	issuer   *tokens.Issuer
	behind   func() *tokens.Issuer // the same on a replica that has not read the keys yet
	refusals *audit.Refusals
	log      *strings.Builder
}

func setup(t *testing.T) *server {
	t.Helper()
	return setupWith(t, func(*admin.Config) {})
}

// setupWith lets a test replace a part, to make it fail.
func setupWith(t *testing.T, change func(*admin.Config)) *server {
	t.Helper()
	ctx := t.Context()
	var memory *revocations.Memory
	var ring *keys.Ring
	c := sqlstore.Config{Driver: "sqlite", Path: filepath.Join(t.TempDir(), "signet.db"), Committed: func(ctx context.Context, done registry.Commit) {
		for _, cut := range done.CutOffs {
			memory.Cut(cut)
		}
		if ring != nil {
			if err := ring.Reload(ctx); err != nil {
				t.Error(err)
			}
		}
	}}
	if err := sqlstore.Create(ctx, c); err != nil {
		t.Fatal(err)
	}
	db, err := sqlstore.Open(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, _, err := db.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	if memory, err = revocations.NewMemory(ctx, db.Revocations()); err != nil {
		t.Fatal(err)
	}
	plan := keys.DefaultPlan()
	plan.RSABits = 2048 // a test waits for each
	sealer := keys.NewSealer(issuer, rootkeys.Generate())
	manager := keys.NewManager(keys.ManagerConfig{Store: db.Keys(), Sealer: sealer, Plan: plan})
	if err := manager.Ensure(ctx, audit.System(), apis.ES256); err != nil {
		t.Fatal(err)
	}
	ring = keys.NewRing(db.Keys(), sealer, plan)
	if err := ring.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	behind := func() *tokens.Issuer { return tokens.NewIssuer(issuer, keys.NewRing(db.Keys(), sealer, plan)) }
	s := &server{issuer: tokens.NewIssuer(issuer, ring), behind: behind, refusals: audit.NewRefusals(10), log: &strings.Builder{}}
	s.config = admin.Config{
		Issuer: issuer, Version: "v0", Database: "sqlite", JWKSURI: issuer + "/.well-known/jwks.json",
		Clients: clients.NewRegistry(clients.RegistryConfig{Store: db.Clients(), APIs: db.APIs(), Pepper: credential.NewPepper(rootkeys.Generate())}),
		APIs: apis.NewRegistry(apis.RegistryConfig{Store: db.APIs(), EnsureKeys: func(ctx context.Context, by audit.Actor, alg apis.Alg) error {
			return manager.Ensure(ctx, by, alg)
		}}),
		Keys: manager, Revocations: memory, Tokens: s.issuer, Trail: db.Trail(), Refusals: s.refusals,
		Log: slog.New(slog.NewTextHandler(s.log, nil)),
	}
	change(&s.config)
	s.handler = web.Handler(web.HandlerConfig{Log: s.config.Log, Panic: admin.Panicked}, admin.New(s.config))
	s.client = serveUnix(t, s.handler)
	return s
}

// serveUnix serves h on a socket in a directory of its own; the paths of t.TempDir may be too long for one.
func serveUnix(t *testing.T, h http.Handler) *adminapi.Client {
	t.Helper()
	dir, err := os.MkdirTemp("", "signet") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewUnstartedServer(h)
	_ = ts.Listener.Close()
	ts.Listener = listener
	ts.Start()
	t.Cleanup(ts.Close)
	return adminapi.NewUnix(filepath.Join(dir, "s"))
}

// withAPI registers an API with two scopes.
func (s *server) withAPI(t *testing.T) *server {
	t.Helper()
	_, err := s.client.CreateAPI(t.Context(), adminapi.NewAPI{
		Identifier: ordersA, Name: "Orders", Scopes: []adminapi.NewScope{{Name: "read", Routes: []string{"GET /v1/*"}}, {Name: "write"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// withClient registers a client that may read and write.
func (s *server) withClient(t *testing.T, name string) *adminapi.CreatedClient {
	t.Helper()
	c, err := s.client.CreateClient(t.Context(), adminapi.NewClient{
		Name: name, Grants: []adminapi.Grant{{API: ordersA, Scopes: []string{"read", "write"}, DefaultScopes: []string{"read"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// token issues an access token as the token endpoint would.
func (s *server) token(t *testing.T, clientID string, generation int64) (string, tokens.Claims) {
	t.Helper()
	return s.tokenAt(t, clientID, generation, time.Now())
}

// tokenAt is token at another time.
func (s *server) tokenAt(t *testing.T, clientID string, generation int64, now time.Time) (string, tokens.Claims) {
	t.Helper()
	text, c, err := s.issuer.Issue(now, tokens.Claims{
		Subject: clientID, ClientID: clientID, Audience: ordersA, Scope: "read", ExpiresAt: now.Add(5 * time.Minute), Generation: generation,
	}, apis.ES256, apis.TypAccessToken)
	if err != nil {
		t.Fatal(err)
	}
	return text, c
}

// send makes one request and returns the answer with its body.
func (s *server) send(t *testing.T, method, path, body string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	res := w.Result()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(text)
}
