package admin_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func pemOf(t *testing.T, key crypto.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func jwkOf(t *testing.T, key crypto.PrivateKey) string {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKey{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestImportFindsTheAlgorithm holds that a key needs no --alg, and becomes a standby whose private part never comes back.
func TestImportFindsTheAlgorithm(t *testing.T) {
	t.Parallel()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}))
	for name, key := range map[string]struct{ text, alg string }{
		"PEM of EC":          {pemOf(t, ec), "ES256"},
		"PEM of Ed25519":     {pemOf(t, ed), "EdDSA"},
		"PEM of RSA":         {pemOf(t, rsaKey), "RS256"},
		"PEM of RSA, PKCS 1": {pkcs1, "RS256"},
		"JWK of EC":          {jwkOf(t, ec), "ES256"},
		"JWK of Ed25519":     {"\n " + jwkOf(t, ed), "EdDSA"},
		"JWK of RSA":         {jwkOf(t, rsaKey), "RS256"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			made, err := s.client.ImportKey(t.Context(), adminapi.ImportKey{Key: key.text})
			if err != nil {
				t.Fatal(err)
			}
			if made.Alg != key.alg || strings.Contains(string(made.PublicJWK), `"d"`) {
				t.Errorf("imported as %s: %s", made.Alg, made.PublicJWK)
			}
		})
	}
	t.Run("wrong algorithm", func(t *testing.T) {
		t.Parallel()
		_, err := setup(t).client.ImportKey(t.Context(), adminapi.ImportKey{Key: pemOf(t, ec), Alg: "RS256"})
		if status(err) != http.StatusUnprocessableEntity {
			t.Errorf("%v, want 422", err)
		}
	})
}
