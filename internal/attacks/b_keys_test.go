package attacks

import (
	"crypto/ecdh"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func keyRows() []row {
	return []row{
		{"B1", embeddedKeys},
		{"B2", embeddedKeys},
		{"B3", embeddedKeyOfKeyless},
		{"B4", sameKIDTwice},
		{"B5", answersOfOthers},
		{"B7", removedKeys},
		{"B8", strangeKIDs},
		{"B9", strangeClientKeys},
		{"B10", invalidPoints},
		{"B11", otherIssuer},
	}
}

// B1, B2: a key that comes with the JWT, or an address of one, is the attacker's.
func embeddedKeys(a *attempt) {
	mine := newES256(a, "k")
	m, attacker := a.machine(mine), newES256(a, "k")
	trap := a.ca.listen(a.T, "127.0.0.2", publishing(attacker.jwk())) // where the server may go: it must not want to
	for _, members := range []object{
		{"jwk": attacker.jwk()},
		{"jku": trap.URL},
		{"x5u": trap.URL},
		{"x5c": []string{"MIIB"}},
		{"jwk": attacker.jwk(), "jku": trap.URL},
		{"jwk": text(attacker.jwk())},
		{"jku": strings.Replace(trap.URL, "https", "http", 1)},
		{"x5t": "AAAA"},
		{"JWK": attacker.jwk()},
	} {
		what := text(members)
		a.wantDenied(what, attacker.jwt(m.header().with(members), m.claims()))
		header, claims := a.perfect()
		a.wantInactive(what, attacker.jwt(header.with(members), claims))
		a.wantInactive(what+" and the right signature", a.forge.jwt(header.with(members), claims))
	}
	if n := trap.hits.Load(); n != 0 {
		a.Errorf("the server went to the address in the header %d times", n)
	}
	a.wantForgeryWorks()
}

// B3: no registered key is no reason to take another.
func embeddedKeyOfKeyless(a *attempt) {
	attacker := newES256(a, "k")
	for uri, h := range map[string]http.HandlerFunc{
		"nothing there": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"an empty set":  publishing(),
	} {
		site := a.ca.listen(a.T, "127.0.0.2", h)
		m := a.machine(attacker, func(n *adminapi.NewClient) { n.JWKS, n.JWKSURI = nil, site.URL })
		a.wantDenied(uri, attacker.jwt(m.header().with(object{"jwk": attacker.jwk()}), m.claims()))
		a.wantDenied(uri+", no kid", attacker.jwt(m.header().with(object{"kid": nil}), m.claims()))
	}
	_, err := a.admin.CreateClient(a.Context(), adminapi.NewClient{Name: "keyless", AuthMethod: "private_key_jwt", Grants: grant(ordersAPI, "read")})
	a.wantProblem("a client without keys", err, 422)
}

// B4: a kid names a key of one client only.
func sameKIDTwice(a *attempt) {
	one, two := a.machine(newES256(a, "same")), a.machine(newES256(a, "same"))
	for range 2 { // the second time both are remembered
		a.wantAccepted("one", one.assertion(nil))
		a.wantAccepted("two", two.assertion(nil))
		a.wantDenied("key of one for two", one.key.jwt(one.header(), two.claims()))
		a.wantDenied("key of two for one", two.key.jwt(two.header(), one.claims()))
	}
}

// B5: what one caller may know, or could know a moment ago, is no answer to another.
func answersOfOthers(a *attempt) {
	stranger, other := a.client(), a.client(func(n *adminapi.NewClient) { n.Grants, n.Introspects = nil, []string{jobsAPI} })
	token := a.issue(a.good)
	for range 3 {
		if !a.active(a.watch, token) || !a.active(a.good, token) {
			a.Error("the token is not active for those who may know")
		}
		if a.active(stranger, token) || a.active(other, token) {
			a.Error("the token is active for a stranger")
		}
	}
	a.revoke(a.good, token)
	if a.active(a.watch, token) || a.active(a.good, token) {
		a.Error("the answer from before the revocation was given again")
	}
}

// B7: a key that is taken away is gone at the next request, on both sides.
func removedKeys(a *attempt) {
	old, next := newES256(a, "old"), newES256(a, "new")
	m := a.machine(old)
	a.wantAccepted("the old key", m.assertion(nil))
	set := jwks(next.jwk())
	if _, err := a.admin.UpdateClient(a.Context(), m.id, adminapi.ClientChange{JWKS: &set}); err != nil {
		a.Fatal(err)
	}
	a.wantDenied("the old key, removed", m.assertion(nil))
	m.key = next
	a.wantAccepted("the new key", m.assertion(nil))

	c := a.client(func(n *adminapi.NewClient) { n.Grants = grant(edAPI, "read") })
	token := a.issue(c)
	header, _, _ := parts(token)
	var h struct{ KID string }
	if err := json.Unmarshal(unb64(a, header), &h); err != nil {
		a.Fatal(err)
	}
	if !a.active(c, token) {
		a.Error("control: the token is not active")
	}
	if _, err := a.admin.RevokeKey(a.Context(), h.KID, "compromised"); err != nil {
		a.Fatal(err)
	}
	a.wantInactive("signed by a compromised key", token)
	if r := a.send(request{method: http.MethodGet, path: "/.well-known/jwks.json"}); strings.Contains(string(r.body), h.KID) {
		a.Error("the compromised key is still published")
	}
	if !a.active(c, a.issue(c)) {
		a.Error("the standby does not sign")
	}
}

// B8: a kid is looked up in memory, and is no path, no SQL and no pattern.
func strangeKIDs(a *attempt) {
	m := a.machine(newES256(a, "k"))
	for _, kid := range []any{
		"../../../../dev/null", "/dev/null", "' OR 1=1--", "k' --", `k"`, "k\x00", "k ", " k", "K", "", "%6b", "k%00", "*", "k*", "ⓚ", "k\u200b",
		"$(id)", "{{k}}", "k\r\nX: y", strings.Repeat("k", 10_000),
		[]string{"k"},
		object{"kid": "k"},
		1, true, nil,
	} {
		if kid != nil { // none is allowed for assertions
			a.wantDenied(text(kid), m.key.jwt(m.header().with(object{"kid": kid}), m.claims()))
		}
		a.wantInactive(text(kid), a.forged(object{"kid": kid}, nil))
	}
	huge := m.key.jwt(m.header().with(object{"kid": strings.Repeat("k", 1<<20)}), m.claims())
	a.want("1 MiB", a.present(huge), 413, "invalid_request")
	if strings.Contains(a.news(), "OR 1=1") {
		a.Error("the kid is in the log")
	}
}

// B9: keys that crashed parsers, or that anybody can sign for, cannot be registered; published at a jwks_uri they are as good
// as absent.
func strangeClientKeys(a *attempt) {
	good := newES256(a, "k").jwk()
	rsa := newRS256(a, "r").jwk()
	even := append([]byte{}, unb64(a, rsa.modulus())...)
	even[len(even)-1] &^= 1
	sets := map[string]json.RawMessage{
		"no JSON": json.RawMessage(`"x"`), "array": json.RawMessage(`[]`), "no keys": jwks(), "null": json.RawMessage(`{"keys":null}`),
		"keys no array": json.RawMessage(`{"keys":{}}`), "null key": json.RawMessage(`{"keys":[null]}`),
		"same kid twice": jwks(good, newES256(a, "k").jwk()),
	}
	for what, members := range map[string]object{
		"P-521":           {"kty": "EC", "crv": "P-521", "x": b64(make([]byte, 66)), "y": b64(make([]byte, 66))},
		"P-384":           {"crv": "P-384"},
		"X25519":          {"kty": "OKP", "crv": "X25519", "y": nil},
		"oct":             {"kty": "oct", "k": b64("secretsecretsecretsecretsecretse")},
		"private":         {"d": b64(make([]byte, 32))},
		"no x":            {"x": nil},
		"no y":            {"y": nil},
		"x too short":     {"x": b64("x")},
		"x not base64":    {"x": "!!"},
		"x a number":      {"x": 1},
		"kty unknown":     {"kty": "AKP"},
		"kty missing":     {"kty": nil},
		"kty null":        {"kty": []any{nil}},
		"crv missing":     {"crv": nil},
		"for encryption":  {"use": "enc"},
		"only to sign":    {"key_ops": []string{"sign"}},
		"alg of others":   {"alg": "RS256"},
		"alg none":        {"alg": "none"},
		"alg HS256":       {"alg": "HS256"},
		"kid too long":    {"kid": strings.Repeat("k", 300)},
		"kid a number":    {"kid": 1},
		"RSA without n":   {"kty": "RSA", "e": "AQAB"},
		"RSA without e":   {"kty": "RSA", "n": rsa["n"]},
		"RSA e=1":         {"kty": "RSA", "n": rsa["n"], "e": "AQ"},
		"RSA e=0":         {"kty": "RSA", "n": rsa["n"], "e": "AA"},
		"RSA even e":      {"kty": "RSA", "n": rsa["n"], "e": "Ag"},
		"RSA even n":      {"kty": "RSA", "n": b64(even), "e": "AQAB"},
		"RSA n=0":         {"kty": "RSA", "n": "AA", "e": "AQAB"},
		"RSA 1024 bits":   {"kty": "RSA", "n": b64(unb64(a, rsa.modulus())[:128]), "e": "AQAB"},
		"RSA 16384 bits":  {"kty": "RSA", "n": b64(oddNumber(16384 / 8)), "e": "AQAB"},
		"Ed25519 short":   {"kty": "OKP", "crv": "Ed25519", "x": b64(make([]byte, 31)), "y": nil},
		"Ed25519 long":    {"kty": "OKP", "crv": "Ed25519", "x": b64(make([]byte, 33)), "y": nil},
		"Ed25519 without": {"kty": "OKP", "crv": "Ed25519", "x": nil, "y": nil},
	} {
		sets[what] = jwks(good.with(members))
	}
	for what, set := range sets {
		_, err := a.admin.CreateClient(a.Context(), adminapi.NewClient{
			Name: "strange " + what, AuthMethod: "private_key_jwt", JWKS: set, Grants: grant(ordersAPI, "read"),
		})
		a.wantProblem(what, err, 422, 400)
	}
	set := make([]byte, 0, 1<<16)
	site := a.ca.listen(a.T, "127.0.0.2", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) })
	for what, bad := range sets {
		if what == "same kid twice" || what == "alg of others" { // the other one may be right
			continue
		}
		set = bad
		m := a.machine(newES256(a, "k"), func(n *adminapi.NewClient) { n.JWKS, n.JWKSURI = nil, site.URL })
		a.wantDenied("published: "+what, m.assertion(nil))
	}
	if site.hits.Load() == 0 {
		a.Error("control: nothing was fetched")
	}
}

func oddNumber(n int) []byte {
	out := make([]byte, n)
	_, _ = rand.Read(out)
	out[0] |= 0x80
	out[n-1] |= 1
	return out
}

// B10: a point that is not on the curve is no key, and nothing is ever decrypted.
func invalidPoints(a *attempt) {
	good := newES256(a, "k").jwk()
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		a.Fatal(err)
	}
	p := elliptic.P256().Params().P.Bytes()
	for what, members := range map[string]object{
		"not on the curve": {"x": b64(oddNumber(32)), "y": b64(oddNumber(32))},
		"infinity":         {"x": b64(make([]byte, 32)), "y": b64(make([]byte, 32))},
		"beyond the field": {"x": b64(p), "y": b64(p)},
		"X25519":           {"kty": "OKP", "crv": "X25519", "x": b64(x25519.PublicKey().Bytes()), "y": nil},
		"encryption":       {"use": "enc"},
		"ECDH-ES":          {"alg": "ECDH-ES"},
		"RSA-OAEP":         {"alg": "RSA-OAEP"},
	} {
		_, err := a.admin.CreateClient(a.Context(), adminapi.NewClient{
			Name: "point " + what, AuthMethod: "private_key_jwt", JWKS: jwks(good.with(members)), Grants: grant(ordersAPI, "read"),
		})
		a.wantProblem(what, err, 422)
	}
	jwe := b64(`{"alg":"ECDH-ES","enc":"A128GCM","epk":`+text(good)+`}`) + ".." + b64("iv") + "." + b64("text") + "." + b64("tag")
	a.wantDenied("JWE", jwe)
	a.wantInactive("JWE", jwe)
}

// B11: there are no tenants; another issuer's token is nothing here, under whatever name and kid.
func otherIssuer(a *attempt) {
	other := a.dev(servertest.ShortDir(a))
	r, err := a.exchange(request{
		path: other.TokenEndpoint, form: servertest.Form("grant_type", "client_credentials"), basic: credentials{other.ClientID, other.ClientSecret},
	})
	token := r.text("access_token")
	if err != nil || token == "" {
		a.Fatalf("the other issuer gives no token: %d %s (%v)", r.status, r.body, err)
	}
	a.remember(token, other.ClientSecret)
	a.wantInactive("token of another issuer", token)
	a.want("client of another issuer", a.askToken(credentials{other.ClientID, other.ClientSecret}), 401, "invalid_client")
	a.wantInactive("iss of another issuer, our key", a.forged(nil, object{"iss": other.Issuer}))
	foreign := newES256(a, a.forge.kid)
	header, claims := a.perfect()
	a.wantInactive("our iss and kid, another key", foreign.jwt(header, claims))
	a.wantForgeryWorks()
}
