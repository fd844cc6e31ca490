package oauth

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/seed-1972b8eb/signet/internal/clients"
)

// FuzzBasic: what is accepted comes back when it is encoded again by the rules of RFC 6749 appendix B.
func FuzzBasic(f *testing.F) {
	f.Add("Basic " + base64.StdEncoding.EncodeToString([]byte("a+b%3A:c%25")))
	f.Add("bAsIc  QTpC")
	f.Add("Bearer x")
	f.Add("Basic")
	f.Fuzz(func(t *testing.T, header string) {
		sent, form := parseBasic(header)
		if form != basicRead {
			if sent != (basicCredentials{}) {
				t.Error("refused, and yet read")
			}
			return
		}
		both := sent.id + sent.secret
		if sent.id == "" || !utf8.ValidString(both) || strings.ContainsRune(both, 0) {
			t.Errorf("accepted %+v", sent)
		}
		again := "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(sent.id)+":"+url.QueryEscape(sent.secret)))
		if len(again) > maxAuthorization {
			return
		}
		if back, form := parseBasic(again); form != basicRead || back != sent {
			t.Errorf("%+v came back as %+v", sent, back)
		}
	})
}

// FuzzForm: what is accepted holds each parameter once, and only text.
func FuzzForm(f *testing.F) {
	f.Add("grant_type=client_credentials&scope=a+b", "", formType)
	f.Add("a=%00", "token=x", formType+"; charset=utf-8")
	f.Add("a=%zz;b", "%zz", "multipart/form-data")
	f.Add("resource=a&resource=b", "a=1", formType)
	f.Fuzz(func(t *testing.T, body, query, contentType string) {
		r := httptest.NewRequest(http.MethodPost, "/oauth2/token", strings.NewReader(body))
		r.URL.RawQuery = query
		r.Header.Set("Content-Type", contentType)
		form, err := readForm(r)
		if err != nil {
			e := mapped(err, "")
			if got, ok := e.(*Error); !ok || got.Status >= 500 || describe(got.Description) != got.Description { //nolint:errorlint // mapped gives the type itself
				t.Errorf("%v", e)
			}
			return
		}
		for name, values := range form {
			if len(values) != 1 && name != "resource" && name != "audience" {
				t.Errorf("%q has %d values", name, len(values))
			}
			for _, value := range values {
				if !utf8.ValidString(name+value) || strings.ContainsRune(name+value, 0) {
					t.Errorf("%q=%q", name, value)
				}
			}
		}
	})
}

// FuzzScope: against a reference of a few lines (ATTACKS K2): a scope reaches a token exactly if it is granted byte for byte.
func FuzzScope(f *testing.F) {
	grant := clients.Grant{API: "urn:a", Scopes: []string{"a", "a.b", "read", "read:all"}}
	f.Add("read a", "")
	f.Add("*", "urn:a")
	f.Add("read  a", "urn:b")
	f.Add("READ", "urn:a#")
	f.Fuzz(func(t *testing.T, scope, resource string) {
		form := url.Values{"scope": {scope}, "resource": {resource}}
		target, err := readTarget(form)
		if err != nil {
			return
		}
		wanted, err := readScope(scope)
		var got clients.Grant
		if err == nil {
			got, err = chooseGrant(&clients.Client{Grants: []clients.Grant{grant}}, target, wanted)
		}
		allowed := resource == "" || resource == grant.API
		for name := range strings.SplitSeq(scope, " ") {
			allowed = allowed && (scope == "" || slices.Contains(grant.Scopes, name))
		}
		if allowed != (err == nil) {
			t.Errorf("scope %q resource %q: %v", scope, resource, err)
		}
		if err == nil && got.API != grant.API {
			t.Errorf("grant of %q", got.API)
		}
	})
}

// FuzzAssertion: nothing that is not a right assertion of this issuer is read, and nothing panics.
func FuzzAssertion(f *testing.F) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	encode := func(header, claims string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".AAAA"
	}
	f.Add(`{"alg":"ES256"}`, `{"iss":"c","sub":"c","aud":"https://as.test","jti":"j","iat":1767225600,"exp":1767225660}`)
	f.Add(`{"alg":"Ed25519","kid":"k","typ":"JWT"}`, `{"iss":"c","sub":"c","aud":["https://as.test"],"jti":"j","iat":1767225600,"exp":1767225660.5}`)
	f.Add(`{"alg":"none","crit":["x"]}`, `{"exp":1e309}`)
	f.Add(`null`, `[]`)
	f.Fuzz(func(t *testing.T, header, claims string) {
		a, reason, wrong := readAssertion(encode(header, claims), "https://as.test", now)
		if (reason == "") != (wrong == "") {
			t.Errorf("reason %q, wrong %q", reason, wrong)
		}
		if reason != "" {
			return
		}
		if a.clientID == "" || a.jti == "" || methodOf(a.alg) == nil || !a.expires.After(now) || a.expires.After(now.Add(maxAssertionLife+time.Second)) {
			t.Errorf("read %+v", a)
		}
		if !strings.Contains(claims, "as.test") {
			t.Errorf("aud of %s", claims)
		}
	})
}

// FuzzDescribe: whatever goes in, RFC 6749 §5.2 comes out.
func FuzzDescribe(f *testing.F) {
	f.Add("a\"b\\c\né" + strings.Repeat("x", 1000))
	f.Fuzz(func(t *testing.T, text string) {
		out := describe(text)
		if len(out) > maxDescription || strings.ContainsFunc(out, func(r rune) bool { return r < 0x20 || r > 0x7e || r == '"' || r == '\\' }) {
			t.Errorf("%q", out)
		}
	})
}
