package failures

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-1972b8eb/signet/internal/servertest"
)

// The endpoints.
const (
	pathToken      = "/oauth2/token"
	pathRevoke     = "/oauth2/revoke"
	pathIntrospect = "/oauth2/introspect"
	pathJWKS       = "/.well-known/jwks.json"
	pathMetadata   = "/.well-known/oauth-authorization-server"
	pathAlias      = "/.well-known/openid-configuration"
	pathLive       = "/livez"
	pathReady      = "/readyz"
)

// answer is what came back, or that nothing did.
type answer struct {
	status int
	header http.Header
	body   string
	took   time.Duration
	ends   bool // the connection ends with it
	err    error
}

// exchange sends one request. It may be called from any goroutine.
func (s *server) exchange(request *http.Request, err error) answer {
	if err != nil {
		return answer{err: err}
	}
	began := time.Now()
	response, err := s.http.Do(request)
	if err != nil {
		return answer{err: err, took: time.Since(began)}
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return answer{
		status: response.StatusCode, header: response.Header, body: string(body), took: time.Since(began), ends: response.Close, err: err,
	}
}

// post sends a form with the client's secret, if it has one.
func (s *server) post(path string, c client, form url.Values) answer {
	request, err := http.NewRequest(http.MethodPost, s.base+path, strings.NewReader(form.Encode()))
	if err == nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if c.secret != "" {
			request.SetBasicAuth(c.id, c.secret)
		}
	}
	return s.exchange(request, err)
}

func (s *server) get(path string) answer {
	request, err := http.NewRequest(http.MethodGet, s.base+path, http.NoBody)
	return s.exchange(request, err)
}

func (s *server) request(c client, pairs ...string) answer {
	return s.post(pathToken, c, servertest.Form(append([]string{"grant_type", "client_credentials"}, pairs...)...))
}

func (s *server) introspect(by client, token string) answer {
	return s.post(pathIntrospect, by, servertest.Form("token", token))
}

// decided is introspect, asked again while the answer is 503: on a busy machine a server may not be able to know in time. What it
// answers first that is anything else counts.
func (s *server) decided(t *testing.T, within time.Duration, by client, token string) answer {
	t.Helper()
	var a answer
	eventually(t, within, "say whether a token counts", func() bool {
		a = s.introspect(by, token)
		return a.status != http.StatusServiceUnavailable
	})
	return a
}

func (s *server) revoke(by client, token string) answer {
	return s.post(pathRevoke, by, servertest.Form("token", token))
}

// token gets a token that must come.
func (s *server) token(t *testing.T, c client) string {
	t.Helper()
	a := s.request(c)
	a.want(t)
	return a.token()
}

func (a answer) token() string { return member[string](a.body, "access_token") }

func (a answer) ok() bool { return a.err == nil && a.status == http.StatusOK }

func (a answer) active() bool { return a.ok() && member[bool](a.body, "active") }

func (a answer) inactive() bool { return a.ok() && a.body == `{"active":false}` }

// want wants that the request was granted.
func (a answer) want(t *testing.T) {
	t.Helper()
	if !a.ok() {
		t.Fatalf("%d %s (%v), want 200", a.status, a.body, a.err)
	}
}

// undecided wants what the server says when it cannot know (DESIGN.md §8), and nothing that looks like a decision.
func (a answer) undecided(t *testing.T, what string, within time.Duration) {
	t.Helper()
	if a.err != nil || a.status != http.StatusServiceUnavailable || member[string](a.body, "error") != "temporarily_unavailable" {
		t.Errorf("%s: %d %s (%v), want 503 temporarily_unavailable", what, a.status, a.body, a.err)
	}
	if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || seconds < 1 {
		t.Errorf("%s: Retry-After %q", what, a.header.Get("Retry-After"))
	}
	if strings.Contains(a.body, "active") || a.header.Get("WWW-Authenticate") != "" || a.token() != "" {
		t.Errorf("%s: the answer decides something: %s", what, a.body)
	}
	if a.took > within {
		t.Errorf("%s: answered after %v, want %v", what, a.took, within)
	}
}

// jwks reads the published keys.
func (s *server) jwks(t *testing.T) *jose.JSONWebKeySet {
	t.Helper()
	a := s.get(pathJWKS)
	a.want(t)
	set, err := decodeJWKS(a.body)
	if err != nil {
		t.Fatalf("read JWKS: %v", err)
	}
	return set
}

func decodeJWKS(text string) (*jose.JSONWebKeySet, error) {
	set := &jose.JSONWebKeySet{}
	return set, json.Unmarshal([]byte(text), set)
}

// verify checks a token offline against published keys, as a resource server does.
func (s *server) verify(t *testing.T, set *jose.JSONWebKeySet, token string) {
	t.Helper()
	_, err := jwt.ParseWithClaims(token, jwt.MapClaims{}, func(token *jwt.Token) (any, error) {
		kid, _ := token.Header["kid"].(string)
		for _, key := range set.Key(kid) {
			return key.Key, nil
		}
		return nil, errors.New("signed with key " + kid + ", which is not published")
	}, jwt.WithIssuer(s.Issuer), jwt.WithAudience(orders), jwt.WithExpirationRequired(), jwt.WithValidMethods([]string{"ES256"}))
	if err != nil {
		t.Errorf("verify a token: %v", err)
	}
}

// exitCode is that of a command of servertest.Run; -1 when it did not end by itself.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return -1
}

// kid is the key that a token says it is signed with.
func kid(token string) string {
	parsed, _, err := jwt.NewParser().ParseUnverified(token, jwt.MapClaims{})
	if err != nil {
		return ""
	}
	text, _ := parsed.Header["kid"].(string)
	return text
}

// jti is the ID of a token.
func jti(token string) string {
	claims := jwt.MapClaims{}
	_, _, _ = jwt.NewParser().ParseUnverified(token, claims) // what is no token has none
	text, _ := claims["jti"].(string)
	return text
}

// accepts says whether something listens at an address.
func accepts(address string) bool {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}
