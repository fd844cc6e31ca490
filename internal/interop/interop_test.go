package interop_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
)

func TestMain(m *testing.M) {
	code := m.Run()
	servertest.CleanUp()
	os.Exit(code)
}

// machine is one client of one API.
type machine struct {
	ID       string `json:"id"`
	Secret   string `json:"secret"`
	Audience string `json:"audience"`
	Scope    string `json:"scope"`
	Alg      string `json:"alg"`
}

// register makes an API with this algorithm, and a client of it.
func register(t *testing.T, s *servertest.Server, alg, method string) machine {
	t.Helper()
	m := machine{Audience: "https://" + strings.ToLower(alg) + "." + strings.ReplaceAll(method, "_", "-") + ".test", Scope: "orders:read", Alg: alg}
	signet := func(args ...string) []byte {
		out, errOut, err := servertest.Run(t, nil, append(args, "--data-dir", s.DataDir, "--output", "json")...)
		if err != nil {
			t.Fatalf("signet %v: %v\n%s", args, err, errOut)
		}
		return []byte(out)
	}
	signet("api", "create", "--identifier", m.Audience, "--name", alg+" "+method, "--alg", alg)
	signet("scope", "create", "--api", m.Audience, m.Scope)
	var created struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	out := signet("client", "create", "--name", alg+" "+method, "--auth-method", method, "--grant", m.Audience+"="+m.Scope)
	if err := json.Unmarshal(out, &created); err != nil {
		t.Fatal(err)
	}
	m.ID, m.Secret = created.ID, created.Secret
	return m
}

func TestInteropGo(t *testing.T) {
	t.Parallel()
	s := servertest.Dev(t)
	for _, alg := range []string{"ES256", "RS256", "EdDSA"} {
		for method, style := range map[string]oauth2.AuthStyle{
			"client_secret_basic": oauth2.AuthStyleInHeader, "client_secret_post": oauth2.AuthStyleInParams,
		} {
			t.Run(alg+" "+method, func(t *testing.T) {
				t.Parallel()
				m := register(t, s, alg, method)
				for _, style := range []oauth2.AuthStyle{style, oauth2.AuthStyleAutoDetect} {
					token := fetch(t, s, m, style)
					verifyGoOIDC(t, s, m, token)
					verifyJWX(t, s, m, token)
				}
			})
		}
	}
}

func fetch(t *testing.T, s *servertest.Server, m machine, style oauth2.AuthStyle) *oauth2.Token {
	t.Helper()
	cfg := clientcredentials.Config{
		ClientID: m.ID, ClientSecret: m.Secret, TokenURL: s.TokenEndpoint, Scopes: []string{m.Scope}, AuthStyle: style,
	}
	token, err := cfg.Token(t.Context())
	if err != nil {
		t.Fatalf("x/oauth2: %v", err)
	}
	if token.Type() != "Bearer" || token.RefreshToken != "" || time.Until(token.Expiry) > 5*time.Minute || time.Until(token.Expiry) < 4*time.Minute {
		t.Errorf("x/oauth2 got type %s, refresh token %t, expiry %s", token.Type(), token.RefreshToken != "", token.Expiry)
	}
	return token
}

func verifyGoOIDC(t *testing.T, s *servertest.Server, m machine, token *oauth2.Token) {
	t.Helper()
	provider, err := oidc.NewProvider(t.Context(), s.Issuer)
	if err != nil {
		t.Fatalf("go-oidc discovery: %v", err)
	}
	verified, err := provider.VerifierContext(t.Context(), &oidc.Config{ClientID: m.Audience}).Verify(t.Context(), token.AccessToken)
	if err != nil {
		t.Fatalf("go-oidc: %v", err)
	}
	if verified.Subject != m.ID || !slices.Equal(verified.Audience, []string{m.Audience}) {
		t.Errorf("go-oidc: subject %s, audience %v", verified.Subject, verified.Audience)
	}
	if _, err := provider.VerifierContext(t.Context(), &oidc.Config{ClientID: "https://other.test"}).Verify(t.Context(), token.AccessToken); err == nil {
		t.Error("go-oidc takes the token for another audience")
	}
}

func verifyJWX(t *testing.T, s *servertest.Server, m machine, token *oauth2.Token) {
	t.Helper()
	set, err := jwk.Fetch(t.Context(), s.JWKSURI)
	if err != nil {
		t.Fatalf("jwx fetch: %v", err)
	}
	parsed, err := jwt.ParseString(token.AccessToken, jwt.WithKeySet(set), jwt.WithIssuer(s.Issuer), jwt.WithAudience(m.Audience), jwt.WithValidate(true))
	if err != nil {
		t.Fatalf("jwx: %v", err)
	}
	var scope string
	if err := parsed.Get("scope", &scope); err != nil || scope != m.Scope {
		t.Errorf("jwx: scope %q (%v)", scope, err)
	}
}

func TestInteropCurl(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		daemon.Lack(t, "curl is not installed")
	}
	s := servertest.Dev(t)
	out, err := exec.CommandContext(t.Context(), "sh", "-c", s.Curl).Output()
	if err != nil {
		t.Fatalf("%s: %v", s.Curl, err)
	}
	var answer struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
	}
	if err := json.Unmarshal(out, &answer); err != nil || answer.TokenType != "Bearer" {
		t.Fatalf("the curl line printed %s (%v)", out, err)
	}
	if strings.Count(answer.AccessToken, ".") != 2 {
		t.Error("the access token is no JWT")
	}
	if got, _, err := servertest.Run(t, nil, "verify", answer.AccessToken, "--data-dir", s.DataDir); err != nil {
		t.Errorf("signet verify: %v\n%s", err, got)
	}
}

func TestInteropJavaScript(t *testing.T) {
	t.Parallel()
	modules(t)
	s := servertest.Dev(t)
	input, err := json.Marshal(map[string]any{"issuer": s.Issuer, "clients": []machine{
		register(t, s, "ES256", "client_secret_basic"), register(t, s, "RS256", "client_secret_basic"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "interop.mjs", string(input))
	cmd.Dir = "node"
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v", err)
	}
	if checks := strings.Count("\n"+string(out), "\nok "); checks != 10 {
		t.Errorf("%d checks passed, want 10:\n%s", checks, out)
	}
}

// modules installs the npm packages of the lock file, once per checkout.
func modules(t *testing.T) {
	t.Helper()
	version, err := exec.CommandContext(t.Context(), "node", "--version").Output()
	if err != nil {
		daemon.Lack(t, "Node is not installed")
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(string(version)), "v"), ".")
	if n, err := strconv.Atoi(major); err != nil || n < 20 {
		daemon.Lack(t, "Node is older than 20: "+string(version))
	}
	if _, err := os.Stat(filepath.Join("node", "node_modules", ".package-lock.json")); err == nil {
		return
	}
	cmd := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = "node"
	if out, err := cmd.CombinedOutput(); err != nil {
		daemon.Lack(t, "npm ci failed: "+err.Error()+"\n"+string(out))
	}
}
