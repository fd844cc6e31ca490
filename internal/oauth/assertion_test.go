package oauth_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/oauth"
)

func TestAssertionAccepts(t *testing.T) {
	t.Parallel()
	b := withKeys(t)
	now := time.Now()
	rs := signer{private: testRSA(), method: jwt.SigningMethodRS256, kid: "rsa"}
	ps := signer{private: testRSA(), method: jwt.SigningMethodPS256, kid: "rsa"}
	ed := signer{private: testEdKey(), method: jwt.SigningMethodEdDSA, kid: "ed"}
	ed9864 := signer{private: testEdKey(), method: jwt.SigningMethodEdDSA, kid: "ed", alg: "Ed25519"}
	for name, r := range map[string]request{
		"PKJ-01":                      asserting(ecSigner().sign(t, change(), nil)),
		"PKJ-03 aud in an array":      asserting(ecSigner().sign(t, change("aud", []string{issuer}), nil)),
		"PKJ-06 no typ":               asserting(ecSigner().sign(t, change(), map[string]any{"typ": nil})),
		"PKJ-06 typ JWT":              asserting(ecSigner().sign(t, change(), map[string]any{"typ": "JWT"})),
		"PKJ-06 typ application":      asserting(ecSigner().sign(t, change(), map[string]any{"typ": "application/Client-Authentication+jwt"})),
		"PKJ-09 with client_id":       asserting(ecSigner().sign(t, change(), nil), "client_id", keyID),
		"PKJ-12 iat and nbf ahead":    asserting(ecSigner().sign(t, change("iat", now.Unix()+5, "nbf", now.Unix()+5), nil)),
		"PKJ-24 no kid":               asserting(ecSigner().sign(t, change(), map[string]any{"kid": nil})),
		"RS256":                       asserting(rs.sign(t, change(), nil)),
		"PS256":                       asserting(ps.sign(t, change(), nil)),
		"PKJ-30 EdDSA":                asserting(ed.sign(t, change(), nil)),
		"PKJ-30 Ed25519":              asserting(ed9864.sign(t, change(), nil)),
		"exp with a fraction":         asserting(ecSigner().sign(t, change("exp", float64(now.Unix())+60.5), nil)),
		"other claims and parameters": asserting(ecSigner().sign(t, change("foo", map[string]any{"a": 1}), map[string]any{"x5t": "abc"})),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if a := b.send(t, r); a.status != http.StatusOK {
				t.Errorf("got %d %s (%v)", a.status, a.body, a.err)
			}
		})
	}
}

func TestAssertionRefuses(t *testing.T) {
	t.Parallel()
	b := withKeys(t)
	ec, now := ecSigner(), time.Now().Unix()
	good := ec.sign(t, change(), nil)
	parts := strings.Split(good, ".")
	stranger := signer{private: testEC2(), method: jwt.SigningMethodES256, kid: "ec"}
	p384 := signer{private: testP384(), method: jwt.SigningMethodES384, kid: "ec", alg: "ES256"}
	head := func(name string, value any) string { return ec.sign(t, change(), map[string]any{name: value}) }
	claim := func(pairs ...any) string { return ec.sign(t, change(pairs...), nil) }
	der, err := x509.MarshalPKIXPublicKey(testEC().Public())
	if err != nil {
		t.Fatal(err)
	}
	other := "A" // than the first character of the signature
	if strings.HasPrefix(parts[2], other) {
		other = "B"
	}
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."
	hmacked := func(secret []byte) string {
		token := jwt.NewWithClaims(jwt.SigningMethodHS256, change())
		token.Header["kid"] = "ec"
		text, err := token.SignedString(secret)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	deep := base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("[", 11_000)))
	tests := map[string]struct {
		assertion string
		reason    oauth.Reason
	}{
		"PKJ-02 token endpoint as aud":  {claim("aud", issuer+"/oauth2/token"), oauth.ReasonAssertionClaims},
		"PKJ-04 two audiences":          {claim("aud", []string{issuer, "https://other"}), oauth.ReasonAssertionClaims},
		"PKJ-04 issuer twice":           {claim("aud", []string{issuer, issuer}), oauth.ReasonAssertionClaims},
		"PKJ-05 slash":                  {claim("aud", issuer+"/"), oauth.ReasonAssertionClaims},
		"PKJ-05 case":                   {claim("aud", "https://AS.test"), oauth.ReasonAssertionClaims},
		"PKJ-05 port":                   {claim("aud", issuer+":443"), oauth.ReasonAssertionClaims},
		"aud empty array":               {claim("aud", []string{}), oauth.ReasonAssertionClaims},
		"aud nested":                    {claim("aud", [][]string{{issuer}}), oauth.ReasonAssertionClaims},
		"aud object":                    {claim("aud", map[string]any{}), oauth.ReasonAssertionClaims},
		"J5 no aud":                     {claim("aud", nil), oauth.ReasonAssertionClaims},
		"PKJ-06 at+jwt":                 {head("typ", "at+jwt"), oauth.ReasonAssertionForm},
		"PKJ-06 dpop+jwt":               {head("typ", "dpop+jwt"), oauth.ReasonAssertionForm},
		"typ is a number":               {head("typ", 1), oauth.ReasonAssertionForm},
		"PKJ-07 iss differs":            {claim("iss", otherID), oauth.ReasonAssertionClaims},
		"PKJ-07 no iss":                 {claim("iss", nil), oauth.ReasonAssertionClaims},
		"PKJ-07 no sub":                 {claim("sub", nil), oauth.ReasonAssertionClaims},
		"PKJ-07 neither":                {claim("sub", nil, "iss", nil), oauth.ReasonAssertionClaims},
		"sub is an array":               {claim("sub", []string{keyID}, "iss", []string{keyID}), oauth.ReasonAssertionClaims},
		"PKJ-10 no exp":                 {claim("exp", nil), oauth.ReasonAssertionClaims},
		"PKJ-10 expired":                {claim("exp", now-1), oauth.ReasonAssertionClaims},
		"PKJ-10 exp is a string":        {claim("exp", "9999999999"), oauth.ReasonAssertionClaims},
		"PKJ-11 exp far ahead":          {claim("exp", now+3600), oauth.ReasonAssertionClaims},
		"exp at the end of time":        {claim("exp", 1e300), oauth.ReasonAssertionClaims},
		"EXP is not exp":                {claim("exp", nil, "EXP", now+60), oauth.ReasonAssertionClaims},
		"PKJ-13 nbf ahead":              {claim("nbf", now+600), oauth.ReasonAssertionClaims},
		"nbf is a string":               {claim("nbf", "0"), oauth.ReasonAssertionClaims},
		"PKJ-14 iat long ago":           {claim("iat", now-3600), oauth.ReasonAssertionClaims},
		"iat ahead":                     {claim("iat", now+120), oauth.ReasonAssertionClaims},
		"J5 no iat":                     {claim("iat", nil), oauth.ReasonAssertionClaims},
		"PKJ-15 no jti":                 {claim("jti", nil), oauth.ReasonAssertionClaims},
		"PKJ-15 empty jti":              {claim("jti", ""), oauth.ReasonAssertionClaims},
		"jti is a number":               {claim("jti", 7), oauth.ReasonAssertionClaims},
		"PKJ-21 payload tampered":       {parts[0] + "." + base64.RawURLEncoding.EncodeToString(mustJSON(t, change())) + "." + parts[2], oauth.ReasonAssertionSig},
		"PKJ-21 signature tampered":     {parts[0] + "." + parts[1] + "." + other + parts[2][1:], oauth.ReasonAssertionSig},
		"PKJ-21 another key":            {stranger.sign(t, change(), nil), oauth.ReasonAssertionSig},
		"another key without kid":       {stranger.sign(t, change(), map[string]any{"kid": nil}), oauth.ReasonAssertionSig},
		"A14 zero signature":            {parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)), oauth.ReasonAssertionSig},
		"no signature":                  {parts[0] + "." + parts[1] + ".", oauth.ReasonAssertionSig},
		"PKJ-22 none":                   {unsigned, oauth.ReasonAssertionAlg},
		"PKJ-22 HS256 with the key":     {hmacked(der), oauth.ReasonAssertionAlg},
		"A9 HS256 with nothing":         {hmacked(nil), oauth.ReasonAssertionAlg},
		"PKJ-22 ES256 with P-384":       {p384.sign(t, change(), nil), oauth.ReasonAssertionSig},
		"A3 alg of another kty":         {head("alg", "RS256"), oauth.ReasonAssertionKey},
		"PKJ-22 lower case":             {head("alg", "es256"), oauth.ReasonAssertionAlg},
		"A9 no alg":                     {head("alg", nil), oauth.ReasonAssertionAlg},
		"A9 alg is an array":            {head("alg", []string{"ES256"}), oauth.ReasonAssertionAlg},
		"ES384":                         {head("alg", "ES384"), oauth.ReasonAssertionAlg},
		"PKJ-24 unknown kid":            {head("kid", "nobody"), oauth.ReasonAssertionKey},
		"B8 kid is a path":              {head("kid", "../../dev/null"), oauth.ReasonAssertionKey},
		"B8 kid is an array":            {head("kid", []string{"ec"}), oauth.ReasonAssertionForm},
		"PKJ-25 crit":                   {head("crit", []string{"x"}), oauth.ReasonAssertionForm},
		"A11 empty crit":                {head("crit", []string{}), oauth.ReasonAssertionForm},
		"A11 b64":                       {head("b64", false), oauth.ReasonAssertionForm},
		"H7 zip":                        {head("zip", "DEF"), oauth.ReasonAssertionForm},
		"B1 jwk":                        {stranger.sign(t, change(), map[string]any{"jwk": map[string]any{"kty": "EC"}}), oauth.ReasonAssertionForm},
		"B1 jku":                        {head("jku", "http://127.0.0.1:1/"), oauth.ReasonAssertionForm},
		"B1 x5u":                        {head("x5u", "http://127.0.0.1:1/"), oauth.ReasonAssertionForm},
		"B1 x5c":                        {head("x5c", []string{"MII"}), oauth.ReasonAssertionForm},
		"GEN-09 nested":                 {parts[0] + "." + deep + "." + parts[2], oauth.ReasonAssertionForm},
		"GEN-10 dots":                   {strings.Repeat(".", 16_000), oauth.ReasonAssertionForm},
		"H9 too long":                   {good + strings.Repeat("A", 16<<10), oauth.ReasonAssertionForm},
		"H10 one segment":               {"abc", oauth.ReasonAssertionForm},
		"H5 five segments":              {"a.b.c.d.e", oauth.ReasonAssertionForm},
		"A1 JSON serialisation":         {`{"payload":"e30","signatures":[{"protected":"e30","signature":""}]}`, oauth.ReasonAssertionForm},
		"padding":                       {good + "=", oauth.ReasonAssertionForm},
		"line end":                      {good + "\n", oauth.ReasonAssertionForm},
		"line end inside":               {good[:20] + "\r\n" + good[20:], oauth.ReasonAssertionForm},
		"header is not an object":       {"bnVsbA." + parts[1] + "." + parts[2], oauth.ReasonAssertionAlg},
		"header is a list":              {"W10." + parts[1] + "." + parts[2], oauth.ReasonAssertionForm},
		"claims are null":               {parts[0] + ".bnVsbA." + parts[2], oauth.ReasonAssertionClaims},
		"unknown client":                {ec.sign(t, goodClaims(unknownID), nil), oauth.ReasonClientUnknown},
		"client of another method":      {ec.sign(t, goodClaims(basicID), nil), oauth.ReasonAuthMethod},
		"our own access token":          {b.issue(t, basicID), oauth.ReasonAssertionForm},
		"RFC 7515 non-canonical base64": {nonCanonical(good), oauth.ReasonAssertionForm},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantError(t, b.send(t, asserting(test.assertion)), 401, "invalid_client", test.reason)
		})
	}
	t.Run("PKJ-08 client_id differs", func(t *testing.T) {
		t.Parallel()
		wantError(t, b.send(t, asserting(claim(), "client_id", otherID)), 401, "invalid_client", oauth.ReasonClientIDDiffers)
	})
}

// nonCanonical spells the signature with other bits that its last character does not need.
func nonCanonical(text string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, text[len(text)-1])
	return text[:len(text)-1] + string(alphabet[last+1])
}

func mustJSON(tb testing.TB, v any) []byte {
	tb.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// exp is without leeway, to the second (PKJ-10).
func TestAssertionExpiryIsExact(t *testing.T) {
	t.Parallel()
	ec := ecSigner()
	keys := allKeys(t)
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.add(&clients.Client{
			ID: keyID, AuthMethod: clients.PrivateKeyJWT, JWKS: keys, Grants: []clients.Grant{{API: ordersAPI, Scopes: []string{"orders:read"}}},
		})
		at := time.Now().Add(30 * time.Second).Unix()
		early, late := ec.sign(t, change("exp", at), nil), ec.sign(t, change("exp", at), nil)
		time.Sleep(time.Until(time.Unix(at, 0)) - time.Millisecond)
		if a := b.send(t, asserting(early)); a.status != 200 {
			t.Errorf("a millisecond before: %d %s", a.status, a.body)
		}
		time.Sleep(time.Millisecond)
		wantError(t, b.send(t, asserting(late)), 401, "invalid_client", oauth.ReasonAssertionClaims)
		// D6: the guard outlasts the assertion.
		for _, until := range b.assertions.used {
			if until.Before(time.Unix(at, 0).Add(30 * time.Second)) {
				t.Errorf("jti is forgotten at %s, exp is %s", until, time.Unix(at, 0))
			}
		}
	})
}

func TestAssertionReplay(t *testing.T) {
	t.Parallel()
	b := withKeys(t)
	ec := ecSigner()
	// PKJ-17: whichever endpoint sees it first, the others refuse.
	once := ec.sign(t, change(), nil)
	if a := b.send(t, asserting(once)); a.status != 200 {
		t.Fatalf("first: %d %s", a.status, a.body)
	}
	for _, path := range []string{tokenPath, revokePath, introspectPath} {
		r := asserting(once, "token", "x")
		r.path = path
		wantError(t, b.send(t, r), 401, "invalid_client", oauth.ReasonAssertionReplay) // PKJ-16, REV-11
	}
	if b.throttle.count() != 0 {
		t.Error("a replay of a right assertion counts as guessing")
	}
	// PKJ-20: what is refused for another reason does not use the jti up.
	claims := change()
	stranger := signer{private: testEC2(), method: jwt.SigningMethodES256, kid: "ec"}
	b.send(t, asserting(stranger.sign(t, claims, nil)))
	bad := maps.Clone(claims)
	bad["aud"] = "https://other"
	b.send(t, asserting(ec.sign(t, bad, nil)))
	if a := b.send(t, asserting(ec.sign(t, claims, nil))); a.status != 200 {
		t.Errorf("PKJ-20: %d %s", a.status, a.body)
	}
	// PKJ-19, D5: the jti of another client neither blocks nor frees.
	const second = "client_Key2Key2Key2Key2Key2"
	b.add(&clients.Client{ID: second, AuthMethod: clients.PrivateKeyJWT, JWKS: allKeys(t), Grants: b.registry.clients[keyID].Grants})
	other := goodClaims(second)
	other["jti"] = claims["jti"]
	if a := b.send(t, asserting(ec.sign(t, other, nil))); a.status != 200 {
		t.Errorf("PKJ-19: %d %s", a.status, a.body)
	}
	// PKJ-31: the store is down.
	b.assertions.down = errors.New("pq: connection refused")
	wantError(t, b.send(t, asserting(ec.sign(t, change(), nil))), 503, "temporarily_unavailable", oauth.ReasonUnavailable)
}

func TestAssertionRace(t *testing.T) {
	t.Parallel()
	b := withKeys(t)
	text := ecSigner().sign(t, change(), nil)
	var won atomic.Int32
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if b.send(t, asserting(text)).status == http.StatusOK {
				won.Add(1)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 { // PKJ-18
		t.Errorf("%d of 50 won", won.Load())
	}
}

// What concerns the client looks the same for all reasons; what concerns the assertion alone is told (USERS 16).
func TestAssertionTells(t *testing.T) {
	t.Parallel()
	b := withKeys(t)
	ec := ecSigner()
	disabled := "client_KeyDisabledDisable00"
	b.add(&clients.Client{ID: disabled, AuthMethod: clients.PrivateKeyJWT, JWKS: allKeys(t), Disabled: true})
	unknown := b.send(t, asserting(ec.sign(t, goodClaims(unknownID), nil)))
	for _, text := range []string{
		ec.sign(t, goodClaims(basicID), nil), ec.sign(t, goodClaims(disabled), nil), ec.sign(t, change(), map[string]any{"kid": "x"}),
	} {
		if a := b.send(t, asserting(text)); a.body != unknown.body {
			t.Errorf("%s: %s", a.err.Reason, a.body)
		}
	}
	a := b.send(t, asserting(ec.sign(t, change("aud", "https://other"), nil)))
	if !strings.Contains(a.err.Description, "'aud' must be "+issuer) || a.err.ClientID != "" {
		t.Errorf("told %q of %q", a.err.Description, a.err.ClientID)
	}
}

// B7: a key that was taken out of the registered set counts no more, though the set was parsed before. B4: the same kid of
// another client is another key.
func TestAssertionKeysFollowTheRecord(t *testing.T) {
	t.Parallel()
	b := withKeys(t)
	ec := ecSigner()
	if a := b.send(t, asserting(ec.sign(t, change(), nil))); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	changed := *b.registry.clients[keyID]
	changed.JWKS = jwks(t, jose.JSONWebKey{Key: testEC2().Public(), KeyID: "ec"})
	b.registry.set(&changed)
	wantError(t, b.send(t, asserting(ec.sign(t, change(), nil))), 401, "invalid_client", oauth.ReasonAssertionSig)

	const second = "client_Key2Key2Key2Key2Key2"
	b.add(&clients.Client{ID: second, AuthMethod: clients.PrivateKeyJWT, JWKS: allKeys(t), Grants: changed.Grants})
	wantError(t, b.send(t, asserting(signer{private: testEC2(), method: jwt.SigningMethodES256, kid: "ec"}.sign(t, goodClaims(second), nil))),
		401, "invalid_client", oauth.ReasonAssertionSig)
	// B3: no key at all.
	broken := *b.registry.clients[keyID]
	broken.JWKS = nil
	b.registry.set(&broken)
	wantError(t, b.send(t, asserting(ec.sign(t, change(), nil))), 401, "invalid_client", oauth.ReasonJWKSUnavailable)
}
