package conformance_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// intRows are the rows of the introspection endpoint.
func intRows() []row {
	return []row{
		{"INT-01", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.client(t)
			token := d.issue(t, c).text
			d.introspect(t, d.introspector(t), token).active(t)
			d.introspect(t, c, token).active(t) // its own client may ask too
		}},
		{"INT-02", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.register(t, adminapi.NewClient{Claims: map[string]any{"team": "blue", "level": 7}})
			token := d.issue(t, c)
			got := d.introspect(t, d.introspector(t), token.text)
			var want map[string]any
			if err := json.Unmarshal(decoded(t, token.text, 1), &want); err != nil {
				t.Fatal(err)
			}
			want["active"], want["token_type"] = true, "Bearer"
			if fmt.Sprint(got.json) != fmt.Sprint(want) {
				t.Errorf("answer %v\ntoken  %v", got.json, want)
			}
			for _, name := range []string{"iss", "sub", "aud", "client_id", "scope", "exp", "iat", "jti"} {
				if got.json[name] == nil {
					t.Errorf("no %s", name)
				}
			}
		}},
		{"INT-03", intInactive},
		{"INT-04", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.client(t)
			token := d.issue(t, c).text
			d.post(t, pathIntrospect, servertest.Form("token", token)).unauthorized(t)
			d.post(t, pathIntrospect, servertest.Form("token", token, "client_id", c.id)).unauthorized(t)
		}},
		{"INT-05", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.client(t)
			d.introspect(t, c.with(d.client(t).secret), d.issue(t, c).text).unauthorized(t)
		}},
		{"INT-06", func(t *testing.T, s *suite) { intBearer(t, s, func(access) string { return "whatever" }) }},
		{"INT-07", func(t *testing.T, s *suite) { intBearer(t, s, func(token access) string { return token.text }) }},
		{"INT-08", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.client(t)
			token := d.issue(t, c).text
			a := d.post(t, pathIntrospect+"?access_token="+token, servertest.Form("token", token))
			a.unauthorized(t)
			d.post(t, pathIntrospect, servertest.Form("token", token, "access_token", token)).unauthorized(t)
			d.post(t, pathIntrospect, servertest.Form("token", token), header("Access-Token", token), header("Cookie", "access_token="+token)).unauthorized(t)
		}},
		{"INT-09", func(t *testing.T, s *suite) {
			d := s.dev()
			const elsewhere = "https://api.test/elsewhere"
			d.api(t, elsewhere, "ES256", "read")
			stranger := d.register(t, adminapi.NewClient{Grants: []adminapi.Grant{}, Introspects: []string{elsewhere}})
			token := d.issue(t, d.client(t)).text
			d.introspect(t, stranger, token).inactive(t)
			d.introspect(t, d.client(t), token).inactive(t) // another client of the same API
			d.introspect(t, d.introspector(t), token).active(t)
		}},
		{"INT-10", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.introspector(t)
			d.introspect(t, c, "").refused(t, 400, "invalid_request")
			d.post(t, pathIntrospect, servertest.Form("token_type_hint", "access_token"), c.basic()).refused(t, 400, "invalid_request")
		}},
		{"INT-11", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.client(t)
			token := d.issue(t, c).text
			plain := d.introspect(t, c, token)
			for _, hint := range []string{"access_token", "refresh_token", "nonsense", ""} {
				if got := d.introspect(t, c, token, "token_type_hint", hint); got.status != plain.status || got.body != plain.body {
					t.Errorf("with hint %q: %d %s", hint, got.status, got.body)
				}
			}
		}},
		{"INT-12", intForged},
		{"INT-13", func(t *testing.T, s *suite) {
			o := s.outage()
			o.down(t)
			o.introspect(t, o.cached, o.token).refused(t, 503, "temporarily_unavailable")
			o.introspect(t, o.unknown, o.token).refused(t, 503, "temporarily_unavailable")
		}},
		{"INT-14", intMethods},
		{"INT-16", func(t *testing.T, s *suite) { // signed answers are not offered: what is asked for by Accept is not there
			d := s.dev()
			c := d.client(t)
			d.post(t, pathIntrospect, servertest.Form("token", d.issue(t, c).text), c.basic(), header("Accept", "application/token-introspection+jwt")).active(t)
			for member := range d.metadata(t) {
				if strings.HasPrefix(member, "introspection_signing_") || strings.HasPrefix(member, "introspection_encryption_") {
					t.Errorf("metadata promises %s", member)
				}
			}
		}},
		{"INT-17", func(t *testing.T, s *suite) { // API tokens come with a later issue: until then one is an unknown token
			d := s.dev()
			c := d.client(t)
			token := "signet_at_" + d.client(t).secret[len("signet_cs_"):]
			d.introspect(t, c, token).inactive(t)
			d.introspect(t, c, c.secret).inactive(t) // nor is a client secret one
		}},
	}
}

// intSerial are the rows that change signing keys.
func intSerial() []row {
	return []row{{"INT-15", intRotated}}
}

func intInactive(t *testing.T, s *suite) {
	d, other := s.dev(), s.proxy()
	c := d.client(t)
	watcher := d.introspector(t)
	brief, revoked := d.issue(t, c, "expires_in", "2"), d.issue(t, c).text
	expired, exp := brief.text, time.Unix(brief.number("exp"), 0)
	// This machine may be so busy that the answer comes after the end; what came before it is held to.
	if a := d.introspect(t, watcher, expired); time.Now().Before(exp) {
		a.active(t)
	}
	d.revoke(t, c, revoked).revoked(t)
	time.Sleep(time.Until(exp))
	live := d.issue(t, c).text
	for name, text := range map[string]string{
		"expired": expired, "revoked": revoked, "unknown": rand.Text(), "malformed": "a.b.c", "dots": "..", "truncated": live[:len(live)-2],
		"other issuer's": other.issue(t, other.client(t)).text, "longer than any": strings.Repeat("a", 20_000), "with a space": " " + live,
		"a JSON serialisation": `{"payload":"` + strings.Split(live, ".")[1] + `"}`,
	} {
		a := d.introspect(t, watcher, text)
		if a.json["active"] != false {
			t.Errorf("%s: %s", name, a.body)
		}
		a.inactive(t)
	}
	d.introspect(t, watcher, live).active(t)
}

func intBearer(t *testing.T, s *suite, credential func(access) string) {
	t.Helper()
	d := s.dev()
	token := d.issue(t, d.client(t))
	a := d.post(t, pathIntrospect, servertest.Form("token", token.text), header("Authorization", "Bearer "+credential(token)))
	a.unauthorized(t)
	if strings.Contains(a.body, "active") {
		t.Errorf("something was introspected: %s", a.body)
	}
}

// forge imports a key that this test has the private part of, so that it can sign what the server never would. The key is a
// standby: published, and good for verification.
func forge(t *testing.T, d *server) func(changes ...change) string {
	t.Helper()
	key := newEd(t)
	text, err := json.Marshal(jwkOf(t, key, "", "alg", "EdDSA", "use", "sig"))
	if err != nil {
		t.Fatal(err)
	}
	imported, err := d.admin.ImportKey(t.Context(), adminapi.ImportKey{Alg: "EdDSA", Key: string(text)})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "publish the imported key", func() bool { return d.publishes(t, imported.KID) })
	c := d.client(t)
	return func(changes ...change) string {
		now := time.Now()
		token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
			"iss": d.Issuer, "sub": c.id, "client_id": c.id, "aud": d.API, "scope": "orders:read", "iat": now.Unix(),
			"exp": now.Add(time.Minute).Unix(), "jti": rand.Text(), "gen": 1,
		})
		token.Header["typ"], token.Header["kid"] = "at+jwt", imported.KID
		for _, change := range changes {
			change(token)
		}
		signed, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		d.suite.seen.add(signed)
		return signed
	}
}

// intForged signs with a key of the server itself, so that only the check in question can refuse.
func intForged(t *testing.T, s *suite) {
	d := s.dev()
	forged := forge(t, d)
	watcher := d.introspector(t)
	d.introspect(t, watcher, forged()).active(t) // this is one that the server might have made
	for name, changes := range map[string][]change{
		"not yet valid": {inTime("nbf", time.Hour)}, "issued in the future": {inTime("iat", time.Hour), inTime("exp", 2*time.Hour)},
		"expired": {inTime("exp", -time.Second)}, "no exp": {claim("exp", nil)}, "exp is text": {claim("exp", "2099")},
		"lives for a year": {inTime("exp", 365*24*time.Hour)}, "other issuer": {claim("iss", "https://other")}, "issuer with slash": {claim("iss", d.Issuer+"/")},
		"no jti": {claim("jti", nil)}, "no client_id": {claim("client_id", nil)}, "no aud": {claim("aud", nil)}, "no scope": {claim("scope", nil)},
		"no iat": {claim("iat", nil)}, "no gen": {claim("gen", nil)}, "no sub": {claim("sub", nil)},
		"status list": {head("typ", "statuslist+jwt")}, "introspection answer": {head("typ", "token-introspection+jwt")},
		"client assertion": {head("typ", "client-authentication+jwt")}, "security event": {head("typ", "secevent+jwt")},
		"no typ": {head("typ", nil)}, "crit": {head("crit", []string{"x"}), head("x", 1)}, "jwk in the header": {head("jwk", map[string]any{"kty": "OKP"})},
		"other alg": {head("alg", "ES256")}, "Ed25519": {head("alg", "Ed25519")}, "unknown kid": {head("kid", "nobody")}, "no kid": {head("kid", nil)},
		"unknown reserved claim": {claim("cnf", map[string]any{"jkt": "x"})},
	} {
		if a := d.introspect(t, watcher, forged(changes...)); a.body != `{"active":false}` {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	text := forged()
	parts := strings.Split(text, ".")
	for name, text := range map[string]string{
		"bad signature": parts[0] + "." + parts[1] + "." + strings.Split(forged(), ".")[2], "none": strings.Join(parts[:2], ".") + ".",
	} {
		if a := d.introspect(t, watcher, text); a.body != `{"active":false}` {
			t.Errorf("%s: %s", name, a.body)
		}
	}
}

// intMethods authenticates in each way at each endpoint, and wants the metadata to say so.
func intMethods(t *testing.T, s *suite) {
	d := s.dev()
	poster, keyed, basic := d.register(t, adminapi.NewClient{AuthMethod: "client_secret_post"}), d.keyedClient(t), d.client(t)
	for name, proof := range map[string]func() (option, []string){
		"client_secret_basic": func() (option, []string) { return basic.basic(), nil },
		"client_secret_post":  func() (option, []string) { return nil, poster.post() },
		"private_key_jwt":     func() (option, []string) { return nil, keyed.assertion(t, d.Issuer) },
	} {
		header, form := proof()
		token := d.granted(t, d.post(t, pathToken, grant(form...), given(header)...)).text
		header, form = proof()
		d.post(t, pathIntrospect, servertest.Form(append(form, "token", token)...), given(header)...).active(t)
		header, form = proof()
		d.post(t, pathRevoke, servertest.Form(append(form, "token", token)...), given(header)...).revoked(t)
		header, form = proof()
		d.post(t, pathIntrospect, servertest.Form(append(form, "token", token)...), given(header)...).inactive(t)
		for _, endpoint := range []string{"token", "introspection", "revocation"} {
			if methods := list(t, d.metadata(t), endpoint+"_endpoint_auth_methods_supported"); !slices.Contains(methods, name) || len(methods) != 3 {
				t.Errorf("metadata lists %v for %s", methods, endpoint)
			}
		}
	}
}

// rotate activates the standby of an algorithm, as if it had been published long ago, and waits until both replicas sign
// with it. It returns the kids before and after.
func rotate(t *testing.T, pair []*server, alg, api string) (string, string) {
	t.Helper()
	a := pair[0]
	c := a.register(t, adminapi.NewClient{Grants: []adminapi.Grant{{API: api, Scopes: []string{"orders:read"}}}})
	before, _ := a.issue(t, c).header["kid"].(string)
	hour := time.Hour.Microseconds()
	if n := pgtest.Exec(t, a.Database(), "UPDATE signing_keys SET published_at = published_at - $1 WHERE alg = $2 AND state = 'pending'", hour, alg); n != 1 {
		t.Fatalf("%d standbys of %s", n, alg)
	}
	rotated, err := a.admin.RotateKey(t.Context(), alg)
	if err != nil {
		t.Fatal(err)
	}
	for _, replica := range pair {
		eventually(t, "sign with the new key", func() bool { return replica.issue(t, c).header["kid"] == rotated.KID })
	}
	return before, rotated.KID
}

func intRotated(t *testing.T, s *suite) {
	pair := s.pair()
	a, b := pair[0], pair[1]
	c := a.client(t)
	token := a.issue(t, c)
	before, after := rotate(t, pair, "ES256", a.API)
	if token.header["kid"] != before || before == after {
		t.Fatalf("token by %v, rotated from %s to %s", token.header["kid"], before, after)
	}
	for _, replica := range []*server{a, b} {
		replica.introspect(t, c, token.text).active(t)
		if a := replica.introspect(t, c, token.text); a.status != http.StatusOK || len(slices.Collect(maps.Keys(a.json))) < 9 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
}
