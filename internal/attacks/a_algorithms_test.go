package attacks

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"database/sql"
	"encoding/asn1"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/keys/keystest"
	"github.com/seed-1972b8eb/signet/internal/rootkeys"
	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
	"github.com/seed-1972b8eb/signet/internal/tokens"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func algorithmRows() []row {
	return []row{
		{"A1", jsonSerialisation},
		{"A2", func(a *attempt) { a.publicKeyAsSecret("") }},
		{"A3", otherAlgorithmThanRegistered},
		{"A4", unsignedAssertion},
		{"A5", noHMAC},
		{"A7", func(a *attempt) { a.publicKeyAsSecret("PEM") }},
		{"A8", func(a *attempt) { a.publicKeyAsSecret("PKCS1") }},
		{"A9", strangeAlgorithms},
		{"A10", func(a *attempt) { a.publicKeyAsSecret("PEM with") }},
		{"A11", criticalExtensions},
		{"A13", unprotectedHeader},
		{"A14", strangeECDSA},
		{"A15", emptySecrets},
		{"A16", bitFlips},
		{"A17", bitFlipsEverywhere},
	}
}

// A1: only the compact serialisation is a token or an assertion (go-jose took any).
func jsonSerialisation(a *attempt) {
	m := a.machine(newES256(a, "k"))
	for what, jws := range map[string]string{"token": a.issue(a.good), "assertion": m.assertion(nil)} {
		head, payload, signature := parts(jws)
		one := object{"protected": head, "signature": signature}
		for form, json := range map[string]string{
			"flattened":       text(one.with(object{"payload": payload})),
			"general":         text(object{"payload": payload, "signatures": []object{one}}),
			"two signatures":  text(object{"payload": payload, "signatures": []object{one, {"protected": b64(`{"alg":"none"}`), "signature": ""}}}),
			"no signature":    text(object{"payload": payload, "signatures": []object{}}),
			"compact in JSON": `"` + jws + `"`,
		} {
			if what == "token" {
				a.wantInactive(form, json)
				continue
			}
			a.wantDenied(form, json)
		}
	}
	a.wantAccepted("control", m.assertion(nil))
}

// publicForms are the ways to write down a public key that some library has taken for an HMAC secret.
func publicForms(public any, jwk string) map[string][]byte {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		panic(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	forms := map[string][]byte{
		"DER": der, "PEM": block, "JWK": []byte(jwk), "empty": nil,
		"PEM without last newline": block[:len(block)-1], "PEM with leading space": append([]byte(" \n"), block...),
		"PEM with a comment": append([]byte("# key\n"), block...), "PEM with CRLF": []byte(strings.ReplaceAll(string(block), "\n", "\r\n")),
	}
	ssh := func(fields ...[]byte) []byte {
		var wire []byte
		for _, field := range fields {
			wire = binary.BigEndian.AppendUint32(wire, uint32(len(field)))
			wire = append(wire, field...)
		}
		return wire
	}
	var wire []byte
	switch public := public.(type) {
	case *rsa.PublicKey:
		pkcs1 := x509.MarshalPKCS1PublicKey(public)
		forms["PKCS1 DER"] = pkcs1
		forms["PKCS1 PEM"] = pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: pkcs1})
		forms["modulus"] = public.N.Bytes()
		forms["modulus in hex"] = []byte(public.N.Text(16))
		wire = ssh([]byte("ssh-rsa"), big.NewInt(int64(public.E)).Bytes(), append([]byte{0}, public.N.Bytes()...))
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if err != nil {
			panic(err)
		}
		forms["point"], forms["x"] = point, point[1:33]
		wire = ssh([]byte("ecdsa-sha2-nistp256"), []byte("nistp256"), point)
	case ed25519.PublicKey:
		forms["raw"] = public
		wire = ssh([]byte("ssh-ed25519"), public)
	}
	forms["SSH"] = wire
	return forms
}

// publicKeyAsSecret: what everybody may know makes no signature. only narrows the forms to those whose name begins so.
func (a *attempt) publicKeyAsSecret(only string) {
	res := a.send(request{method: http.MethodGet, path: "/.well-known/jwks.json"})
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(res.body, &set); err != nil || len(set.Keys) < 3 {
		a.Fatalf("the JWKS has %d keys (%v)", len(set.Keys), err)
	}
	tried := 0
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON(raw); err != nil {
			a.Fatal(err)
		}
		for form, secret := range publicForms(key.Key, string(raw)) {
			if !strings.HasPrefix(form, only) {
				continue
			}
			tried++
			header, claims := a.perfect()
			token := hs256(secret, header.with(object{"alg": "HS256", "kid": key.KeyID}), claims)
			a.wantInactive(form, token)
			a.wantDenied(form, token)
			a.wantNoAdmin(form, token)
		}
	}
	if tried == 0 {
		a.Errorf("no form of a key is called %s", only)
	}
	a.wantForgeryWorks()
}

// wantNoAdmin checks that a bearer token opens nothing at the admin listener.
func (a *attempt) wantNoAdmin(what, token string) {
	a.Helper()
	r := a.send(request{
		method: http.MethodGet, path: a.AdminURL + "/admin/v1/clients", header: http.Header{"Authorization": {"Bearer " + token}}, early: true,
	})
	if r.status != http.StatusUnauthorized {
		a.Errorf("%s: the admin listener says %d %s", what, r.status, r.body)
	}
}

// A3: a key verifies only the algorithm that it is registered for.
func otherAlgorithmThanRegistered(a *attempt) {
	key := newRS256(a, "k")
	registered := key.jwk().with(object{"alg": "RS256"})
	m := a.machine(key, func(n *adminapi.NewClient) { n.JWKS = jwks(registered) })
	a.wantAccepted("control: RS256", m.assertion(nil))

	pss := signingKey{alg: "PS256", kid: "k", private: key.private}
	a.wantDenied("PS256", pss.jwt(m.header().with(object{"alg": "PS256"}), m.claims()))
	a.wantDenied("RS256 under the name of PS256", key.jwt(m.header().with(object{"alg": "PS256"}), m.claims()))
	a.wantDenied("ES256", newES256(a, "k").jwt(m.header().with(object{"alg": "ES256"}), m.claims()))
	a.wantDenied("none", b64(text(m.header().with(object{"alg": "none"})))+"."+b64(text(m.claims()))+".")
	for form, secret := range publicForms(key.private.Public(), text(registered)) {
		for _, alg := range []string{"HS256", "hs256", "RS256"} {
			a.wantDenied(alg+" "+form, hs256(secret, m.header().with(object{"alg": alg}), m.claims()))
		}
	}
}

// A4: an unsigned assertion opens no way to another method.
func unsignedAssertion(a *attempt) {
	m, other := a.machine(newES256(a, "k")), a.client()
	unsigned := b64(text(m.header().with(object{"alg": "none"}))) + "." + b64(text(m.claims())) + "."
	a.wantDenied("unsigned", unsigned)
	a.want("unsigned and a secret", a.present(unsigned, "client_id", m.id, "client_secret", other.secret), 400, "invalid_request")
	a.want("signed and a secret", a.present(m.assertion(nil), "client_secret", other.secret), 400, "invalid_request")
	a.want("a secret", a.askToken(credentials{m.id, other.secret}), 401, "invalid_client")
	_, err := a.admin.CreateSecret(a.Context(), m.id, adminapi.NewSecret{})
	a.wantProblem("a secret for it", err, 422)
}

// A9: an algorithm is one of a few exact words.
func strangeAlgorithms(a *attempt) {
	m := a.machine(newES256(a, "k"))
	for _, alg := range []any{
		nil, "", " ", "none", "None", "NONE", "nOnE", "es256", "ES256 ", "ES256\x00", "RS256", "EdDSA", "ES384", "ES256K", "HS256", "dir",
		[]string{"ES256"},
		object{"alg": "ES256"},
		256, true,
	} {
		what := fmt.Sprintf("alg %q", text(alg))
		a.wantDenied(what, m.key.jwt(m.header().with(object{"alg": alg}), m.claims()))
		a.wantInactive(what, a.forged(object{"alg": alg}, nil))
		a.wantDenied(what+", no signature", b64(text(m.header().with(object{"alg": alg})))+"."+b64(text(m.claims()))+".")
	}
	for _, header := range []string{`{"alg":"none","alg":"ES256","kid":"k"}`, `{"alg":"ES256","ALG":"none","kid":"k"}`, `{"ALG":"ES256","kid":"k"}`} {
		a.wantInactive(header, a.forge.jwt(strings.ReplaceAll(header, `"k"`, text(a.forge.kid)), a.second()))
	}
	a.wantDenied("no alg but ALG", m.key.jwt(`{"ALG":"ES256","kid":"k"}`, m.claims()))
	a.wantForgeryWorks()
}

// second is the claims of perfect.
func (a *attempt) second() object {
	_, claims := a.perfect()
	return claims
}

// A11: an extension that is not understood is refused (RFC 7515 §4.1.11), and none is understood here.
func criticalExtensions(a *attempt) {
	m := a.machine(newES256(a, "k"))
	for _, members := range []object{
		{"crit": []string{"x"}, "x": 1},
		{"crit": []string{}},
		{"crit": []string{"b64"}, "b64": false},
		{"crit": []string{"exp"}, "exp": 1},
		{"b64": false},
		{"crit": nil, "crit ": 1},
		{"crit": "x"},
		{"crit": []string{"alg"}},
		{"http://example.test/x": true, "crit": []string{"http://example.test/x"}},
	} {
		what := text(members)
		if _, has := members["crit "]; !has {
			a.wantDenied(what, m.key.jwt(m.header().with(members), m.claims()))
		}
		a.wantInactive(what, a.forged(members, nil))
	}
	twice := strings.Replace(text(m.header()), "{", `{"crit":["x"],"crit":[],`, 1)
	a.wantDenied("crit twice", m.key.jwt(twice, m.claims()))
	a.wantAccepted("control", m.assertion(nil))
	a.wantForgeryWorks()
}

// A13: what is not signed says nothing.
func unprotectedHeader(a *attempt) {
	m := a.machine(newES256(a, "k"))
	head, payload, signature := parts(m.assertion(nil))
	for _, unprotected := range []object{{"alg": "none"}, {"alg": "HS256"}, {"alg": "ES256", "kid": "k"}, {"jwk": m.key.jwk()}} {
		a.wantDenied(text(unprotected), text(object{"protected": head, "payload": payload, "signature": signature, "header": unprotected}))
		a.wantDenied(text(unprotected)+" alone", text(object{"payload": payload, "signature": signature, "header": unprotected}))
	}
}

// A14: the signatures that JDK, elliptic and others took for valid.
func strangeECDSA(a *attempt) {
	m := a.machine(newES256(a, "k"))
	order := elliptic.P256().Params().N
	zero, one, field := new(big.Int), big.NewInt(1), elliptic.P256().Params().P
	strange := map[string][]byte{"none": {}, "one byte": {0}, "64 times FF": []byte(strings.Repeat("\xff", 64))}
	for x, r := range map[string]*big.Int{"0": zero, "1": one, "n": order, "p": field, "n-1": new(big.Int).Sub(order, one)} {
		for y, s := range map[string]*big.Int{"0": zero, "1": one, "n": order, "p": field, "n-1": new(big.Int).Sub(order, one)} {
			strange["r="+x+" s="+y] = rawSignature(r, s)
		}
	}
	for what, signature := range strange {
		token := a.forged(nil, nil)
		a.wantInactive(what, token[:strings.LastIndex(token, ".")+1]+b64(signature))
		assertion := m.assertion(nil)
		a.wantDenied(what, assertion[:strings.LastIndex(assertion, ".")+1]+b64(signature))
	}
	for what, change := range map[string]func(r, s *big.Int) []byte{
		"DER": func(r, s *big.Int) []byte {
			der, _ := asn1.Marshal(struct{ R, S *big.Int }{r, s})
			return der
		},
		"r and s exchanged": func(r, s *big.Int) []byte { return rawSignature(s, r) },
		"63 bytes":          func(r, s *big.Int) []byte { return rawSignature(r, s)[:63] },
		"65 bytes":          func(r, s *big.Int) []byte { return append(rawSignature(r, s), 0) },
		"33 bytes each": func(r, s *big.Int) []byte {
			raw := rawSignature(r, s)
			return append(append([]byte{0}, raw[:32]...), append([]byte{0}, raw[32:]...)...)
		},
		"of nothing": func(_, _ *big.Int) []byte { return m.key.sign("") },
	} {
		for jws, refuse := range map[string]func(string, string){a.forged(nil, nil): a.wantInactive, m.assertion(nil): a.wantDenied} {
			cut := strings.LastIndex(jws, ".") + 1
			raw := unb64(a, jws[cut:])
			refuse(what, jws[:cut]+b64(change(new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:]))))
		}
	}
	a.wantAccepted("control", m.assertion(nil))
}

// A15: nothing is no secret, whatever the database says: what is on record is emptied behind the server's back.
func emptySecrets(a *attempt) {
	dir, address := servertest.ShortDir(a), a.address()
	first := a.dev(dir, "--listen", address)
	made, err := adminapi.NewUnix(first.AdminSocket).CreateClient(a.Context(), adminapi.NewClient{
		Name: "emptied", Grants: grant(first.API, first.Scopes[0]),
	})
	if err != nil {
		a.Fatal(err)
	}
	first.Kill()
	for _, digest := range []string{"", "v1:", "v1:" + strings.Repeat("A", 43)} {
		db, err := sql.Open("sqlite", filepath.Join(dir, "signet.db"))
		if err != nil {
			a.Fatal(err)
		}
		if _, err = db.ExecContext(a.Context(), "UPDATE client_secrets SET digest = ? WHERE client_id = ?", digest, made.ClientID); err != nil {
			a.Fatal(err)
		}
		_ = db.Close()
		again := a.dev(dir, "--listen", address)
		for _, secret := range []string{"", " ", "\x00", "signet_cs_", "null", made.ClientSecret} {
			r, err := a.exchange(request{
				path: again.TokenEndpoint, form: servertest.Form("grant_type", "client_credentials"), basic: credentials{made.ClientID, secret},
			})
			a.steps++
			if err != nil || r.status != 401 && r.status != 503 {
				a.Errorf("digest %q, secret %q: %d %s (%v)", digest, secret, r.status, r.body, err)
			}
		}
		again.Kill()
	}
}

// The driver that A15 edits the database with.
var _ = sqlstore.Config{}

// address is a free address of loopback, kept until the row ends.
func (a *attempt) address() string {
	a.Helper()
	port, err := daemon.ReservePort()
	if err != nil {
		a.Fatal(err)
	}
	a.Cleanup(port.Release)
	return port.Addr()
}

// A16: ten thousand changed bits in process, and some hundred on the wire.
func bitFlips(a *attempt) {
	ctx := context.WithoutCancel(a.Context())
	store, sealer := &keystest.Store{}, keys.NewSealer(a.Issuer, rootkeys.Generate())
	ring := keys.NewRing(store, sealer, keys.DefaultPlan())
	manager := keys.NewManager(keys.ManagerConfig{Store: store, Sealer: sealer, Plan: keys.DefaultPlan()})
	if err := manager.Ensure(ctx, audit.System(), apis.ES256); err != nil {
		a.Fatal(err)
	}
	if err := ring.Reload(ctx); err != nil {
		a.Fatal(err)
	}
	issuer, now := tokens.NewIssuer(a.Issuer, ring), time.Now()
	token, _, err := issuer.Issue(now, tokens.Claims{
		Subject: "client_x", ClientID: "client_x", Audience: ordersAPI, Scope: "read", ExpiresAt: now.Add(time.Minute), Generation: 1,
	}, apis.ES256, apis.TypAccessToken)
	if err != nil {
		a.Fatal(err)
	}
	for range 10_000 {
		if changed := flip(token, rand.IntN(8*len(token))); changed != token {
			if _, err := issuer.Parse(changed, now); err == nil {
				a.Fatalf("accepted: %s", changed)
			}
		}
	}
	m := a.machine(newES256(a, "k"))
	live, assertion := a.issue(a.good), m.assertion(nil)
	for range 100 {
		// Text that is no UTF-8 is no parameter at all.
		if r := a.introspect(a.watch, flip(live, rand.IntN(8*len(live)))); r.reason != "form_malformed" && !isInactive(r) {
			a.Errorf("bit flip: %d %s", r.status, r.body)
		}
		if r := a.present(flip(assertion, rand.IntN(8*len(assertion)))); r.status < 400 || r.status > 499 {
			a.Errorf("bit flip: %d %s", r.status, r.body)
		}
	}
	if !a.active(a.watch, live) {
		a.Error("control: the token itself is not active")
	}
	a.wantAccepted("control: the assertion itself", assertion)
}

// A17: no route takes a bearer token, right or wrong, for who presents it.
func bitFlipsEverywhere(a *attempt) {
	live := a.issue(a.good)
	for _, bearer := range []string{live, flip(live, 8*len(live)/2), a.forged(nil, object{"aud": "urn:signet:admin", "scope": "clients:write"}), "x"} {
		header := http.Header{"Authorization": {"Bearer " + bearer}}
		for _, path := range []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"} {
			r := a.send(request{path: path, form: servertest.Form("grant_type", "client_credentials", "token", live), header: header})
			a.want(path, r, 401, "invalid_client")
		}
		a.everyAdminRoute(header)
	}
	if !a.active(a.watch, live) {
		a.Error("the token was revoked by its bearer")
	}
}

// everyAdminRoute tries all that the admin API has, at the admin listener, and wants a challenge from each.
func (a *attempt) everyAdminRoute(header http.Header) {
	a.Helper()
	var doc struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	res := a.send(request{method: http.MethodGet, path: "http://signet.local/admin/openapi.json", instead: a.unix()})
	if err := json.Unmarshal(res.body, &doc); err != nil || len(doc.Paths) < 15 {
		a.Fatalf("the admin API has %d paths (%v)", len(doc.Paths), err)
	}
	for path, methods := range doc.Paths {
		for method := range methods {
			filled := strings.NewReplacer("{", "", "}", "").Replace(path)
			r := a.send(request{method: strings.ToUpper(method), path: a.AdminURL + filled, header: header, early: true})
			if r.status != http.StatusUnauthorized || r.header.Get("WWW-Authenticate") == "" {
				a.Errorf("%s %s: %d %s", method, path, r.status, r.body)
			}
		}
	}
}
