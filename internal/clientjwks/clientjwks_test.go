package clientjwks_test

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"sync"
	"testing"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/seed-1972b8eb/signet/internal/clientjwks"
)

type member = map[string]any

var (
	ecKey  = sync.OnceValue(func() *ecdsa.PrivateKey { k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader); return k })
	edKey  = sync.OnceValue(func() ed25519.PrivateKey { _, k, _ := ed25519.GenerateKey(rand.Reader); return k })
	rsaKey = sync.OnceValue(func() *rsa.PrivateKey { k, _ := rsa.GenerateKey(rand.Reader, 2048); return k })
)

// jwk gives a key's members, with some replaced; nil takes one out.
func jwk(t *testing.T, key any, changes ...any) member {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKey{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	var m member
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(changes); i += 2 {
		name, ok := changes[i].(string)
		if !ok {
			t.Fatal("not a name")
		}
		m[name] = changes[i+1]
	}
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil })
	return m
}

func set(t *testing.T, keys ...member) []byte {
	t.Helper()
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func TestParseAccepts(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		key  member
		algs string // those that it verifies
	}{
		"EC":                  {jwk(t, ecKey().Public()), "ES256"},
		"EC with alg":         {jwk(t, ecKey().Public(), "alg", "ES256", "use", "sig", "kid", "k"), "ES256"},
		"RSA":                 {jwk(t, rsaKey().Public(), "kid", "k"), "RS256 PS256"},
		"RSA with alg":        {jwk(t, rsaKey().Public(), "alg", "PS256"), "PS256"},
		"PKJ-30 Ed25519":      {jwk(t, edKey().Public(), "alg", "Ed25519"), "EdDSA Ed25519"},
		"PKJ-30 EdDSA":        {jwk(t, edKey().Public(), "alg", "EdDSA"), "EdDSA Ed25519"},
		"PKJ-23 without use":  {jwk(t, edKey().Public(), "use", nil), "EdDSA Ed25519"},
		"key_ops":             {jwk(t, ecKey().Public(), "key_ops", []string{"verify"}), "ES256"},
		"certificates unread": {jwk(t, ecKey().Public(), "x5c", []string{"garbage"}, "x5u", "http://127.0.0.1/"), "ES256"},
		"unknown member":      {jwk(t, ecKey().Public(), "foo", member{"a": 1}), "ES256"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parsed, err := clientjwks.Parse(set(t, test.key))
			if err != nil {
				t.Fatal(err)
			}
			var fits []string
			for _, alg := range append(clientjwks.Algorithms(), "HS256", "none", "ES384", "RS512", "") {
				if len(parsed.Candidates("", alg)) == 1 {
					fits = append(fits, alg)
				}
			}
			if got := strings.Join(fits, " "); len(strings.Fields(test.algs)) != len(fits) || !containsAll(got, test.algs) {
				t.Errorf("verifies %s, want %s", got, test.algs)
			}
		})
	}
}

func containsAll(have, want string) bool {
	for word := range strings.FieldsSeq(want) {
		if !strings.Contains(have, word) {
			return false
		}
	}
	return true
}

// refused are keys that must never be registered (PKJ-29; ATTACKS B9, B10, G11).
func refused(t *testing.T) map[string]member {
	t.Helper()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	number := func(bits int) string {
		n := make([]byte, bits/8)
		_, _ = rand.Read(n)
		n[0], n[len(n)-1] = n[0]|0x80, n[len(n)-1]|1
		return b64(n)
	}
	rs := func(changes ...any) member { return jwk(t, rsaKey().Public(), changes...) }
	ec := func(changes ...any) member { return jwk(t, ecKey().Public(), changes...) }
	return map[string]member{
		"private EC":         jwk(t, ecKey()),
		"private RSA":        jwk(t, rsaKey()),
		"private Ed25519":    jwk(t, edKey()),
		"private member":     ec("d", ""),
		"P-384":              jwk(t, p384.Public()),
		"P-521":              jwk(t, p521.Public()),
		"X25519":             {"kty": "OKP", "crv": "X25519", "x": b64(x25519.PublicKey().Bytes())},
		"oct":                {"kty": "oct", "k": "AAAA"},
		"oct without k":      {"kty": "oct"},
		"no kty":             ec("kty", nil),
		"unknown kty":        {"kty": "AKP", "pub": "AAAA", "alg": "ML-DSA-44"},
		"kty case":           ec("kty", "ec"),
		"EC without x":       ec("x", nil),
		"EC without y":       ec("y", nil),
		"EC not on curve":    ec("y", b64(make([]byte, 32))),
		"EC at infinity":     ec("x", b64(make([]byte, 32)), "y", b64(make([]byte, 32))),
		"EC short x":         ec("x", "AAAA"),
		"EC of another crv":  ec("crv", "P-384"),
		"RSA without n":      rs("n", nil),
		"RSA without e":      rs("e", nil),
		"RSA e is 1":         rs("e", b64([]byte{1})),
		"RSA e is even":      rs("e", b64([]byte{1, 0, 0})),
		"RSA e is too large": rs("e", b64([]byte{0x80, 0, 0, 1})),
		"RSA e is huge":      rs("e", b64(append([]byte{1}, make([]byte, 300)...))),
		"RSA 1024":           rs("n", number(1024)),
		"RSA 16384":          rs("n", number(16384)),
		"RSA 4104":           rs("n", number(4104)),
		"RSA even":           rs("n", b64(new(big.Int).Lsh(big.NewInt(1), 2047).Bytes())),
		"RSA empty":          rs("n", ""),
		"Ed25519 short":      {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"},
		"Ed25519 without x":  {"kty": "OKP", "crv": "Ed25519"},
		"Ed25519 long":       {"kty": "OKP", "crv": "Ed25519", "x": b64(make([]byte, 33))},
		"use enc":            ec("use", "enc"),
		"use is a number":    ec("use", 1),
		"key_ops sign":       ec("key_ops", []string{"sign"}),
		"alg of another kty": ec("alg", "RS256"),
		"alg RS512":          rs("alg", "RS512"),
		"alg HS256":          rs("alg", "HS256"),
		"alg none":           rs("alg", "none"),
		"alg is an array":    ec("alg", []string{"ES256"}),
		"kid is a number":    ec("kid", 1),
		"kid is very long":   ec("kid", strings.Repeat("a", 257)),
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	good := jwk(t, ecKey().Public(), "kid", "good")
	for name, key := range refused(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := clientjwks.Parse(set(t, good, key))
			if !errors.Is(err, clientjwks.ErrInvalid) || !strings.Contains(fmt.Sprint(err), "key 2") {
				t.Errorf("strict: %v", err)
			}
			if err := clientjwks.Validate(set(t, good, key)); err == nil {
				t.Error("Validate lets it pass")
			}
			for _, value := range key { // no key material in errors
				if text, ok := value.(string); ok && len(text) > 12 && err != nil && strings.Contains(err.Error(), text) {
					t.Errorf("the error quotes the key: %v", err)
				}
			}
			// RFC 7517 §5: at a jwks_uri it is passed over.
			published, err := clientjwks.ParsePublished(set(t, key, good))
			if err != nil || len(published.Keys) != 1 || published.Keys[0].ID != "good" {
				t.Errorf("published: %v %v", published.Keys, err)
			}
			if _, err := clientjwks.ParsePublished(set(t, key)); !errors.Is(err, clientjwks.ErrInvalid) {
				t.Errorf("published alone: %v", err)
			}
		})
	}
}

func TestParseRefusesSets(t *testing.T) {
	t.Parallel()
	one := jwk(t, ecKey().Public(), "kid", "a")
	many := make([]member, clientjwks.MaxKeys+1)
	for i := range many {
		many[i] = jwk(t, ecKey().Public(), "kid", fmt.Sprint(i))
	}
	for name, text := range map[string]string{
		"empty":         "",
		"null":          "null",
		"no keys":       `{"keys":[]}`,
		"keys missing":  `{}`,
		"a list":        `[]`,
		"one key alone": string(must(t, one)),
		"not JSON":      "<html>",
		"key is null":   `{"keys":[null]}`,
		"key is a list": `{"keys":[[]]}`,
		"H12 deep":      `{"keys":` + strings.Repeat("[", 20_000) + "}",
		"too many":      string(set(t, many...)),
		"too large":     `{"keys":[],"x":"` + strings.Repeat("a", clientjwks.MaxBytes) + `"}`,
	} {
		if _, err := clientjwks.Parse([]byte(text)); !errors.Is(err, clientjwks.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := clientjwks.ParsePublished([]byte(text)); !errors.Is(err, clientjwks.ErrInvalid) {
			t.Errorf("published, %s: %v", name, err)
		}
	}
	// B9: two keys of the same name, and the same key twice without one.
	if err := clientjwks.Validate(set(t, one, jwk(t, rsaKey().Public(), "kid", "a"))); !errors.Is(err, clientjwks.ErrInvalid) {
		t.Errorf("duplicate kid: %v", err)
	}
	if err := clientjwks.Validate(set(t, jwk(t, ecKey().Public()), jwk(t, ecKey().Public()))); !errors.Is(err, clientjwks.ErrInvalid) {
		t.Errorf("same key twice: %v", err)
	}
}

func must(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestCandidates(t *testing.T) {
	t.Parallel()
	sum, err := (&jose.JSONWebKey{Key: edKey().Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	second, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := clientjwks.Parse(set(t, jwk(t, ecKey().Public(), "kid", "a"), jwk(t, second.Public(), "kid", "b"), jwk(t, edKey().Public())))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		kid, alg string
		want     int
	}{
		{"", "ES256", 2}, // PKJ-24: without a kid all that fit
		{"a", "ES256", 1},
		{"c", "ES256", 0},
		{"a", "EdDSA", 0},
		{"", "EdDSA", 1},
		{b64(sum), "EdDSA", 1}, // a key without a kid goes by its thumbprint
		{"", "RS256", 0},
		{"A", "ES256", 0},
	} {
		if got := len(parsed.Candidates(test.kid, test.alg)); got != test.want {
			t.Errorf("kid %q alg %s: %d keys, want %d", test.kid, test.alg, got, test.want)
		}
	}
}

// FuzzParse: no panic, and what the strict reader takes the lenient one takes too.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AAAA","e":"AQAB"},{"kty":"OKP","crv":"Ed25519","x":"` + strings.Repeat("A", 43) + `"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + strings.Repeat("A", 43) + `","kid":"a","use":"sig","alg":"EdDSA"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		strict, err := clientjwks.Parse(data)
		lenient, errLenient := clientjwks.ParsePublished(data)
		if err == nil && (errLenient != nil || len(strict.Keys) != len(lenient.Keys)) {
			t.Errorf("strict takes %d, lenient %d (%v)", len(strict.Keys), len(lenient.Keys), errLenient)
		}
		for _, key := range lenient.Keys {
			if key.ID == "" || key.Public == nil {
				t.Errorf("took %+v", key)
			}
		}
	})
}
