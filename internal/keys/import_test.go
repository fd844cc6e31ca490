package keys_test

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/keys"
)

// material is keys to import, made once because RSA is slow.
type material struct {
	ec, ec384, ecOther *ecdsa.PrivateKey
	ed                 ed25519.PrivateKey
	rsa                *rsa.PrivateKey
}

func newMaterial(t *testing.T) material {
	t.Helper()
	ec, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	other, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ec384, err3 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, ed, err4 := ed25519.GenerateKey(rand.Reader)
	rs, err5 := rsa.GenerateKey(rand.Reader, 2048)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		t.Fatal(err)
	}
	return material{ec: ec, ecOther: other, ec384: ec384, ed: ed, rsa: rs}
}

func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return armor("PRIVATE KEY", der)
}

func sec1(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return armor("EC PRIVATE KEY", der)
}

func spki(t *testing.T, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return armor("PUBLIC KEY", der)
}

func armor(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// jwk writes a key as a JWK and changes members; nil takes one away.
func jwk(t *testing.T, key any, change map[string]any) []byte {
	t.Helper()
	text, err := (&jose.JSONWebKey{Key: key}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	for name, value := range change {
		members[name] = value
		if value == nil {
			delete(members, name)
		}
	}
	if text, err = json.Marshal(members); err != nil {
		t.Fatal(err)
	}
	return text
}

func TestImportAccepts(t *testing.T) {
	t.Parallel()
	m := newMaterial(t)
	for name, c := range map[string]struct {
		text []byte
		alg  apis.Alg
	}{
		"EC PKCS #8":           {pkcs8(t, m.ec), apis.ES256},
		"EC SEC 1":             {sec1(t, m.ec), apis.ES256},
		"EC with parameters":   {append(armor("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}), sec1(t, m.ec)...), apis.ES256},
		"text around the PEM":  {append([]byte("subject=test\n"), append(pkcs8(t, m.ec), "\n\n"...)...), apis.ES256},
		"EC JWK":               {jwk(t, m.ec, nil), apis.ES256},
		"JWK with use and alg": {jwk(t, m.ec, map[string]any{"use": "sig", "alg": "ES256", "kid": "mine"}), apis.ES256},
		"Ed25519 PKCS #8":      {pkcs8(t, m.ed), apis.EdDSA},
		"Ed25519 JWK":          {jwk(t, m.ed, nil), apis.EdDSA},
		"RSA PKCS #8":          {pkcs8(t, m.rsa), apis.RS256},
		"RSA PKCS #1":          {armor("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(m.rsa)), apis.RS256},
		"RSA JWK":              {jwk(t, m.rsa, nil), apis.RS256},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			got, err := b.Import(t.Context(), admin(), c.text, c.alg)
			if err != nil || got.State != keys.Pending || got.PublishedAt.IsZero() || len(got.Sealed) == 0 {
				t.Fatalf("Import = %+v, %v", got, err)
			}
			// The first key of an algorithm: an import before it is what it signs with.
			if err := b.Ensure(t.Context(), admin(), c.alg); err != nil {
				t.Fatal(err)
			}
			b.reload(t)
			s, err := b.ring.Sign(c.alg)
			if err != nil || s.KID != got.KID {
				t.Fatalf("%v signs, want %s (%v)", s, got.KID, err)
			}
			if _, err := s.Signature([]byte("x")); err != nil {
				t.Error(err)
			}
			checkThumbprints(t, b.ring.JWKS().Body)
		})
	}
}

func TestImportRefuses(t *testing.T) {
	t.Parallel()
	m := newMaterial(t)
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	otherX := map[string]any{}
	if err := json.Unmarshal(jwk(t, m.ecOther, nil), &otherX); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text []byte
		alg  apis.Alg
		why  string
	}{
		"nothing":                  {nil, apis.ES256, "neither PEM nor a JWK"},
		"words":                    {[]byte("hello"), apis.ES256, "neither PEM nor a JWK"},
		"too much":                 {make([]byte, 64<<10), apis.ES256, "more than"},
		"public PEM":               {spki(t, &m.ec.PublicKey), apis.ES256, "only a public key"},
		"public JWK":               {jwk(t, &m.ec.PublicKey, nil), apis.ES256, "only a public key"},
		"certificate":              {armor("CERTIFICATE", []byte{1}), apis.ES256, "only a public key"},
		"OpenSSH":                  {armor("OPENSSH PRIVATE KEY", []byte{1}), apis.ES256, "PEM type"},
		"encrypted PKCS #8":        {armor("ENCRYPTED PRIVATE KEY", []byte{1}), apis.ES256, "encrypted"},
		"encrypted PKCS #1":        {[]byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"), apis.RS256, "encrypted"},
		"two keys":                 {append(pkcs8(t, m.ec), pkcs8(t, m.ecOther)...), apis.ES256, "more than one"},
		"empty PEM":                {armor("PRIVATE KEY", nil), apis.ES256, "no sound key"},
		"key after its type":       {armor("RSA PRIVATE KEY", []byte{48, 0}), apis.RS256, "no sound key"},
		"P-384 for ES256":          {pkcs8(t, m.ec384), apis.ES256, "wants curve P-256"},
		"P-384 JWK for ES256":      {jwk(t, m.ec384, nil), apis.ES256, "wants curve P-256"},
		"EC for RS256":             {pkcs8(t, m.ec), apis.RS256, "does not go with"},
		"RSA for ES256":            {pkcs8(t, m.rsa), apis.ES256, "does not go with"},
		"Ed25519 for ES256":        {pkcs8(t, m.ed), apis.ES256, "does not go with"},
		"X25519":                   {pkcs8(t, x25519), apis.EdDSA, "does not sign"},
		"unknown algorithm":        {pkcs8(t, m.ec), "HS256", "does not go with"},
		"symmetric JWK":            {[]byte(`{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}`), apis.ES256, "does not sign"},
		"JWK set":                  {[]byte(`{"keys":[` + string(jwk(t, m.ec, nil)) + `]}`), apis.ES256, "a JWK set"},
		"JWK for encryption":       {jwk(t, m.ec, map[string]any{"use": "enc"}), apis.ES256, `"use" is not "sig"`},
		"JWK of another alg":       {jwk(t, m.ec, map[string]any{"alg": "ES384"}), apis.ES256, `"alg" is not ES256`},
		"JWK off the curve":        {jwk(t, m.ec, map[string]any{"x": otherX["x"]}), apis.ES256, "no sound JWK"},
		"JWK of two EC keys":       {jwk(t, m.ec, map[string]any{"d": otherX["d"]}), apis.ES256, ""},
		"JWK of two Ed25519 keys":  {jwk(t, m.ed, map[string]any{"x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}), apis.EdDSA, ""},
		"JWK with zero d":          {jwk(t, m.ec, map[string]any{"d": strings.Repeat("A", 43)}), apis.ES256, ""},
		"JWK without y":            {jwk(t, m.ec, map[string]any{"y": nil}), apis.ES256, "no sound JWK"},
		"JWK with unknown kty":     {jwk(t, m.ec, map[string]any{"kty": "XX"}), apis.ES256, "no sound JWK"},
		"RSA JWK of another prime": {jwk(t, m.rsa, map[string]any{"p": jwkMember(t, m.rsa, "q")}), apis.RS256, ""},
		"RSA JWK with e=1":         {jwk(t, m.rsa, map[string]any{"e": "AQ"}), apis.RS256, ""},
		"RSA JWK with e=3":         {jwk(t, m.rsa, map[string]any{"e": "Aw"}), apis.RS256, ""},
		"RSA JWK with even e":      {jwk(t, m.rsa, map[string]any{"e": "AQAC"}), apis.RS256, ""},
		"broken JSON":              {[]byte(`{"kty":`), apis.ES256, "not JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			_, err := b.Import(t.Context(), admin(), c.text, c.alg)
			if !errors.Is(err, keys.ErrInvalid) || !strings.Contains(err.Error(), c.why) {
				t.Fatalf("Import = %v, want ErrInvalid and %q", err, c.why)
			}
			if len(b.store.History()) != 0 {
				t.Error("a refused key was stored")
			}
			if d := jwkMember(t, m.ec, "d"); strings.Contains(err.Error(), d) {
				t.Error("the error quotes the key")
			}
		})
	}
}

func jwkMember(t *testing.T, key any, name string) string {
	t.Helper()
	var members map[string]string
	if err := json.Unmarshal(jwk(t, key, nil), &members); err != nil {
		t.Fatal(err)
	}
	return members[name]
}

// An imported key takes the standby's place, waits like every standby, and can never come back once it is known.
func TestImportedKeyIsTheStandby(t *testing.T) {
	t.Parallel()
	m := newMaterial(t)
	text := pkcs8(t, m.ec)
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, apis.ES256)
		old := b.one(t, apis.ES256, keys.Pending)
		time.Sleep(time.Hour)
		got, err := b.Import(t.Context(), admin(), text, apis.ES256)
		if err != nil {
			t.Fatal(err)
		}
		if e := b.last(t); e.Action != "key.import" || e.Subject != got.KID || e.Detail["replaced"] != old.KID || e.Actor != admin() {
			t.Errorf("the event is %+v", e)
		}
		if r := b.find(t, old.KID); r.State != keys.Retired || len(r.Sealed) != 0 {
			t.Errorf("the old standby is %s", r.State)
		}
		if standby := b.one(t, apis.ES256, keys.Pending); standby.KID != got.KID {
			t.Errorf("the standby is %s, want %s", standby.KID, got.KID)
		}
		if _, err := b.Rotate(t.Context(), admin(), apis.ES256); !errors.Is(err, keys.ErrTooEarly) {
			t.Errorf("Rotate at once = %v, want ErrTooEarly", err)
		}
		time.Sleep(2 * b.plan.JWKSMaxAge)
		if after, err := b.Rotate(t.Context(), admin(), apis.ES256); err != nil || after.KID != got.KID {
			t.Errorf("Rotate = %s, %v", after.KID, err)
		}
		if _, err := b.Compromise(t.Context(), admin(), got.KID, "test"); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Import(t.Context(), admin(), text, apis.ES256); !errors.Is(err, keys.ErrInvalid) || !strings.Contains(err.Error(), "compromised") {
			t.Errorf("Import of a compromised key = %v, want ErrInvalid", err)
		}
	})
}
