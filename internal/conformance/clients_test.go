package conformance_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// client is a registered client and what it proves itself with.
type client struct {
	id, secret, secretID string
	key                  crypto.Signer
	kid                  string
}

// api registers an API with scopes.
func (s *server) api(t *testing.T, identifier, alg string, scopes ...string) {
	t.Helper()
	n := adminapi.NewAPI{Identifier: identifier, Name: identifier, Alg: alg}
	for _, scope := range scopes {
		n.Scopes = append(n.Scopes, adminapi.NewScope{Name: scope})
	}
	if _, err := s.admin.CreateAPI(t.Context(), n); err != nil {
		t.Fatalf("create API %s: %v", identifier, err)
	}
}

// register makes a client. What is not said: a name of its own, and both scopes of the server's API.
func (s *server) register(t *testing.T, n adminapi.NewClient) client {
	t.Helper()
	if n.Name == "" {
		n.Name = rand.Text()
	}
	if n.Grants == nil {
		n.Grants = s.grants("orders:read", "orders:write")
	}
	made, err := s.admin.CreateClient(t.Context(), n)
	if err != nil {
		t.Fatalf("create client: %v", err)
	}
	s.suite.seen.add(made.ClientSecret)
	return client{id: made.ClientID, secret: made.ClientSecret, secretID: made.SecretID}
}

func (s *server) grants(scopes ...string) []adminapi.Grant {
	return []adminapi.Grant{{API: s.API, Scopes: scopes}}
}

// client makes a client that authenticates by client_secret_basic.
func (s *server) client(t *testing.T) client {
	t.Helper()
	return s.register(t, adminapi.NewClient{})
}

// introspector makes a client that gets no tokens and may introspect those of the server's API.
func (s *server) introspector(t *testing.T) client {
	t.Helper()
	return s.register(t, adminapi.NewClient{Grants: []adminapi.Grant{}, Introspects: []string{s.API}})
}

func (c client) basic() option {
	return basicText(base64.StdEncoding.EncodeToString([]byte(c.id + ":" + c.secret)))
}

func (c client) with(secret string) client {
	c.secret = secret
	return c
}

func (c client) post() []string { return []string{"client_id", c.id, "client_secret", c.secret} }

// keyedClient makes a client that authenticates by private_key_jwt with a P-256 key.
func (s *server) keyedClient(t *testing.T) client {
	t.Helper()
	key := newEC(t, elliptic.P256())
	made := s.register(t, adminapi.NewClient{AuthMethod: "private_key_jwt", JWKS: jwks(t, jwkOf(t, key.Public(), "k1"))})
	made.key, made.kid = key, "k1"
	return made
}

func newEC(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newEd(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// jwkOf gives the members of a key, with a kid and further changes in pairs; nil takes a member out.
func jwkOf(t *testing.T, key any, kid string, changes ...any) map[string]any {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKey{Key: key, KeyID: kid})
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(changes); i += 2 {
		name, _ := changes[i].(string)
		if members[name] = changes[i+1]; changes[i+1] == nil {
			delete(members, name)
		}
	}
	return members
}

func jwks(t *testing.T, keys ...map[string]any) json.RawMessage {
	t.Helper()
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// change changes a JWT before it is signed.
type change func(*jwt.Token)

// claim sets a claim; nil takes it out.
func claim(name string, value any) change {
	return func(token *jwt.Token) {
		claims, _ := token.Claims.(jwt.MapClaims)
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
}

// head sets a header parameter; nil takes it out.
func head(name string, value any) change {
	return func(token *jwt.Token) {
		if token.Header[name] = value; value == nil {
			delete(token.Header, name)
		}
	}
}

// inTime sets a claim to so much after the moment at which the JWT is made.
func inTime(name string, ahead time.Duration) change {
	return func(token *jwt.Token) { claim(name, time.Now().Add(ahead).Unix())(token) }
}

// sign makes a client assertion as RFC 7523 §3 and its revision want it, with changes.
func (c client) sign(t *testing.T, issuer string, changes ...change) string {
	t.Helper()
	method := jwt.SigningMethod(jwt.SigningMethodES256)
	if _, ed := c.key.(ed25519.PrivateKey); ed {
		method = jwt.SigningMethodEdDSA
	}
	return c.signAs(t, method, c.key, issuer, changes...)
}

func (c client) signAs(t *testing.T, method jwt.SigningMethod, key any, issuer string, changes ...change) string {
	t.Helper()
	now := time.Now()
	token := jwt.NewWithClaims(method, jwt.MapClaims{
		"iss": c.id, "sub": c.id, "aud": issuer, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	})
	token.Header["typ"] = "client-authentication+jwt"
	if c.kid != "" {
		token.Header["kid"] = c.kid
	}
	for _, change := range changes {
		change(token)
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// asserted are the parameters that carry an assertion.
func asserted(text string) []string {
	return []string{"client_assertion_type", assertionType, "client_assertion", text}
}

// assertion are the parameters of a new, right assertion, with changes.
func (c client) assertion(t *testing.T, issuer string, changes ...change) []string {
	t.Helper()
	return asserted(c.sign(t, issuer, changes...))
}
