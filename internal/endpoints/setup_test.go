package endpoints_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/credential"
	"github.com/seed-1972b8eb/signet/internal/endpoints"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/keys/keystest"
	"github.com/seed-1972b8eb/signet/internal/limits"
	"github.com/seed-1972b8eb/signet/internal/oauth"
	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/rootkeys"
	"github.com/seed-1972b8eb/signet/internal/telemetry"
	"github.com/seed-1972b8eb/signet/internal/tokens"
	"github.com/seed-1972b8eb/signet/internal/usage"
)

const (
	issuer   = "https://as.test"
	apiID    = "https://api.test"
	clientID = "client_0123456789abcdefghij"
)

// surface is the public surface with one API and one client behind it, on what a database would hold.
type surface struct {
	handler  http.Handler
	secret   string // of the client
	store    *memory
	refusals *audit.Refusals
	metrics  *telemetry.Metrics
	log      *syncBuffer
	manager  *keys.Manager
	ring     *keys.Ring
}

func setup(t testing.TB, change func(*endpoints.Config)) *surface {
	t.Helper()
	return setupRated(t, nil, change)
}

// setupRated is setup with a limit on tokens.
func setupRated(t testing.TB, rate *limits.Rate, change func(*endpoints.Config)) *surface {
	t.Helper()
	keyStore := &keystest.Store{}
	sealer := keys.NewSealer(issuer, rootkeys.Generate())
	s := &surface{
		refusals: audit.NewRefusals(100), metrics: telemetry.NewMetrics("test"), log: &syncBuffer{},
		manager: keys.NewManager(keys.ManagerConfig{Store: keyStore, Sealer: sealer, Plan: keys.DefaultPlan()}),
		ring:    keys.NewRing(keyStore, sealer, keys.DefaultPlan()),
	}
	s.ensure(t, apis.ES256)
	pepper := credential.NewPepper(rootkeys.Generate())
	secret := credential.New(credential.ClientSecret)
	s.secret = secret.Reveal()
	s.store = &memory{
		api: &apis.API{Identifier: apiID, Alg: apis.ES256, Typ: apis.TypAccessToken, TokenTTL: time.Minute, Scopes: []apis.Scope{{Name: "read"}}},
		client: &clients.Client{
			ID: clientID, Name: "test", AuthMethod: clients.SecretBasic, Generation: 1,
			Secrets: []clients.Secret{{ID: secret.ID(), Digest: pepper.Digest(clientID, secret)}},
			Grants:  []clients.Grant{{API: apiID, Scopes: []string{"read"}}},
		},
	}
	log := telemetry.NewLogger(telemetry.FormatJSON, slog.LevelDebug, s.log)
	server, err := oauth.New(oauth.Config{
		Issuer: issuer, Registry: s.store, Tokens: tokens.NewIssuer(issuer, s.ring), Algorithms: s.ring.Algorithms, Pepper: pepper,
		Revocations: s.store, Assertions: s.store, Usage: s.store, Throttle: limits.NewFailures(limits.Config{PerSecond: 0.001}),
		Rate: rate, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	config := endpoints.Config{
		Issuer: issuer, OAuth: server, Ring: s.ring, Refusals: s.refusals, Metrics: s.metrics, Log: log,
	}
	if change != nil {
		change(&config)
	}
	s.handler = endpoints.New(config)
	return s
}

// ensure makes keys for an algorithm and publishes them.
func (s *surface) ensure(t testing.TB, alg apis.Alg) {
	t.Helper()
	if err := s.manager.Ensure(t.Context(), audit.System(), alg); err != nil {
		t.Fatal(err)
	}
	if err := s.ring.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (s *surface) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

// post makes a request with the client's own credentials.
func (s *surface) post(path string, form url.Values) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(clientID, s.secret)
	return r
}

func grant() url.Values { return url.Values{"grant_type": {"client_credentials"}} }

// token gets an access token.
func (s *surface) token(t testing.TB) string {
	t.Helper()
	w := s.do(s.post(endpoints.PathToken, grant()))
	var got struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.AccessToken == "" {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return got.AccessToken
}

// memory is what a database would hold, and can be in trouble like one.
type memory struct {
	down     atomic.Bool
	panicing atomic.Bool
	client   *clients.Client
	api      *apis.API
	mu       sync.Mutex
	revoked  map[string]bool
}

var errDown = errors.New("dial tcp db.internal:5432: connection refused, user signet password=hunter2hunter2")

func (m *memory) Confirm(context.Context) error { return m.trouble() }

func (m *memory) trouble() error {
	if m.panicing.Load() {
		panic("internals")
	}
	if m.down.Load() {
		return errDown
	}
	return nil
}

func (m *memory) Client(_ context.Context, id string) (*clients.Client, error) {
	if err := m.trouble(); err != nil {
		return nil, err
	}
	if id != m.client.ID {
		return nil, clients.ErrNotFound
	}
	return m.client, nil
}

func (m *memory) Reread(ctx context.Context, id string) (*clients.Client, error) {
	return m.Client(ctx, id)
}

func (m *memory) API(context.Context, string) (*apis.API, error) { return m.api, m.trouble() }

func (m *memory) Use(context.Context, string, string, time.Time) error { return m.trouble() }

func (m *memory) Count(usage.Use) {}

func (m *memory) Revoke(_ context.Context, r revocations.Revocation, _ audit.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.revoked == nil {
		m.revoked = map[string]bool{}
	}
	m.revoked[r.JTI] = true
	return m.trouble()
}

func (m *memory) Check(_ context.Context, t revocations.Token) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.revoked[t.JTI], m.trouble()
}

func (*memory) Revocations(context.Context, int) ([]revocations.Revocation, error) { return nil, nil }

func (*memory) CutOffs(context.Context) ([]revocations.CutOff, error) { return nil, nil }
func (*memory) Sweep(context.Context, int) (int, error)               { return 0, nil }

// syncBuffer is a log that a test may read.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// line finds the log line with this message and request ID.
func (b *syncBuffer) line(t *testing.T, msg, id string) map[string]any {
	t.Helper()
	for line := range strings.Lines(b.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if entry["msg"] == msg && entry["request_id"] == id {
			return entry
		}
	}
	t.Fatalf("no line %q of request %s in:\n%s", msg, id, b.String())
	return nil
}
