package conformance_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/servertest"
)

// The endpoints, below the issuer.
const (
	pathToken      = "/oauth2/token"
	pathRevoke     = "/oauth2/revoke"
	pathIntrospect = "/oauth2/introspect"
	pathJWKS       = "/.well-known/jwks.json"
	pathMetadata   = "/.well-known/oauth-authorization-server"
)

var oauthPaths = []string{pathToken, pathRevoke, pathIntrospect}

// option changes a request before it is sent.
type option func(*http.Request)

func header(name, value string) option {
	return func(r *http.Request) { r.Header[name] = append(r.Header[name], value) }
}

func basicText(text string) option { return header("Authorization", "Basic "+text) }

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
	json   map[string]any // nil when the body is no JSON object
}

// grant is a client_credentials request with more parameters.
func grant(pairs ...string) url.Values {
	return servertest.Form(append([]string{"grant_type", "client_credentials"}, pairs...)...)
}

// post sends a form to a path below the issuer.
func (s *server) post(t *testing.T, path string, form url.Values, options ...option) *answer {
	t.Helper()
	for name, values := range form {
		if slices.Contains([]string{"client_secret", "client_assertion", "token"}, name) {
			s.suite.seen.add(values...)
		}
	}
	return s.raw(t, path, form.Encode(), options...)
}

// raw sends a body as it is, declared as a form.
func (s *server) raw(t *testing.T, path, body string, options ...option) *answer {
	t.Helper()
	typed := header("Content-Type", "application/x-www-form-urlencoded")
	return s.send(t, http.MethodPost, path, strings.NewReader(body), append([]option{typed}, options...)...)
}

func (s *server) get(t *testing.T, path string, options ...option) *answer {
	t.Helper()
	return s.send(t, http.MethodGet, path, http.NoBody, options...)
}

// send is the one way to the server. What must hold of every answer is checked here.
func (s *server) send(t *testing.T, method, path string, body io.Reader, options ...option) *answer {
	t.Helper()
	target := path
	if strings.HasPrefix(path, "/") {
		target = s.base + path
	}
	request, err := http.NewRequestWithContext(t.Context(), method, target, body)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range options {
		o(request)
	}
	if id, secret, ok := request.BasicAuth(); ok && id != "" {
		s.suite.seen.add(secret)
	}
	response, err := s.http.Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	a := &answer{status: response.StatusCode, header: response.Header, body: string(text)}
	if json.Unmarshal(text, &a.json) == nil {
		if token, ok := a.json["access_token"].(string); ok {
			s.suite.seen.add(token)
		}
	}
	a.always(t)
	if slices.ContainsFunc(oauthPaths, func(p string) bool { return strings.HasSuffix(request.URL.Path, p) }) {
		a.private(t, method)
	}
	return a
}

// errorText is what RFC 6749 §5.2 lets error and error_description hold.
var errorText = regexp.MustCompile(`^[\x20-\x21\x23-\x5B\x5D-\x7E]*$`)

// always holds of every answer to every request.
func (a *answer) always(t *testing.T) {
	t.Helper()
	if a.status == http.StatusUnauthorized && a.header.Get("WWW-Authenticate") == "" {
		t.Errorf("401 without a challenge: %s", a.body)
	}
	if a.status >= 300 && a.status < 400 && a.status != http.StatusNotModified {
		t.Errorf("redirects: %d to %q", a.status, a.header.Get("Location"))
	}
	if a.header.Get("X-Request-Id") == "" {
		t.Error("no X-Request-Id")
	}
	for name := range a.header {
		if strings.HasPrefix(name, "Access-Control-") || name == "Set-Cookie" {
			t.Errorf("header %s: %s", name, a.header.Get(name))
		}
	}
	if code, ok := a.json["error"]; ok {
		for _, text := range []any{code, a.json["error_description"]} {
			if text, ok := text.(string); !ok || !errorText.MatchString(text) {
				t.Errorf("error text %q has characters that RFC 6749 §5.2 does not allow", text)
			}
		}
	}
}

// private holds of every answer of the OAuth endpoints (RFC 6749 §5.1, §5.2).
func (a *answer) private(t *testing.T, method string) {
	t.Helper()
	if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Pragma") != "no-cache" {
		t.Errorf("Cache-Control %q, Pragma %q; want no-store and no-cache", a.header["Cache-Control"], a.header["Pragma"])
	}
	if a.status == http.StatusOK || method == http.MethodHead {
		return
	}
	if a.header.Get("Content-Type") != "application/json" || a.json["error"] == nil {
		t.Errorf("an error of type %q: %q", a.header.Get("Content-Type"), a.body)
	}
}

// refused wants an error of RFC 6749 §5.2, with nothing in it but that.
func (a *answer) refused(t *testing.T, status int, code string) {
	t.Helper()
	if a.status != status || a.json["error"] != code {
		t.Errorf("%d %s, want %d %s", a.status, a.body, status, code)
	}
	members := slices.Sorted(maps.Keys(a.json))
	if !slices.Equal(members, []string{"error", "error_description"}) {
		t.Errorf("members %v, want error and error_description", members)
	}
	if challenge := a.header.Get("WWW-Authenticate"); (status == http.StatusUnauthorized) != strings.HasPrefix(challenge, `Basic realm="`) {
		t.Errorf("status %d with WWW-Authenticate %q", status, challenge)
	}
	retry := a.header.Get("Retry-After")
	if seconds, err := strconv.Atoi(retry); status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		if err != nil || seconds < 1 {
			t.Errorf("status %d with Retry-After %q", status, retry)
		}
	} else if retry != "" {
		t.Errorf("status %d with Retry-After %q", status, retry)
	}
}

// unauthorized is the answer to wrong credentials.
func (a *answer) unauthorized(t *testing.T) {
	t.Helper()
	a.refused(t, http.StatusUnauthorized, "invalid_client")
}

// inactive wants exactly what RFC 7662 §2.2 says of a token that does not count.
func (a *answer) inactive(t *testing.T) {
	t.Helper()
	if a.status != http.StatusOK || a.body != `{"active":false}` || a.header.Get("Content-Type") != "application/json" {
		t.Errorf(`%d %s %s, want 200 {"active":false}`, a.status, a.header.Get("Content-Type"), a.body)
	}
}

func (a *answer) active(t *testing.T) {
	t.Helper()
	if a.status != http.StatusOK || a.json["active"] != true || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %s %s, want an active token", a.status, a.header.Get("Content-Type"), a.body)
	}
}

// requestToken asks for a token with the given proof of the client: an option, or parameters of the body.
func (s *server) requestToken(t *testing.T, proof option, pairs ...string) *answer {
	t.Helper()
	return s.post(t, pathToken, grant(pairs...), given(proof)...)
}

func (s *server) introspect(t *testing.T, by client, token string, pairs ...string) *answer {
	t.Helper()
	return s.post(t, pathIntrospect, servertest.Form(append([]string{"token", token}, pairs...)...), by.basic())
}

func (s *server) revoke(t *testing.T, by client, token string, pairs ...string) *answer {
	t.Helper()
	return s.post(t, pathRevoke, servertest.Form(append([]string{"token", token}, pairs...)...), by.basic())
}

func given(o option) []option {
	if o == nil {
		return nil
	}
	return []option{o}
}
