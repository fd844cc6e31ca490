package oauth_test

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/credential"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/keys/keystest"
	"github.com/seed-1972b8eb/signet/internal/oauth"
	"github.com/seed-1972b8eb/signet/internal/rootkeys"
	"github.com/seed-1972b8eb/signet/internal/tokens"
)

const (
	issuer    = "https://as.test"
	ordersAPI = "https://api.test/orders"
	svcAPI    = "urn:svc:a"

	basicID      = "client_BasicBasicBasicBasic"
	otherID      = "client_OtherOtherOtherOther"
	keyID        = "client_KeyKeyKeyKeyKeyKey00"
	unknownID    = "client_NobodyNobodyNobody00"
	introspectID = "client_ResourceServer000000"
)

// bundle is a Server with real tokens, keys and credentials; what it looks up and writes is in memory.
type bundle struct {
	*oauth.Server
	registry   *registry
	pepper     *credential.Pepper
	tokens     *tokens.Issuer
	ring       *keys.Ring
	store      *keystest.Store
	sealer     *keys.Sealer
	manager    *keys.Manager
	revoked    *revoked
	assertions *assertions
	usage      *counter
	throttle   *throttle
	log        *strings.Builder
	secrets    map[string]string // by client ID: the text of a live secret
}

func setup(tb testing.TB) *bundle {
	tb.Helper()
	return setupWith(tb, oauth.OutboundConfig{})
}

func setupWith(tb testing.TB, outbound oauth.OutboundConfig) *bundle {
	tb.Helper()
	store, sealer, plan := &keystest.Store{}, keys.NewSealer(issuer, rootkeys.Generate()), keys.DefaultPlan()
	ring := keys.NewRing(store, sealer, plan)
	manager := keys.NewManager(keys.ManagerConfig{Store: store, Sealer: sealer, Plan: plan})
	if err := manager.Ensure(tb.Context(), audit.System(), apis.ES256); err != nil {
		tb.Fatal(err)
	}
	if err := ring.Reload(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	b := &bundle{
		registry:   &registry{clients: map[string]*clients.Client{}, apis: map[string]*apis.API{}},
		pepper:     credential.NewPepper(rootkeys.Generate()),
		tokens:     tokens.NewIssuer(issuer, ring),
		ring:       ring,
		store:      store,
		sealer:     sealer,
		manager:    manager,
		revoked:    &revoked{},
		assertions: &assertions{used: map[string]time.Time{}},
		usage:      &counter{},
		throttle:   &throttle{},
		log:        &strings.Builder{},
		secrets:    map[string]string{},
	}
	b.addAPI(&apis.API{Identifier: ordersAPI, Scopes: []apis.Scope{{Name: "orders:read"}, {Name: "orders:write"}}})
	b.addAPI(&apis.API{Identifier: svcAPI, Scopes: []apis.Scope{{Name: "jobs:run"}, {Name: "orders:read"}}})
	orders := clients.Grant{API: ordersAPI, Scopes: []string{"orders:read", "orders:write"}}
	b.add(&clients.Client{ID: basicID, Grants: []clients.Grant{orders}})
	b.add(&clients.Client{ID: otherID, Grants: []clients.Grant{orders}})
	b.add(&clients.Client{ID: introspectID, Introspects: []string{ordersAPI}})
	var err error
	b.Server, err = oauth.New(oauth.Config{
		Issuer: issuer, Registry: b.registry, Tokens: b.tokens, Algorithms: ring.Algorithms, Pepper: b.pepper, Revocations: b.revoked,
		Assertions: b.assertions, Usage: b.usage, Throttle: b.throttle, Outbound: outbound,
		Log: slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// add registers a client, and a secret unless it authenticates by key.
func (b *bundle) add(c *clients.Client) *clients.Client {
	if c.AuthMethod == "" {
		c.AuthMethod = clients.SecretBasic
	}
	if c.Generation == 0 {
		c.Generation = 1
	}
	if c.AuthMethod != clients.PrivateKeyJWT {
		b.secrets[c.ID] = b.addSecret(c, time.Time{})
	}
	b.registry.set(c)
	return c
}

// addSecret makes a secret of c and returns its text. The record of c must not be in use yet.
func (b *bundle) addSecret(c *clients.Client, expires time.Time) string {
	s := credential.New(credential.ClientSecret)
	c.Secrets = append(c.Secrets, clients.Secret{ID: s.ID(), Hint: s.Hint(), Digest: b.pepper.Digest(c.ID, s), ExpiresAt: expires})
	return s.Reveal()
}

func (b *bundle) addAPI(a *apis.API) {
	if a.Alg == "" {
		a.Alg, a.Typ = apis.ES256, apis.TypAccessToken
	}
	if a.TokenTTL == 0 {
		a.TokenTTL = apis.DefaultTokenTTL
	}
	b.registry.mu.Lock()
	defer b.registry.mu.Unlock()
	b.registry.apis[a.Identifier] = a
}

// answer is what came back over the wire.
type answer struct {
	status int
	header http.Header
	body   string
	json   map[string]any
	err    *oauth.Error
}

func (a answer) code() string  { s, _ := a.json["error"].(string); return s }
func (a answer) token() string { s, _ := a.json["access_token"].(string); return s }

// request is one wire request; the zero method is POST, and the zero content type that of a form.
type request struct {
	path    string
	method  string
	query   string
	basic   [2]string // ID and secret; none when empty
	headers http.Header
	form    url.Values
	body    string // instead of form
	from    string // client address; 192.0.2.1 when empty, none at all when "nowhere"
}

const (
	tokenPath      = "/oauth2/token"
	revokePath     = "/oauth2/revoke"
	introspectPath = "/oauth2/introspect"
)

func ccForm(more ...string) url.Values {
	form := url.Values{"grant_type": {"client_credentials"}}
	for i := 0; i+1 < len(more); i += 2 {
		form.Add(more[i], more[i+1])
	}
	return form
}

func (b *bundle) send(tb testing.TB, r request) answer {
	tb.Helper()
	if r.method == "" {
		r.method = http.MethodPost
	}
	if r.path == "" {
		r.path = tokenPath
	}
	if r.from == "" {
		r.from = "192.0.2.1"
	}
	body := r.body
	if body == "" {
		body = r.form.Encode()
	}
	wire := httptest.NewRequestWithContext(tb.Context(), r.method, r.path+r.query, strings.NewReader(body))
	wire.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if r.basic[0] != "" {
		wire.SetBasicAuth(r.basic[0], r.basic[1])
	}
	maps.Copy(wire.Header, r.headers)
	recorder := httptest.NewRecorder()
	var out answer
	var from netip.Addr
	if r.from != "nowhere" {
		from = netip.MustParseAddr(r.from)
	}
	out.err = b.serve(recorder, &oauth.Request{HTTP: wire, ClientIP: from, RequestID: "req-1"})
	response := recorder.Result()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		tb.Fatal(err)
	}
	out.status, out.header, out.body = response.StatusCode, response.Header, string(text)
	if len(text) > 0 {
		if err := json.Unmarshal(text, &out.json); err != nil {
			tb.Fatalf("body is not JSON: %v", err)
		}
	}
	b.checkAnswer(tb, r, out)
	return out
}

// serve puts an answer on the wire the way package endpoints does.
func (b *bundle) serve(w http.ResponseWriter, req *oauth.Request) *oauth.Error {
	ctx := req.HTTP.Context()
	var result any
	var err error
	switch req.HTTP.URL.Path {
	case tokenPath:
		result, err = b.Token(ctx, req)
	case introspectPath:
		result, err = b.Introspect(ctx, req)
	case revokePath:
		err = b.Revoke(ctx, req)
	}
	if err == nil {
		if result != nil {
			_ = json.NewEncoder(w).Encode(result)
		}
		return nil
	}
	var e *oauth.Error
	if !errors.As(err, &e) {
		panic("not an *oauth.Error: " + err.Error())
	}
	if e.Challenge != "" {
		w.Header().Set("WWW-Authenticate", e.Challenge)
	}
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(e.RetryAfter.Seconds())))
	}
	w.WriteHeader(e.Status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": e.Code, "error_description": e.Description})
	return e
}

// checkAnswer holds what is true of every answer, whatever the test is about.
func (b *bundle) checkAnswer(tb testing.TB, r request, a answer) {
	tb.Helper()
	if a.status >= 500 && a.status != http.StatusServiceUnavailable {
		tb.Errorf("status %d: %v", a.status, a.err)
	}
	if a.status == http.StatusUnauthorized && !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Basic realm=") { // GEN-06
		tb.Errorf("401 without a challenge")
	}
	if a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "" { // GEN-13
		tb.Errorf("503 without Retry-After")
	}
	if a.err == nil {
		return
	}
	if a.err.Reason == "" {
		tb.Errorf("refusal without a reason: %v", a.err)
	}
	for _, c := range []byte(a.err.Code + a.err.Description + a.err.ClientID) { // GEN-07
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			tb.Errorf("character %q outside RFC 6749 section 5.2 in %q", c, a.err.Description)
		}
	}
	said := a.err.Error() + a.body + a.err.ClientID + a.header.Get("WWW-Authenticate") + b.log.String()
	for _, secret := range append([]string{r.basic[1], r.form.Get("client_secret"), r.form.Get("client_assertion"), r.form.Get("token")},
		b.live()...) { // GEN-15
		if len(secret) > 8 && strings.Contains(said, secret) {
			tb.Errorf("an error or log holds a credential")
		}
	}
}

func (b *bundle) live() []string {
	var all []string
	for _, s := range b.secrets {
		all = append(all, s)
	}
	return all
}

// basic gives the right Basic credentials of a client.
func (b *bundle) basic(id string) [2]string { return [2]string{id, b.secrets[id]} }

// issue gets a token for a client over the wire.
func (b *bundle) issue(tb testing.TB, id string) string {
	tb.Helper()
	a := b.send(tb, request{basic: b.basic(id), form: ccForm()})
	if a.status != http.StatusOK {
		tb.Fatalf("no token: %d %s", a.status, a.body)
	}
	return a.token()
}

func wantError(tb testing.TB, a answer, status int, code string, reason oauth.Reason) {
	tb.Helper()
	if a.err == nil {
		tb.Fatalf("status %d, want %d %s (%s)", a.status, status, code, reason)
	}
	if a.status != status || a.code() != code || a.err.Reason != reason {
		tb.Errorf("got %d %s (%s): %s; want %d %s (%s)", a.status, a.code(), a.err.Reason, a.err.Description, status, code, reason)
	}
	if a.token() != "" {
		tb.Error("a refusal holds a token")
	}
}
