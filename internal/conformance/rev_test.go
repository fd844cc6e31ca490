package conformance_test

import (
	"crypto/elliptic"
	"encoding/base64"
	"errors"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// revoked wants the answer of a successful revocation: 200 with nothing in it.
func (a *answer) revoked(t *testing.T) {
	t.Helper()
	if a.status != http.StatusOK || a.body != "" {
		t.Errorf("%d %q, want 200 and an empty body", a.status, a.body)
	}
}

// revRows are the rows of the revocation endpoint.
func revRows() []row {
	return []row{
		{"REV-01", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.client(t)
			d.revoke(t, c, d.issue(t, c).text).revoked(t)
		}},
		{"REV-02", revEverywhere},
		{"REV-03", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.client(t)
			token, brief := d.issue(t, c).text, d.issue(t, c, "expires_in", "1")
			expired := brief.text
			stranger := c
			stranger.key = newEC(t, elliptic.P256())
			time.Sleep(time.Until(time.Unix(brief.number("exp"), 0)))
			d.revoke(t, c, token).revoked(t)
			for _, text := range []string{token, token, expired, "garbage", "a.b.c", strings.Repeat("x", 9000), stranger.sign(t, d.Issuer)} {
				d.revoke(t, c, text).revoked(t)
			}
		}},
		{"REV-04", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.client(t)
			d.post(t, pathRevoke, servertest.Form("token_type_hint", "access_token"), c.basic()).refused(t, 400, "invalid_request")
			d.revoke(t, c, "").refused(t, 400, "invalid_request")
		}},
		{"REV-05", func(t *testing.T, s *suite) {
			d := s.dev()
			c, other, watcher := d.client(t), d.client(t), d.introspector(t)
			token := d.issue(t, c).text
			d.revoke(t, other, token).refused(t, 400, "unauthorized_client")
			d.revoke(t, watcher, token).refused(t, 400, "unauthorized_client") // may look, may not touch
			d.introspect(t, c, token).active(t)
		}},
		{"REV-06", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.client(t)
			token := d.issue(t, c).text
			form := servertest.Form("token", token)
			d.post(t, pathRevoke, form).unauthorized(t)
			d.post(t, pathRevoke, servertest.Form("token", token, "client_id", c.id)).unauthorized(t)
			d.post(t, pathRevoke, form, c.with(d.client(t).secret).basic()).unauthorized(t)
			d.post(t, pathRevoke, form, header("Authorization", "Bearer "+token)).unauthorized(t)
			d.introspect(t, c, token).active(t)
		}},
		{"REV-07", func(t *testing.T, s *suite) {
			o := s.outage()
			o.down(t)
			o.revoke(t, o.cached, o.token).refused(t, 503, "temporarily_unavailable")
			o.revoke(t, o.unknown, o.token).refused(t, 503, "temporarily_unavailable")
		}},
		{"REV-08", func(t *testing.T, s *suite) { revHint(t, s, "nonsense") }},
		{"REV-09", func(t *testing.T, s *suite) { revHint(t, s, "refresh_token") }},
		{"REV-10", func(t *testing.T, s *suite) { // there is no kind of token that could not be revoked
			d := s.dev()
			c := d.client(t)
			for _, hint := range []string{"refresh_token", "access_token", "id_token", ""} {
				d.revoke(t, c, "a refresh token of somebody else's", "token_type_hint", hint).revoked(t)
			}
		}},
		{"REV-11", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.keyedClient(t)
			proof := c.assertion(t, d.Issuer)
			token := d.granted(t, d.requestToken(t, nil, proof...)).text
			d.post(t, pathRevoke, grant(append(proof, "token", token)...)).unauthorized(t)
			d.post(t, pathRevoke, grant(append(c.assertion(t, d.Issuer, inTime("exp", -time.Second)), "token", token)...)).unauthorized(t)
			d.post(t, pathIntrospect, grant(append(c.assertion(t, d.Issuer), "token", token)...)).active(t)
			d.post(t, pathRevoke, grant(append(c.assertion(t, d.Issuer), "token", token)...)).revoked(t)
			d.post(t, pathIntrospect, grant(append(c.assertion(t, d.Issuer), "token", token)...)).inactive(t)
		}},
		{"REV-12", revMalleable},
		{"REV-13", revOffline},
		{"REV-14", revKept},
		{"REV-15", revCascade},
		{"REV-16", func(t *testing.T, s *suite) { // API tokens come with a later issue: until then one is an unknown token
			d := s.dev()
			d.revoke(t, d.client(t), "signet_at_"+d.client(t).secret[len("signet_cs_"):]).revoked(t)
		}},
	}
}

func revHint(t *testing.T, s *suite, hint string) {
	t.Helper()
	d := s.dev()
	c := d.client(t)
	token := d.issue(t, c).text
	d.introspect(t, c, token).active(t)
	d.revoke(t, c, token, "token_type_hint", hint).revoked(t)
	d.introspect(t, c, token).inactive(t)
}

// revEverywhere revokes on one replica and asks the other the moment the answer is there: no interval to wait for.
func revEverywhere(t *testing.T, s *suite) {
	for _, servers := range [][]*server{{s.dev(), s.dev()}, s.pair()} {
		c, watcher := servers[0].client(t), servers[0].introspector(t)
		for range 5 {
			token := servers[0].issue(t, c).text
			servers[1].introspect(t, watcher, token).active(t)
			servers[0].revoke(t, c, token).revoked(t)
			servers[1].introspect(t, watcher, token).inactive(t)
			servers[1].introspect(t, c, token).inactive(t)
			servers[0].introspect(t, watcher, token).inactive(t)
		}
	}
}

// revMalleable makes other spellings of one token: ECDSA signatures come in pairs, s and n-s, and the last character of a
// base64url text has bits that mean nothing. A denylist by text or hash would let them pass.
func revMalleable(t *testing.T, s *suite) {
	d := s.dev()
	c, watcher := d.client(t), d.introspector(t)
	token := d.issue(t, c).text
	parts := strings.Split(token, ".")
	signature := decoded(t, token, 2)
	half := new(big.Int).SetBytes(signature[32:])
	twin := append(append([]byte{}, signature[:32]...), new(big.Int).Sub(elliptic.P256().Params().N, half).FillBytes(make([]byte, 32))...)
	twinned := parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(twin)

	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	respell := func(segment int) string {
		out := append([]string{}, parts...)
		last := len(out[segment]) - 1
		out[segment] = out[segment][:last] + string(alphabet[strings.IndexByte(alphabet, out[segment][last])|1])
		return strings.Join(out, ".")
	}
	respelled := respell(2) // 64 bytes are 86 characters: the last one has four spare bits
	if respelled == token {
		t.Fatal("the signature's last character is not canonical")
	}
	d.introspect(t, watcher, respelled).inactive(t)
	d.introspect(t, watcher, token+"=").inactive(t)
	d.introspect(t, watcher, token).active(t)
	d.revoke(t, c, twinned).revoked(t) // a twin names the same token
	for _, text := range []string{token, twinned, respelled} {
		d.introspect(t, watcher, text).inactive(t)
	}
	again := d.issue(t, c).text
	d.revoke(t, c, again).revoked(t)
	d.introspect(t, watcher, again).inactive(t)
}

// revOffline is the bound of today for verifiers that only have the JWKS: the token's own life, which its client can ask to
// be short.
func revOffline(t *testing.T, s *suite) {
	d := s.dev()
	c := d.client(t)
	token := d.issue(t, c, "expires_in", "1")
	d.revoke(t, c, token.text).revoked(t)
	if life := token.number("exp") - token.number("iat"); life != 1 {
		t.Errorf("a life of %d s, want the one that was asked for", life)
	}
	keys := d.published(t)
	exp := time.Unix(token.number("exp"), 0)
	for at, want := range map[time.Time]error{exp.Add(-1): nil, exp: jwt.ErrTokenExpired} {
		_, err := jwt.Parse(token.text, func(parsed *jwt.Token) (any, error) {
			kid, _ := parsed.Header["kid"].(string)
			return keys.Key(kid)[0].Key, nil
		}, jwt.WithValidMethods([]string{"ES256"}), jwt.WithTimeFunc(func() time.Time { return at }))
		if !errors.Is(err, want) {
			t.Errorf("a verifier without leeway at %s of exp: %v, want %v", at.Sub(exp), err, want)
		}
	}
}

// revKept looks at the record of a revocation: it must outlive the token.
func revKept(t *testing.T, s *suite) {
	d := s.dev()
	c := d.client(t)
	token := d.issue(t, c)
	d.revoke(t, c, token.text).revoked(t)
	all, err := d.admin.Revocations(t.Context(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if r.JTI != token.claim("jti") {
			continue
		}
		if exp := time.Unix(token.number("exp"), 0); r.ExpiresAt.Before(exp) {
			t.Errorf("kept until %s, the token lives until %s", r.ExpiresAt, exp)
		}
		return
	}
	t.Error("the revocation is not listed")
}

// revCascade takes back all tokens of a client at once, in each way that there is, and asks the other replica.
func revCascade(t *testing.T, s *suite) {
	a, b := s.pair()[0], s.pair()[1]
	watcher := a.introspector(t)
	for name, act := range map[string]func(c client) error{
		"disable": func(c client) error { _, err := a.admin.DisableClient(t.Context(), c.id, ""); return err },
		"delete":  func(c client) error { return a.admin.DeleteClient(t.Context(), c.id) },
		"cut-off": func(c client) error {
			_, err := a.admin.CutOff(t.Context(), adminapi.NewCutOff{Client: c.id})
			return err
		},
		"rotate at once": func(c client) error {
			_, err := a.admin.RotateSecret(t.Context(), c.id, adminapi.Rotate{Now: true})
			return err
		},
		"scope taken": func(c client) error {
			less := a.grants("orders:read")
			_, err := a.admin.UpdateClient(t.Context(), c.id, adminapi.ClientChange{Grants: &less})
			return err
		},
	} {
		c := a.client(t)
		first, second := a.issue(t, c).text, b.issue(t, c, "scope", "orders:read").text
		b.introspect(t, watcher, first).active(t)
		if err := act(c); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, text := range []string{first, second} {
			for _, replica := range []*server{b, a} {
				if got := replica.introspect(t, watcher, text); got.json["active"] != false {
					t.Errorf("%s: %s", name, got.body)
				}
			}
		}
	}
}
