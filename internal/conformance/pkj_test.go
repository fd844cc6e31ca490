package conformance_test

import (
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// pkjRows are the rows of private_key_jwt.
func pkjRows() []row {
	return []row{
		{"PKJ-01", accepts()},
		{"PKJ-02", refuses("a second audience would do elsewhere", func(s *server) [][]change {
			return [][]change{{claim("aud", s.TokenEndpoint)}, {claim("aud", []string{s.TokenEndpoint})}}
		})},
		{"PKJ-03", func(t *testing.T, s *suite) {
			d := s.dev()
			d.granted(t, d.requestToken(t, nil, d.keyedClient(t).assertion(t, d.Issuer, claim("aud", []string{d.Issuer}))...))
		}},
		{"PKJ-04", refuses("more than one audience", func(s *server) [][]change {
			return [][]change{
				{claim("aud", []string{s.Issuer, "https://other"})},
				{claim("aud", []string{s.Issuer, s.TokenEndpoint})},
				{claim("aud", []string{s.Issuer, s.Issuer})},
				{claim("aud", []string{})},
				{claim("aud", nil)},
				{claim("aud", 7)},
			}
		})},
		{"PKJ-05", pkjAudienceText},
		{"PKJ-06", pkjTyp},
		{"PKJ-07", refuses("iss and sub", func(*server) [][]change {
			return [][]change{{claim("iss", "client_00000000000000000000")}, {claim("sub", "client_00000000000000000000")}, {claim("iss", nil)}, {claim("sub", nil)}, {claim("iss", ""), claim("sub", "")}}
		})},
		{"PKJ-08", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.keyedClient(t)
			d.requestToken(t, nil, append(c.assertion(t, d.Issuer), "client_id", d.client(t).id)...).unauthorized(t)
			d.granted(t, d.requestToken(t, nil, append(c.assertion(t, d.Issuer), "client_id", c.id)...))
		}},
		{"PKJ-09", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.keyedClient(t)
			if token := d.granted(t, d.requestToken(t, nil, c.assertion(t, d.Issuer)...)); token.claim("client_id") != c.id {
				t.Errorf("client_id %q", token.claim("client_id"))
			}
		}},
		{"PKJ-10", refuses("expiry", func(*server) [][]change {
			return [][]change{
				{claim("exp", nil)},
				{inTime("exp", -time.Second)},
				{inTime("exp", 0)},
				{inTime("exp", -time.Hour)},
				{claim("exp", "soon")},
				{claim("exp", 1e300)},
				{claim("exp", -1)},
			}
		})},
		{"PKJ-11", refuses("expiry too far ahead", func(*server) [][]change {
			return [][]change{{inTime("exp", 11*time.Minute)}, {inTime("exp", 24*time.Hour)}}
		}, inTime("exp", 5*time.Minute))},
		{"PKJ-12", accepts([]change{inTime("iat", 5*time.Second)}, []change{inTime("nbf", 5*time.Second)},
			[]change{inTime("iat", 5*time.Second), inTime("nbf", 5*time.Second)}, []change{inTime("nbf", -time.Minute)})},
		{"PKJ-13", refuses("not before", func(*server) [][]change {
			return [][]change{{inTime("nbf", 10*time.Minute), inTime("exp", 10*time.Minute)}, {claim("nbf", "later")}}
		})},
		{"PKJ-14", refuses("issued long ago", func(*server) [][]change {
			return [][]change{{inTime("iat", -11*time.Minute)}, {inTime("iat", -24*time.Hour)}, {inTime("iat", 10*time.Minute)}, {claim("iat", nil)}}
		}, inTime("iat", -9*time.Minute))},
		{"PKJ-15", refuses("jti", func(*server) [][]change {
			return [][]change{{claim("jti", nil)}, {claim("jti", "")}, {claim("jti", 7)}}
		})},
		{"PKJ-16", func(t *testing.T, s *suite) {
			d := s.dev()
			proof := d.keyedClient(t).assertion(t, d.Issuer)
			d.granted(t, d.requestToken(t, nil, proof...))
			d.requestToken(t, nil, proof...).unauthorized(t)
			d.requestToken(t, nil, proof...).unauthorized(t)
		}},
		{"PKJ-17", pkjReplayElsewhere},
		{"PKJ-18", pkjRace},
		{"PKJ-19", func(t *testing.T, s *suite) {
			d := s.dev()
			for range 2 {
				d.granted(t, d.requestToken(t, nil, d.keyedClient(t).assertion(t, d.Issuer, claim("jti", "the same"))...))
			}
		}},
		{"PKJ-20", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.keyedClient(t)
			jti := claim("jti", "burnt last")
			d.requestToken(t, nil, c.assertion(t, d.Issuer, jti, claim("aud", "https://other"))...).unauthorized(t)
			d.requestToken(t, nil, asserted(c.signAs(t, jwt.SigningMethodES256, newEC(t, elliptic.P256()), d.Issuer, jti))...).unauthorized(t)
			d.requestToken(t, nil, append(c.assertion(t, d.Issuer, jti), "client_id", "other")...).unauthorized(t)
			d.granted(t, d.requestToken(t, nil, c.assertion(t, d.Issuer, jti)...))
			d.requestToken(t, nil, c.assertion(t, d.Issuer, jti)...).unauthorized(t)
		}},
		{"PKJ-21", pkjTampered},
		{"PKJ-22", pkjAlgorithms},
		{"PKJ-23", func(t *testing.T, s *suite) {
			d := s.dev()
			key := newEC(t, elliptic.P256())
			for _, use := range []any{nil, "sig"} {
				c := d.register(t, adminapi.NewClient{AuthMethod: "private_key_jwt", JWKS: jwks(t, jwkOf(t, key.Public(), "k", "use", use))})
				c.key, c.kid = key, "k"
				d.granted(t, d.requestToken(t, nil, c.assertion(t, d.Issuer)...))
			}
			d.refusesKeys(t, jwks(t, jwkOf(t, key.Public(), "k", "use", "enc")))
		}},
		{"PKJ-24", func(t *testing.T, s *suite) {
			d := s.dev()
			first, second := newEC(t, elliptic.P256()), newEd(t)
			third := newEC(t, elliptic.P256())
			c := d.register(t, adminapi.NewClient{AuthMethod: "private_key_jwt", JWKS: jwks(t,
				jwkOf(t, first.Public(), "a"), jwkOf(t, second.Public(), "b"), jwkOf(t, third.Public(), "c"))})
			for kid, key := range map[string]any{"a": first, "c": third} {
				d.granted(t, d.requestToken(t, nil, asserted(c.signAs(t, jwt.SigningMethodES256, key, d.Issuer))...))
				d.granted(t, d.requestToken(t, nil, asserted(c.signAs(t, jwt.SigningMethodES256, key, d.Issuer, head("kid", kid)))...))
				for _, wrong := range []any{"unknown", "b", "", 7} {
					d.requestToken(t, nil, asserted(c.signAs(t, jwt.SigningMethodES256, key, d.Issuer, head("kid", wrong)))...).unauthorized(t)
				}
			}
			d.requestToken(t, nil, asserted(c.signAs(t, jwt.SigningMethodES256, first, d.Issuer, head("kid", "c")))...).unauthorized(t)
		}},
		{"PKJ-25", refuses("critical extensions", func(*server) [][]change {
			return [][]change{{head("crit", []string{"x"})}, {head("crit", []string{})}, {head("crit", []string{"x"}), head("x", true)}, {head("crit", []string{"b64"}), head("b64", true)}}
		})},
		{"PKJ-26", pkjKeysInHeader},
		{"PKJ-27", pkjFetch},
		{"PKJ-28", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.keyedClient(t)
			text := c.sign(t, d.Issuer)
			for _, form := range [][]string{
				{"client_assertion", text},
				{"client_assertion_type", assertionType},
				{"client_id", c.id, "client_assertion_type", assertionType},
				{"client_assertion", text, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"},
				{"client_assertion", text, "client_assertion_type", "jwt"},
				{"client_assertion", "", "client_assertion_type", assertionType},
			} {
				d.requestToken(t, nil, form...).refused(t, 400, "invalid_request")
			}
			d.granted(t, d.requestToken(t, nil, asserted(text)...))
		}},
		{"PKJ-29", pkjWeakKeys},
		{"PKJ-30", func(t *testing.T, s *suite) {
			d := s.dev()
			key := newEd(t)
			for _, registered := range []any{nil, "EdDSA", "Ed25519"} {
				c := d.register(t, adminapi.NewClient{AuthMethod: "private_key_jwt", JWKS: jwks(t, jwkOf(t, key.Public(), "k", "alg", registered))})
				c.key, c.kid = key, "k"
				for _, alg := range []string{"EdDSA", "Ed25519"} {
					d.granted(t, d.requestToken(t, nil, c.assertion(t, d.Issuer, head("alg", alg))...))
				}
			}
			listed := strings.Join(list(t, d.metadata(t), "token_endpoint_auth_signing_alg_values_supported"), " ")
			if listed != "ES256 Ed25519 EdDSA PS256 RS256" {
				t.Errorf("metadata lists %s", listed)
			}
		}},
		{"PKJ-31", func(t *testing.T, s *suite) {
			o := s.outage()
			o.down(t)
			proof := o.keyed.assertion(t, o.Issuer)
			for _, path := range oauthPaths {
				o.post(t, path, grant(append(proof, "token", o.token)...)).refused(t, 503, "temporarily_unavailable")
			}
		}},
	}
}

// accepts is a row in which assertions with these changes get tokens; without any, the plain one does.
func accepts(variants ...[]change) func(*testing.T, *suite) {
	return func(t *testing.T, s *suite) {
		d := s.dev()
		c := d.keyedClient(t)
		for _, changes := range append(variants, nil) {
			d.granted(t, d.requestToken(t, nil, c.assertion(t, d.Issuer, changes...)...))
		}
	}
}

// refuses is a row in which assertions with these changes are refused, at every endpoint alike, while the one without them
// is accepted, and so is one with the harmless changes.
func refuses(what string, variants func(*server) [][]change, harmless ...change) func(*testing.T, *suite) {
	return func(t *testing.T, s *suite) {
		d := s.dev()
		c := d.keyedClient(t)
		for _, changes := range variants(d) {
			a := d.requestToken(t, nil, c.assertion(t, d.Issuer, changes...)...)
			if a.status != http.StatusUnauthorized {
				t.Errorf("%s: accepted", what)
			}
			a.unauthorized(t)
			d.post(t, pathIntrospect, grant(append(c.assertion(t, d.Issuer, changes...), "token", "x")...)).unauthorized(t)
		}
		d.granted(t, d.requestToken(t, nil, c.assertion(t, d.Issuer)...))
		d.granted(t, d.requestToken(t, nil, c.assertion(t, d.Issuer, harmless...)...))
	}
}

// pkjAudienceText compares text, and not URLs that mean the same.
func pkjAudienceText(t *testing.T, s *suite) {
	for _, test := range []struct {
		server *server
		others []string
	}{
		{s.dev(), []string{s.dev().Issuer + "/", strings.Replace(s.dev().Issuer, "http:", "HTTP:", 1), s.dev().Issuer + "#", s.dev().Issuer + " "}},
		{s.proxy(), []string{"https://AUTH.test/t1", "https://auth.test:443/t1", "https://auth.test/t1/", "https://auth.test", "https://auth.test/%741", "https://auth.test/T1"}},
	} {
		c := test.server.keyedClient(t)
		for _, other := range test.others {
			test.server.requestToken(t, nil, c.assertion(t, other)...).unauthorized(t)
		}
		test.server.granted(t, test.server.requestToken(t, nil, c.assertion(t, test.server.Issuer)...))
	}
}

func pkjTyp(t *testing.T, s *suite) {
	d := s.dev()
	c := d.keyedClient(t)
	for _, typ := range []any{nil, "JWT", "jwt", "client-authentication+jwt", "Client-Authentication+JWT", "application/client-authentication+jwt"} {
		d.granted(t, d.requestToken(t, nil, c.assertion(t, d.Issuer, head("typ", typ))...))
	}
	for _, typ := range []any{"at+jwt", "application/at+jwt", "dpop+jwt", "statuslist+jwt", "token-introspection+jwt", "secevent+jwt", "", 7} {
		d.requestToken(t, nil, c.assertion(t, d.Issuer, head("typ", typ))...).unauthorized(t)
	}
}

// pkjReplayElsewhere shows one assertion to both replicas and all endpoints: only the first request counts.
func pkjReplayElsewhere(t *testing.T, s *suite) {
	a, b := s.pair()[0], s.pair()[1]
	c := a.keyedClient(t)
	proof := c.assertion(t, a.Issuer)
	token := a.granted(t, a.requestToken(t, nil, proof...))
	for _, replica := range []*server{b, a} {
		for _, path := range oauthPaths {
			replica.post(t, path, grant(append(proof, "token", token.text)...)).unauthorized(t)
		}
	}
	fresh := func() []string { return append(c.assertion(t, a.Issuer), "token", token.text) }
	b.post(t, pathIntrospect, grant(fresh()...)).active(t) // it was not revoked by the replay
	// First at another endpoint, then at the token endpoint.
	used := fresh()
	a.post(t, pathIntrospect, grant(used...)).active(t)
	b.post(t, pathToken, grant(used...)).unauthorized(t)
}

func pkjRace(t *testing.T, s *suite) {
	pair := s.pair()
	c := pair[0].keyedClient(t)
	for _, replica := range pair { // both have the client in memory
		replica.granted(t, replica.requestToken(t, nil, c.assertion(t, replica.Issuer)...))
	}
	proof := c.assertion(t, pair[0].Issuer)
	const requests = 50
	answers := make(chan *answer, requests)
	start := make(chan struct{})
	for i := range requests {
		go func() {
			<-start
			answers <- pair[i%2].requestToken(t, nil, proof...)
		}()
	}
	close(start)
	won := 0
	for range requests {
		a := <-answers
		if a.status == http.StatusOK {
			won++
			continue
		}
		a.unauthorized(t)
	}
	if won != 1 {
		t.Errorf("%d of %d requests with one assertion got a token", won, requests)
	}
}

func pkjTampered(t *testing.T, s *suite) {
	d := s.dev()
	c := d.keyedClient(t)
	parts := strings.Split(c.sign(t, d.Issuer), ".")
	other := strings.Split(c.sign(t, d.Issuer), ".")
	stranger := c.signAs(t, jwt.SigningMethodES256, newEC(t, elliptic.P256()), d.Issuer)
	for name, text := range map[string]string{
		"claims of another": parts[0] + "." + other[1] + "." + parts[2], "signature of another": parts[0] + "." + parts[1] + "." + other[2],
		"no signature": parts[0] + "." + parts[1] + ".", "short signature": parts[0] + "." + parts[1] + "." + parts[2][:40],
		"one segment less": parts[0] + "." + parts[1], "one more": strings.Join(parts, ".") + ".x", "unregistered key": stranger,
		"padding": strings.Join(parts, ".") + "==", "white space": strings.Join(parts, ".") + "\n", "empty claims": parts[0] + ".e30." + parts[2],
		"all zero": parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)),
	} {
		a := d.requestToken(t, nil, asserted(text)...)
		if a.status != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, a.status)
		}
		a.unauthorized(t)
	}
}

func pkjAlgorithms(t *testing.T, s *suite) {
	d := s.dev()
	c := d.keyedClient(t)
	der, err := x509.MarshalPKIXPublicKey(c.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	for name, text := range map[string]string{
		"none":               c.signAs(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, d.Issuer),
		"None":               c.signAs(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, d.Issuer, head("alg", "None")),
		"HS256 with the PEM": c.signAs(t, jwt.SigningMethodHS256, public, d.Issuer),
		"HS256 with the DER": c.signAs(t, jwt.SigningMethodHS256, der, d.Issuer),
		"EdDSA for an EC":    c.sign(t, d.Issuer, head("alg", "EdDSA")),
		"RS256 for an EC":    c.sign(t, d.Issuer, head("alg", "RS256")),
		"ES384 for P-256":    c.sign(t, d.Issuer, head("alg", "ES384")),
		"P-384 as ES256":     c.signAs(t, jwt.SigningMethodES384, newEC(t, elliptic.P384()), d.Issuer, head("alg", "ES256")),
		"rs256":              c.sign(t, d.Issuer, head("alg", "rs256")),
		"es256":              c.sign(t, d.Issuer, head("alg", "es256")),
		"no alg":             c.sign(t, d.Issuer, head("alg", nil)),
		"alg is a number":    c.sign(t, d.Issuer, head("alg", 256)),
		"alg is a list":      c.sign(t, d.Issuer, head("alg", []string{"ES256"})),
	} {
		a := d.requestToken(t, nil, asserted(text)...)
		if a.status != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, a.status)
		}
		a.unauthorized(t)
	}
	d.refusesKeys(t, jwks(t, jwkOf(t, newEC(t, elliptic.P384()).Public(), "k")))
}

// pkjKeysInHeader offers keys in the header. Nothing is fetched from where they point.
func pkjKeysInHeader(t *testing.T, s *suite) {
	d := s.dev()
	c := d.keyedClient(t)
	thief := newEC(t, elliptic.P256())
	var visits atomic.Int64
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visits.Add(1) }))
	defer trap.Close()
	for _, change := range []change{
		head("jwk", jwkOf(t, thief.Public(), "k1")), head("jku", trap.URL+"/jwks"), head("x5u", trap.URL+"/x5u"), head("x5c", []string{"AAAA"}),
	} {
		d.requestToken(t, nil, asserted(c.signAs(t, jwt.SigningMethodES256, thief, d.Issuer, change))...).unauthorized(t)
		d.requestToken(t, nil, asserted(c.sign(t, d.Issuer, change))...).unauthorized(t) // by the right key too
	}
	if n := visits.Load(); n != 0 {
		t.Errorf("%d outbound requests", n)
	}
}
