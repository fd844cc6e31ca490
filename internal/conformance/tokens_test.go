package conformance_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// access is an issued access token, verified as a resource server with a stock library would.
type access struct {
	text     string
	header   map[string]any
	claims   jwt.MapClaims
	response map[string]any
}

func (a access) claim(name string) string {
	text, _ := a.claims[name].(string)
	return text
}

func (a access) number(name string) int64 {
	number, _ := a.claims[name].(json.Number)
	n, _ := number.Int64()
	return n
}

// issue gets a token with client_secret_basic and verifies it.
func (s *server) issue(t *testing.T, c client, pairs ...string) access {
	t.Helper()
	return s.granted(t, s.requestToken(t, c.basic(), pairs...))
}

// granted wants a successful answer (RFC 6749 §5.1) and verifies its token against the published JWKS.
func (s *server) granted(t *testing.T, a *answer) access {
	t.Helper()
	text, _ := a.json["access_token"].(string)
	if a.status != http.StatusOK || text == "" || a.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %s, want a token", a.status, a.body)
	}
	if kind, _ := a.json["token_type"].(string); !strings.EqualFold(kind, "Bearer") {
		t.Errorf("token_type %v", a.json["token_type"])
	}
	out := s.verify(t, text)
	out.response = a.json
	return out
}

func (s *server) verify(t *testing.T, text string) access {
	t.Helper()
	keys := s.published(t)
	parsed, err := jwt.NewParser(
		jwt.WithValidMethods([]string{"ES256", "RS256", "EdDSA"}), jwt.WithStrictDecoding(), jwt.WithIssuer(s.Issuer),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithJSONNumber(),
		jwt.WithLeeway(20*time.Second), // some rows ask for a life of one second, and this machine may be busy for longer
	).Parse(text, func(token *jwt.Token) (any, error) {
		for _, key := range keys.Keys {
			if key.KeyID == token.Header["kid"] && key.Algorithm == token.Header["alg"] {
				return key.Key, nil
			}
		}
		return nil, jwt.ErrTokenUnverifiable
	})
	if err != nil {
		t.Fatalf("the token does not verify: %v", err)
	}
	claims, ok := parsed.Claims.(jwt.MapClaims)
	if !ok {
		t.Fatal("no claims")
	}
	return access{text: text, header: parsed.Header, claims: claims}
}

// published fetches the JWKS.
func (s *server) published(t *testing.T) jose.JSONWebKeySet {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(s.get(t, pathJWKS).body), &set); err != nil {
		t.Fatalf("JWKS: %v", err)
	}
	return set
}

func (s *server) publishes(t *testing.T, kid string) bool {
	t.Helper()
	set := s.published(t)
	return len(set.Key(kid)) == 1
}

// decoded is one segment of a compact JWS.
func decoded(t *testing.T, text string, segment int) []byte {
	t.Helper()
	out, err := base64.RawURLEncoding.Strict().DecodeString(strings.Split(text, ".")[segment])
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// thumbprint is RFC 7638 §3 by hand: SHA-256 of the required members in order, without white space.
func thumbprint(t *testing.T, members map[string]any) string {
	t.Helper()
	required := map[string][]string{"EC": {"crv", "kty", "x", "y"}, "RSA": {"e", "kty", "n"}, "OKP": {"crv", "kty", "x"}}
	var parts []string
	kty, _ := members["kty"].(string)
	for _, name := range required[kty] {
		value, _ := members[name].(string)
		parts = append(parts, `"`+name+`":"`+value+`"`)
	}
	sum := sha256.Sum256([]byte("{" + strings.Join(parts, ",") + "}"))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// rawKeys are the JWKS' keys with all their members.
func (s *server) rawKeys(t *testing.T) []map[string]any {
	t.Helper()
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal([]byte(s.get(t, pathJWKS).body), &set); err != nil || len(set.Keys) == 0 {
		t.Fatalf("JWKS: %v", err)
	}
	return set.Keys
}

// metadata is the document of RFC 8414.
func (s *server) metadata(t *testing.T) map[string]any {
	t.Helper()
	a := s.get(t, pathMetadata)
	if a.status != http.StatusOK || a.json == nil {
		t.Fatalf("metadata: %d %s", a.status, a.body)
	}
	return a.json
}

// list is a member of the metadata that is a list of texts.
func list(t *testing.T, document map[string]any, member string) []string {
	t.Helper()
	values, ok := document[member].([]any)
	if !ok {
		t.Fatalf("%s is %v, want a list", member, document[member])
	}
	out := make([]string, 0, len(values))
	for _, v := range values {
		text, _ := v.(string)
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}
