package keys_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"io"
	"math/big"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/keys"
)

func thumbprint(k jose.JSONWebKey) (string, error) {
	sum, err := k.Thumbprint(crypto.SHA256)
	return base64.RawURLEncoding.EncodeToString(sum), err
}

// remote is a key that lives elsewhere, as in a KMS: all it can do is to sign.
type remote struct{ inner crypto.Signer }

func (r remote) Public() crypto.PublicKey { return r.inner.Public() }

func (r remote) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return r.inner.Sign(random, digest, opts)
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	ec, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, ed, err2 := ed25519.GenerateKey(rand.Reader)
	rs, err3 := rsa.GenerateKey(rand.Reader, 2048)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	input := []byte("eyJhbGciOi.eyJpc3Mi")
	digest := sha256.Sum256(input)
	for name, c := range map[string]struct {
		signer keys.Signer
		size   int
		verify func(signature []byte) bool
	}{
		"ES256": {keys.Signer{Alg: apis.ES256, Key: remote{ec}}, 64, func(s []byte) bool { // AT-13
			return ecdsa.Verify(&ec.PublicKey, digest[:], new(big.Int).SetBytes(s[:32]), new(big.Int).SetBytes(s[32:]))
		}},
		"EdDSA": {keys.Signer{Alg: apis.EdDSA, Key: remote{ed}}, 64, func(s []byte) bool {
			public, ok := ed.Public().(ed25519.PublicKey)
			return ok && ed25519.Verify(public, input, s)
		}},
		"RS256": {keys.Signer{Alg: apis.RS256, Key: remote{rs}}, 256, func(s []byte) bool {
			return rsa.VerifyPKCS1v15(&rs.PublicKey, crypto.SHA256, digest[:], s) == nil
		}},
	} {
		// Often: about one ES256 signature in 128 has an r or s that needs leading zeros.
		for range 600 {
			if name == "RS256" && testing.Short() {
				break
			}
			signature, err := c.signer.Signature(input)
			if err != nil || len(signature) != c.size || !c.verify(signature) {
				t.Fatalf("%s: %d bytes, want %d that verify (%v)", name, len(signature), c.size, err)
			}
		}
	}
}

// canned is a signer that returns what it was given.
type canned []byte

func (canned) Public() crypto.PublicKey                                    { return nil }
func (c canned) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return c, nil }

// What a KMS answers is checked, so that nonsense becomes an error and not a token.
func TestSignatureRefusesNonsense(t *testing.T) {
	t.Parallel()
	der := func(r, s *big.Int) canned {
		out, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	one, huge := big.NewInt(1), new(big.Int).Lsh(big.NewInt(1), 256)
	for name, key := range map[string]canned{
		"nothing": {}, "not DER": canned("x"), "r is zero": der(new(big.Int), one), "s is zero": der(one, new(big.Int)),
		"negative": der(one, big.NewInt(-1)), "r of 257 bits": der(huge, one), "s of 257 bits": der(one, huge), "more after it": append(der(one, one), 0),
		"cut off": der(one, one)[:7], "more inside": {0x30, 7, 2, 1, 1, 2, 1, 1, 0}, "an empty number": {0x30, 5, 2, 0, 2, 1, 1},
		"a number longer than needed": {0x30, 7, 2, 2, 0, 1, 2, 1, 1}, "a length in long form": {0x30, 0x81, 6, 2, 1, 1, 2, 1, 1},
		"no integers": {0x30, 6, 4, 1, 1, 4, 1, 1}, "no sequence": {0x31, 6, 2, 1, 1, 2, 1, 1}, "one number": {0x30, 3, 2, 1, 1},
	} {
		if _, err := (keys.Signer{KID: "k", Alg: apis.ES256, Key: key}).Signature([]byte("x")); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := (keys.Signer{KID: "k", Alg: "none", Key: der(one, one)}).Signature([]byte("x")); err == nil {
		t.Error("alg none: no error")
	}
	if got, err := (keys.Signer{KID: "k", Alg: apis.ES256, Key: der(one, one)}).Signature([]byte("x")); err != nil || len(got) != 64 || got[31] != 1 || got[63] != 1 {
		t.Errorf("the smallest numbers are %x, %v", got, err)
	}
}
