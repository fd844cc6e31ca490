package tokens_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-1972b8eb/signet/internal/apis"
)

// The three belong together: what Issue costs above BenchmarkBareSignature is what this package adds to the work that no
// server can avoid, and BenchmarkBareGolangJWT is what most servers do instead.
func BenchmarkIssue(b *testing.B) {
	issuer, _ := newIssuer(b, apis.ES256)
	claims := someClaims(time.Now())
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := issuer.Issue(time.Now(), claims, apis.ES256, apis.TypAccessToken); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBareGolangJWT(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		var id [16]byte
		_, _ = rand.Read(id[:])
		now := time.Now()
		token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
			"iss": issuerName, "sub": clientID, "client_id": clientID, "aud": "https://api.test/orders",
			"scope": "orders:read orders:write", "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
			"jti": base64.RawURLEncoding.EncodeToString(id[:]), "gen": 1,
		})
		token.Header["kid"] = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
		token.Header["typ"] = "at+jwt"
		if _, err := token.SignedString(key); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBareSignature(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	input := make([]byte, 450)
	b.ReportAllocs()
	for b.Loop() {
		digest := sha256.Sum256(input)
		if _, err := ecdsa.SignASN1(rand.Reader, key, digest[:]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParse reads a token that was not seen before; BenchmarkParseAgain one that was.
func BenchmarkParse(b *testing.B) {
	issuer, _ := newIssuer(b, apis.ES256)
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		text, _, err := issuer.Issue(now, someClaims(now), apis.ES256, apis.TypAccessToken)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if _, err := issuer.Parse(text, now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseAgain(b *testing.B) {
	issuer, _ := newIssuer(b, apis.ES256)
	now := time.Now()
	text, _, err := issuer.Issue(now, someClaims(now), apis.ES256, apis.TypAccessToken)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := issuer.Parse(text, now); err != nil {
			b.Fatal(err)
		}
	}
}
