package conformance_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// tokRows are the rows of the token endpoint.
func tokRows() []row {
	return []row{
		{"TOK-01", func(t *testing.T, s *suite) {
			d := s.dev()
			d.post(t, pathToken, servertest.Form("scope", "orders:read"), d.client(t).basic()).refused(t, 400, "invalid_request")
		}},
		{"TOK-02", func(t *testing.T, s *suite) {
			d := s.dev()
			d.post(t, pathToken, servertest.Form("grant_type", ""), d.client(t).basic()).refused(t, 400, "invalid_request")
		}},
		{"TOK-03", func(t *testing.T, s *suite) {
			d := s.dev()
			d.post(t, pathToken, servertest.Form("grant_type", "foo"), d.client(t).basic()).refused(t, 400, "unsupported_grant_type")
		}},
		{"TOK-04", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.client(t)
			for _, grant := range []string{"password", "implicit", "authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"} {
				form := servertest.Form("grant_type", grant, "username", "u", "password", "p", "code", "c", "refresh_token", "r")
				d.post(t, pathToken, form, c.basic()).refused(t, 400, "unsupported_grant_type")
			}
		}},
		{"TOK-05", tokRepeated},
		{"TOK-06", func(t *testing.T, s *suite) {
			d := s.dev()
			d.granted(t, d.requestToken(t, d.client(t).basic(), "foo", "bar"))
		}},
		{"TOK-07", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.client(t)
			with, without := d.issue(t, c, "scope", ""), d.issue(t, c)
			if with.claim("scope") != without.claim("scope") || with.response["scope"] != without.response["scope"] {
				t.Errorf("scope %q with an empty parameter, %q without", with.claim("scope"), without.claim("scope"))
			}
		}},
		{"TOK-08", tokQuery},
		{"TOK-09", func(t *testing.T, s *suite) {
			d := s.dev()
			a := d.requestToken(t, d.client(t).basic())
			d.granted(t, a)
			if _, number := a.json["expires_in"].(float64); !number || len(a.json) != 4 {
				t.Errorf("members %v, want access_token, token_type, expires_in (a number) and scope", a.json)
			}
		}},
		{"TOK-10", func(t *testing.T, s *suite) {
			d := s.dev()
			for _, asked := range []string{"", "1", "60"} {
				token := d.issue(t, d.client(t), "expires_in", asked)
				told, _ := token.response["expires_in"].(float64)
				if life := token.number("exp") - token.number("iat"); told <= 0 || told != float64(life) {
					t.Errorf("asked for %q: expires_in %v, exp-iat %d", asked, told, life)
				}
			}
		}},
		{"TOK-11", func(t *testing.T, s *suite) {
			d := s.dev()
			narrow := d.register(t, adminapi.NewClient{Grants: []adminapi.Grant{
				{API: d.API, Scopes: []string{"orders:read", "orders:write"}, DefaultScopes: []string{"orders:read"}},
			}})
			for asked, want := range map[string]string{
				"": "orders:read", "orders:write": "orders:write", "orders:write orders:read": "orders:write orders:read",
				"orders:read orders:read": "orders:read",
			} {
				token := d.issue(t, narrow, "scope", asked)
				if token.response["scope"] != want || token.claim("scope") != want {
					t.Errorf("asked for %q: response %v, token %q, want %q", asked, token.response["scope"], token.claim("scope"), want)
				}
			}
		}},
		{"TOK-12", func(t *testing.T, s *suite) {
			d := s.dev()
			d.requestToken(t, d.introspector(t).basic()).refused(t, 400, "unauthorized_client")
		}},
		{"TOK-13", func(t *testing.T, s *suite) {
			// The grant type is looked at first, so that the answer does not tell whether the secret was right.
			d := s.dev()
			c := d.client(t)
			form := servertest.Form("grant_type", "foo")
			right := d.post(t, pathToken, form, c.basic())
			for range 3 {
				wrong := d.post(t, pathToken, form, c.with(d.client(t).secret).basic())
				wrong.refused(t, 400, "unsupported_grant_type")
				if wrong.body != right.body {
					t.Errorf("with the wrong secret %s, with the right one %s", wrong.body, right.body)
				}
				if strings.Contains(wrong.body, "goroutine") || strings.Contains(wrong.body, ".go:") {
					t.Errorf("debug text: %s", wrong.body)
				}
			}
		}},
		{"TOK-14", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.client(t)
			for _, grant := range []string{"Client_Credentials", "CLIENT_CREDENTIALS", "client_credentials client_credentials", "client_credentials ", " client_credentials"} {
				d.post(t, pathToken, servertest.Form("grant_type", grant), c.basic()).refused(t, 400, "unsupported_grant_type")
			}
		}},
		{"TOK-15", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.client(t)
			for _, body := range []string{
				"grant_type=client_credentials&scope=%00", "grant_type=client_credentials%00", "grant_type=client_credentials&x%00=y",
				"grant_type=client_credentials&scope=%zz", "grant_type=%", "grant_type=client_credentials&%zz=y",
				"grant_type=client_credentials&scope=%ff%fe", "grant_type=client_credentials&scope=\xff\xfe", "grant_type=client_credentials;scope=x",
			} {
				d.raw(t, pathToken, body, c.basic()).refused(t, 400, "invalid_request")
			}
		}},
		{"TOK-16", func(t *testing.T, s *suite) { // that no answer has a CORS header is checked with every request
			d := s.dev()
			c := d.client(t)
			origin := header("Origin", "https://app.test")
			for _, path := range oauthPaths {
				a := d.send(t, http.MethodOptions, path, http.NoBody, origin, header("Access-Control-Request-Method", "POST"))
				if a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != "POST" {
					t.Errorf("%s: %d, Allow %q", path, a.status, a.header.Get("Allow"))
				}
			}
			d.granted(t, d.post(t, pathToken, grant(), c.basic(), origin))
		}},
	}
}

// tokSerial are the rows that must have their servers for themselves.
func tokSerial() []row {
	return []row{{"TOK-17", tokWrites}}
}

func tokRepeated(t *testing.T, s *suite) {
	d := s.dev()
	c, keyed := d.client(t), d.keyedClient(t)
	poster := d.register(t, adminapi.NewClient{AuthMethod: "client_secret_post"})
	assertion := keyed.assertion(t, d.Issuer)
	for _, test := range []struct {
		form  url.Values
		proof option
	}{
		{grant("grant_type", "client_credentials"), c.basic()},
		{grant("scope", "orders:read", "scope", "orders:read"), c.basic()},
		{grant("scope", "orders:read", "scope", "orders:write"), c.basic()},
		{grant("expires_in", "60", "expires_in", "60"), c.basic()},
		{grant("client_id", c.id, "client_id", c.id), c.basic()},
		{grant("foo", "bar", "foo", "bar"), c.basic()},
		{grant(append(poster.post(), "client_id", poster.id)...), nil},
		{grant(append(poster.post(), "client_secret", poster.secret)...), nil},
		{grant(append(assertion, "client_assertion", assertion[3])...), nil},
		{grant(append(assertion, "client_assertion_type", assertionType)...), nil},
	} {
		d.post(t, pathToken, test.form, given(test.proof)...).refused(t, 400, "invalid_request")
	}
	// resource and audience may repeat by their own standards. Several values are invalid_target here (CC-12), and an
	// empty one counts as not sent.
	d.granted(t, d.requestToken(t, c.basic(), "resource", d.API, "audience", d.API))
	d.granted(t, d.requestToken(t, c.basic(), "resource", "", "resource", ""))
}

func tokQuery(t *testing.T, s *suite) {
	d := s.dev()
	c := d.register(t, adminapi.NewClient{AuthMethod: "client_secret_post"})
	everything := "?" + grant(c.post()...).Encode()
	for _, test := range []struct {
		query, body string
		options     []option
	}{
		{everything, "", nil},
		{"?grant_type=client_credentials", "", []option{d.client(t).basic()}},
		{"?" + servertest.Form(c.post()...).Encode(), grant().Encode(), nil},
		{"?client_id=" + c.id, grant("client_secret", c.secret).Encode(), nil},
		{"?client_secret=" + c.secret, grant("client_id", c.id).Encode(), nil},
		{"?scope=orders:read", grant(c.post()...).Encode(), nil},
	} {
		d.raw(t, pathToken+test.query, test.body, test.options...).refused(t, 400, "invalid_request")
	}
	d.granted(t, d.raw(t, pathToken+"?foo=bar", grant(c.post()...).Encode())) // what is no parameter is ignored there too
}

// tokWrites counts in the database itself. Reads are not counted here: GEN-13 gets tokens while the database is away.
func tokWrites(t *testing.T, s *suite) {
	replica := s.pair()[0]
	c := replica.client(t)
	replica.issue(t, c)
	before, began := s.shared.Transactions(t), time.Now()
	const tokens = 1000
	for range tokens {
		if got := replica.requestToken(t, c.basic()); got.status != http.StatusOK {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	// Each of two replicas flushes usage once in 10 s at most; the rest is room for PostgreSQL's own work.
	wrote, flushes := s.shared.Transactions(t)-before, int64(2*(1+time.Since(began)/(10*time.Second)))
	t.Logf("%d transactions wrote while %d tokens were issued in %s", wrote, tokens, time.Since(began))
	if wrote > 3*flushes+5 {
		t.Errorf("%d transactions wrote for %d tokens", wrote, tokens)
	}
}
