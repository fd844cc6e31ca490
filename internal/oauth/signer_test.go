package oauth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/oauth"
)

// signer is a client's key pair.
type signer struct {
	private crypto.Signer
	method  jwt.SigningMethod
	kid     string
	alg     string // header "alg", where it is not the method's own name
}

// The keys are made once: RSA takes long, and a key has no state.
var (
	testEC    = sync.OnceValue(func() *ecdsa.PrivateKey { k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader); return k })
	testEC2   = sync.OnceValue(func() *ecdsa.PrivateKey { k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader); return k })
	testP384  = sync.OnceValue(func() *ecdsa.PrivateKey { k, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader); return k })
	testRSA   = sync.OnceValue(func() *rsa.PrivateKey { k, _ := rsa.GenerateKey(rand.Reader, 2048); return k })
	testEdKey = sync.OnceValue(func() ed25519.PrivateKey { _, k, _ := ed25519.GenerateKey(rand.Reader); return k })
)

func ecSigner() signer { return signer{private: testEC(), method: jwt.SigningMethodES256, kid: "ec"} }

func jwks(tb testing.TB, keys ...jose.JSONWebKey) []byte {
	tb.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// allKeys registers one key of each kind.
func allKeys(tb testing.TB) []byte {
	tb.Helper()
	return jwks(
		tb, jose.JSONWebKey{Key: testEC().Public(), KeyID: "ec"}, jose.JSONWebKey{Key: testRSA().Public(), KeyID: "rsa", Use: "sig"},
		jose.JSONWebKey{Key: testEdKey().Public(), KeyID: "ed"},
	)
}

func withKeys(tb testing.TB) *bundle {
	tb.Helper()
	b := setup(tb)
	b.add(&clients.Client{
		ID: keyID, AuthMethod: clients.PrivateKeyJWT, JWKS: allKeys(tb),
		Grants: []clients.Grant{{API: ordersAPI, Scopes: []string{"orders:read"}}},
	})
	return b
}

var serial atomic.Int64

// goodClaims are those of a right assertion, with a jti of their own.
func goodClaims(id string) jwt.MapClaims {
	now := time.Now()
	return jwt.MapClaims{
		"iss": id, "sub": id, "aud": issuer, "jti": "jti-" + time.Unix(serial.Add(1), 0).UTC().Format(time.RFC3339),
		"iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	}
}

// sign makes an assertion; header members of nil are left out.
func (s signer) sign(tb testing.TB, claims any, header map[string]any) string {
	tb.Helper()
	alg := s.alg
	if alg == "" {
		alg = s.method.Alg()
	}
	head := map[string]any{"alg": alg, "typ": "client-authentication+jwt", "kid": s.kid}
	maps.Copy(head, header)
	maps.DeleteFunc(head, func(_ string, v any) bool { return v == nil || v == "" })
	h, err := json.Marshal(head)
	if err != nil {
		tb.Fatal(err)
	}
	c, err := json.Marshal(claims)
	if err != nil {
		tb.Fatal(err)
	}
	input := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(c)
	signature, err := s.method.Sign(input, s.private)
	if err != nil {
		tb.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func asserting(assertion string, more ...string) request {
	form := ccForm(more...)
	form.Set("client_assertion_type", oauth.AssertionType)
	form.Set("client_assertion", assertion)
	return request{form: form}
}

// change gives claims with some replaced; nil takes one out.
func change(pairs ...any) jwt.MapClaims {
	claims := goodClaims(keyID)
	for i := 0; i+1 < len(pairs); i += 2 {
		name, _ := pairs[i].(string)
		if claims[name] = pairs[i+1]; pairs[i+1] == nil {
			delete(claims, name)
		}
	}
	return claims
}

// publisher serves a client's keys at a jwks_uri.
type publisher struct {
	*httptest.Server
	hits  atomic.Int32
	reply atomic.Pointer[http.HandlerFunc]
}

func publish(t *testing.T, reply http.HandlerFunc) *publisher {
	t.Helper()
	p := &publisher{}
	p.reply.Store(&reply)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.hits.Add(1)
		(*p.reply.Load())(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

func serving(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }
}

func publishedClient(b *bundle, uri string) {
	b.add(&clients.Client{
		ID: keyID, AuthMethod: clients.PrivateKeyJWT, JWKSURI: uri,
		Grants: []clients.Grant{{API: ordersAPI, Scopes: []string{"orders:read"}}},
	})
}

func mustURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
