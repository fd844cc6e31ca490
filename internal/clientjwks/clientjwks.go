// Package clientjwks owns the rules for the public keys that clients authenticate with (private_key_jwt): what a JWK set may
// hold, which key fits which algorithm, and which addresses a jwks_uri may lead to. Registration and authentication use the
// same rules, so that what could be registered can be used. Fetching a jwks_uri is the work of package oauth.
package clientjwks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	jose "github.com/go-jose/go-jose/v4"
)

// Limits of a JWK set.
const (
	MaxBytes   = 64 << 10 // of its text
	MaxKeys    = 32       // keys in it
	MinRSABits = 2048     // RFC 7518 §3.3
	MaxRSABits = 4096     // larger ones let a caller buy our CPU time
)

// The JWS algorithms that an assertion may use (RFC 7518 §3.1, RFC 8037 §3.1, RFC 9864 §2.2).
const (
	ES256   = "ES256"
	RS256   = "RS256"
	PS256   = "PS256"
	EdDSA   = "EdDSA"
	Ed25519 = "Ed25519"
)

// ErrInvalid means that a JWK set or a jwks_uri breaks the rules; the wrapped text says which, for the admin to read.
var ErrInvalid = errors.New("invalid client keys")

// Algorithms lists what an assertion may be signed with.
func Algorithms() []string { return []string{ES256, RS256, PS256, EdDSA, Ed25519} }

// Key is one public key that may verify.
type Key struct {
	ID     string // "kid", or the RFC 7638 thumbprint where the JWK has none
	Alg    string // the one algorithm it is for; empty leaves it to the type of the key
	Public crypto.PublicKey
}

// Set is what a JWK set holds that may verify.
type Set struct{ Keys []Key }

// Parse reads the JWK set that an admin registers. It is strict: a key that could never be used, or must not be, is an
// error that names it by its position. Errors wrap ErrInvalid and hold no key material.
func Parse(data []byte) (Set, error) {
	raws, err := split(data)
	if err != nil {
		return Set{}, err
	}
	var set Set
	for i, raw := range raws {
		key, err := parseKey(raw)
		if err != nil {
			return Set{}, fmt.Errorf("%w: key %d: %w", ErrInvalid, i+1, err)
		}
		if slices.ContainsFunc(set.Keys, func(k Key) bool { return k.ID == key.ID }) {
			return Set{}, fmt.Errorf("%w: key %d: another key has the same kid", ErrInvalid, i+1)
		}
		set.Keys = append(set.Keys, key)
	}
	return set, nil
}

// Validate says whether Parse would read the set.
func Validate(data []byte) error {
	_, err := Parse(data)
	return err
}

// ParsePublished reads the JWK set that a client publishes at its jwks_uri. Keys that cannot be used here are left out, as
// RFC 7517 §5 asks, because the client may publish them for others. A set with no usable key is an error.
func ParsePublished(data []byte) (Set, error) {
	raws, err := split(data)
	if err != nil {
		return Set{}, err
	}
	var set Set
	for _, raw := range raws {
		if key, err := parseKey(raw); err == nil {
			set.Keys = append(set.Keys, key)
		}
	}
	if len(set.Keys) == 0 {
		return Set{}, fmt.Errorf("%w: no usable key in the set", ErrInvalid)
	}
	return set, nil
}

// Candidates gives the public keys that may have signed with this algorithm under this kid. Without a kid all keys that fit
// the algorithm are candidates (RFC 7515 §4.1.4 makes it optional); with one, only those that bear it.
func (s Set) Candidates(kid, alg string) []crypto.PublicKey {
	var found []crypto.PublicKey
	for _, key := range s.Keys {
		if (kid == "" || key.ID == kid) && key.fits(alg) {
			found = append(found, key.Public)
		}
	}
	return found
}

// fits says whether the key may verify signatures of the algorithm. "EdDSA" and "Ed25519" name the same one here.
func (k Key) fits(alg string) bool {
	switch k.Public.(type) {
	case *ecdsa.PublicKey:
		return alg == ES256
	case *rsa.PublicKey:
		return (alg == RS256 || alg == PS256) && (k.Alg == "" || k.Alg == alg)
	case ed25519.PublicKey:
		return alg == EdDSA || alg == Ed25519
	default:
		return false
	}
}

func split(data []byte) ([]json.RawMessage, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("%w: JWK set is larger than %d bytes", ErrInvalid, MaxBytes)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf(`%w: not a JWK set: want {"keys":[...]}`, ErrInvalid)
	}
	if len(set.Keys) == 0 {
		return nil, fmt.Errorf("%w: JWK set holds no key", ErrInvalid)
	}
	if len(set.Keys) > MaxKeys {
		return nil, fmt.Errorf("%w: JWK set holds more than %d keys", ErrInvalid, MaxKeys)
	}
	return set.Keys, nil
}

// jwk is what is read of a key. Certificates and URLs in it are not even looked at.
type jwk struct {
	Kty    string   `json:"kty"`
	Kid    string   `json:"kid,omitempty"`
	Use    string   `json:"use,omitempty"`
	KeyOps []string `json:"key_ops,omitempty"`
	Alg    string   `json:"alg,omitempty"`
	Crv    string   `json:"crv,omitempty"`
	X      string   `json:"x,omitempty"`
	Y      string   `json:"y,omitempty"`
	N      string   `json:"n,omitempty"`
	E      string   `json:"e,omitempty"`
}

// parseKey turns one JWK into a Key, or says why it cannot verify an assertion.
func parseKey(raw json.RawMessage) (Key, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return Key{}, errors.New("not a JSON object")
	}
	for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"} {
		if _, has := members[private]; has {
			return Key{}, errors.New("holds private or symmetric key material; register public keys only")
		}
	}
	var k jwk
	if err := json.Unmarshal(raw, &k); err != nil {
		return Key{}, errors.New("a member has the wrong type")
	}
	if k.Use != "" && k.Use != "sig" {
		return Key{}, errors.New(`"use" is not "sig"`)
	}
	if len(k.KeyOps) > 0 && !slices.Contains(k.KeyOps, "verify") {
		return Key{}, errors.New(`"key_ops" lacks "verify"`)
	}
	if len(k.Kid) > 256 {
		return Key{}, errors.New(`"kid" is longer than 256 bytes`)
	}
	public, err := k.public()
	if err != nil {
		return Key{}, err
	}
	key := Key{ID: k.Kid, Alg: k.Alg, Public: public}
	if k.Alg != "" && !key.fits(k.Alg) {
		return Key{}, errors.New(`"alg" is not one of ES256, RS256, PS256, EdDSA, Ed25519 or does not fit "kty"`)
	}
	if key.ID == "" {
		sum, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
		if err != nil {
			return Key{}, errors.New("has no thumbprint")
		}
		key.ID = base64.RawURLEncoding.EncodeToString(sum)
	}
	return key, nil
}

// public decodes and judges the key. Only the members that make up a public key reach go-jose, so that no certificate
// chain or foreign member of an attacker's choice is parsed.
func (k jwk) public() (crypto.PublicKey, error) {
	text, err := json.Marshal(jwk{Kty: k.Kty, Crv: k.Crv, X: k.X, Y: k.Y, N: k.N, E: k.E})
	if err != nil {
		return nil, errors.New("cannot be read")
	}
	var parsed jose.JSONWebKey
	if err := parsed.UnmarshalJSON(text); err != nil || !parsed.Valid() {
		return nil, errors.New(`not a valid public key of "kty" EC, RSA or OKP`)
	}
	switch public := parsed.Key.(type) {
	case *ecdsa.PublicKey:
		if public.Curve != elliptic.P256() {
			return nil, errors.New("EC keys must be on P-256")
		}
		if _, err := public.ECDH(); err != nil {
			return nil, errors.New("the EC point is not on its curve")
		}
		return public, nil
	case *rsa.PublicKey:
		return public, checkRSA(public)
	case ed25519.PublicKey:
		if len(public) != ed25519.PublicKeySize {
			return nil, errors.New("an Ed25519 key has 32 bytes")
		}
		return public, nil
	default:
		return nil, errors.New(`"kty" must be EC (P-256), RSA or OKP (Ed25519)`)
	}
}

// checkRSA holds the size and the exponent within what verifies safely and cheaply (RFC 7518 §3.3; ATTACKS B9, G11).
func checkRSA(public *rsa.PublicKey) error {
	if bits := public.N.BitLen(); bits < MinRSABits || bits > MaxRSABits {
		return fmt.Errorf("RSA keys must have %d to %d bits", MinRSABits, MaxRSABits)
	}
	if public.N.Bit(0) == 0 {
		return errors.New("the RSA modulus is even")
	}
	if public.E < 3 || public.E%2 == 0 || public.E > 1<<31-1 {
		return errors.New("the RSA exponent must be odd, at least 3 and below 2^31")
	}
	return nil
}
