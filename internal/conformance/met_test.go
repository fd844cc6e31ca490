package conformance_test

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/servertest"
)

// metRows are the rows of the metadata.
func metRows() []row {
	return []row{
		{"MET-01", func(t *testing.T, s *suite) {
			if a := s.dev().get(t, pathMetadata); a.status != http.StatusOK || a.header.Get("Content-Type") != "application/json" || a.json == nil {
				t.Errorf("%d %s %s", a.status, a.header.Get("Content-Type"), a.body)
			}
		}},
		{"MET-02", func(t *testing.T, s *suite) {
			p := s.proxy()
			inserted := p.get(t, "https://auth.test"+pathMetadata+"/t1")
			if inserted.status != http.StatusOK || inserted.json["issuer"] != proxiedIssuer {
				t.Fatalf("%d %s", inserted.status, inserted.body)
			}
			for _, path := range []string{"https://auth.test/.well-known/openid-configuration/t1", proxiedIssuer + "/.well-known/openid-configuration"} {
				if a := p.get(t, path); a.body != inserted.body {
					t.Errorf("%s: %d %s", path, a.status, a.body)
				}
			}
			for _, path := range []string{"https://auth.test" + pathMetadata + "/t2", "https://auth.test/t2" + pathMetadata, "https://auth.test" + pathMetadata + "/t1/"} {
				if a := p.get(t, path); a.status != http.StatusNotFound {
					t.Errorf("%s: %d", path, a.status)
				}
			}
		}},
		{"MET-03", func(t *testing.T, s *suite) {
			for _, server := range []*server{s.dev(), s.proxy(), s.tls()} {
				issuer, _ := server.metadata(t)["issuer"].(string)
				u, err := url.Parse(issuer)
				if err != nil || u.RawQuery != "" || u.Fragment != "" || issuer != server.Issuer || server != s.dev() && u.Scheme != "https" {
					t.Errorf("issuer %q, configured %q", issuer, server.Issuer)
				}
				if token := server.issue(t, server.client(t)); token.claims["iss"] != issuer {
					t.Errorf("iss %v, metadata %q", token.claims["iss"], issuer)
				}
			}
		}},
		{"MET-04", func(t *testing.T, s *suite) { // required though empty: §2 wins over §3.2, and client libraries insist on it
			m := s.dev().metadata(t)
			if types := list(t, m, "response_types_supported"); len(types) != 0 {
				t.Errorf("response types %v", types)
			}
			if m["issuer"] == nil || m["token_endpoint"] != s.dev().TokenEndpoint || m["authorization_endpoint"] != nil {
				t.Errorf("%v", m)
			}
		}},
		{"MET-05", func(t *testing.T, s *suite) {
			d := s.dev()
			if grants := list(t, d.metadata(t), "grant_types_supported"); !slices.Equal(grants, []string{"client_credentials"}) {
				t.Errorf("grants %v", grants)
			}
			c := d.client(t)
			d.granted(t, d.requestToken(t, c.basic()))
			for _, other := range []string{
				"authorization_code", "implicit", "password", "refresh_token", "urn:ietf:params:oauth:grant-type:token-exchange",
				"urn:ietf:params:oauth:grant-type:jwt-bearer", "urn:ietf:params:oauth:grant-type:device_code",
			} {
				d.post(t, pathToken, servertest.Form("grant_type", other), c.basic()).refused(t, 400, "unsupported_grant_type")
			}
		}},
		{"MET-06", func(t *testing.T, s *suite) { metAlgorithms(t, s, "token") }},
		{"MET-07", func(t *testing.T, s *suite) {
			metAlgorithms(t, s, "revocation")
			metAlgorithms(t, s, "introspection")
			for _, server := range []*server{s.proxy(), s.tls()} {
				m := server.metadata(t)
				c := server.client(t)
				token := server.issue(t, c).text
				for _, step := range []struct {
					endpoint string
					check    func(*answer, *testing.T)
				}{{"introspection", (*answer).active}, {"revocation", (*answer).revoked}, {"introspection", (*answer).inactive}} {
					target, _ := m[step.endpoint+"_endpoint"].(string)
					if !strings.HasPrefix(target, "https://") {
						t.Errorf("%s endpoint %q", step.endpoint, target)
					}
					step.check(server.post(t, target, servertest.Form("token", token), c.basic()), t)
				}
			}
		}},
		{"MET-08", func(t *testing.T, s *suite) {
			for _, server := range []*server{s.proxy(), s.tls()} {
				target, _ := server.metadata(t)["jwks_uri"].(string)
				a := server.get(t, target)
				if keys, ok := a.json["keys"].([]any); !strings.HasPrefix(target, "https://") || a.status != http.StatusOK || !ok || len(keys) == 0 {
					t.Errorf("jwks_uri %q: %d %s", target, a.status, a.body)
				}
			}
		}},
		{"MET-09", func(t *testing.T, s *suite) { // which scopes there are is nobody's business but their API's clients'
			d := s.dev()
			d.api(t, "https://secret-project.test", "ES256", "secret-project:launch")
			a := d.get(t, pathMetadata)
			if a.json["scopes_supported"] != nil || strings.Contains(a.body, "secret-project") || strings.Contains(a.body, "orders:read") {
				t.Errorf("scopes in the metadata: %s", a.body)
			}
		}},
		{"MET-10", func(t *testing.T, s *suite) { // status lists come with a later issue, and are not announced before
			d := s.dev()
			if d.metadata(t)["status_list_aggregation_endpoint"] != nil || d.get(t, "/oauth2/status-lists").status != http.StatusNotFound {
				t.Error("status lists are announced or served")
			}
		}},
		{"MET-11", func(t *testing.T, s *suite) {
			d := s.dev()
			alias, m := d.get(t, "/.well-known/openid-configuration"), d.get(t, pathMetadata)
			if alias.status != http.StatusOK || alias.body != m.body || alias.header.Get("ETag") != m.header.Get("ETag") {
				t.Errorf("%d %s\n%s", alias.status, alias.body, m.body)
			}
			for _, feature := range []string{
				"authorization_endpoint", "userinfo_endpoint", "end_session_endpoint", "registration_endpoint", "claims_supported",
				"scopes_supported", "device_authorization_endpoint", "check_session_iframe", "acr_values_supported", "code_challenge_methods_supported",
			} {
				if alias.json[feature] != nil {
					t.Errorf("claims %s", feature)
				}
			}
		}},
		{"MET-12", func(t *testing.T, s *suite) {
			d := s.dev()
			for _, path := range []string{pathMetadata, "/.well-known/openid-configuration"} {
				d.cacheable(t, path, 0, 3600)
			}
		}},
	}
}

// metAlgorithms wants the algorithms of private_key_jwt wherever it is listed, and tries what is not among them.
func metAlgorithms(t *testing.T, s *suite, endpoint string) {
	t.Helper()
	m := s.dev().metadata(t)
	if !slices.Contains(list(t, m, endpoint+"_endpoint_auth_methods_supported"), "private_key_jwt") {
		t.Errorf("private_key_jwt is not listed for %s", endpoint)
	}
	algorithms := list(t, m, endpoint+"_endpoint_auth_signing_alg_values_supported")
	if !slices.Contains(algorithms, "ES256") || !slices.Contains(algorithms, "RS256") {
		t.Errorf("algorithms %v", algorithms)
	}
	for _, alg := range algorithms {
		if alg == "none" || strings.HasPrefix(alg, "HS") {
			t.Errorf("%s is listed", alg)
		}
	}
}

// cacheable wants a public document with a bounded lifetime and a strong tag, for GET and HEAD, with nothing to show.
func (s *server) cacheable(t *testing.T, path string, least, most int) {
	t.Helper()
	a := s.get(t, path)
	control, etag := a.header.Get("Cache-Control"), a.header.Get("ETag")
	age, err := strconv.Atoi(strings.TrimPrefix(control, "public, max-age="))
	if err != nil || age < least || age > most || a.header.Get("Pragma") != "" {
		t.Errorf("%s: Cache-Control %q", path, control)
	}
	if !strings.HasPrefix(etag, `"`) || !strings.HasSuffix(etag, `"`) || len(etag) < 10 {
		t.Errorf("%s: ETag %q", path, etag)
	}
	h := s.send(t, http.MethodHead, path, http.NoBody)
	if h.status != http.StatusOK || h.body != "" || h.header.Get("ETag") != etag || h.header.Get("Content-Length") != strconv.Itoa(len(a.body)) {
		t.Errorf("HEAD %s: %d %v", path, h.status, h.header)
	}
	for _, tag := range []string{etag, `"x", ` + etag, "W/" + etag, "*"} {
		if n := s.get(t, path, header("If-None-Match", tag)); n.status != http.StatusNotModified || n.body != "" || n.header.Get("ETag") != etag {
			t.Errorf("%s: If-None-Match %s: %d", path, tag, n.status)
		}
	}
	if n := s.get(t, path, header("If-None-Match", `"x"`)); n.status != http.StatusOK || n.body != a.body {
		t.Errorf("%s: another tag: %d", path, n.status)
	}
}
