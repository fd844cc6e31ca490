package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"github.com/seed-1972b8eb/signet/internal/apis"
)

// generate makes a private key for the algorithm. RSA takes up to seconds: never call it inside a transaction.
func generate(alg apis.Alg, rsaBits int) (crypto.Signer, error) {
	switch alg {
	case apis.ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case apis.EdDSA:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	case apis.RS256:
		return rsa.GenerateKey(rand.Reader, rsaBits)
	default:
		return nil, fmt.Errorf("%w: unknown algorithm %q", ErrInvalid, alg)
	}
}

// publicJWK returns the public key as it stands in the JWKS, with nothing in it but kty, its numbers, kid, use and alg. The
// kid is the RFC 7638 thumbprint, so that it can be recomputed wherever the key comes from.
func publicJWK(alg apis.Alg, public crypto.PublicKey) (string, []byte, error) {
	jwk := jose.JSONWebKey{Key: public, Algorithm: string(alg), Use: "sig"}
	if !jwk.IsPublic() {
		return "", nil, fmt.Errorf("%w: not a public key", ErrInvalid)
	}
	sum, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", nil, fmt.Errorf("make thumbprint: %w", err)
	}
	jwk.KeyID = base64.RawURLEncoding.EncodeToString(sum)
	text, err := jwk.MarshalJSON()
	if err != nil {
		return "", nil, fmt.Errorf("write JWK: %w", err)
	}
	return jwk.KeyID, text, nil
}

// fits tells why a key cannot be used with an algorithm; nil when it can.
func fits(alg apis.Alg, public crypto.PublicKey) error {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		if alg == apis.ES256 && key.Curve != elliptic.P256() {
			return fmt.Errorf("%w: ES256 wants curve P-256, the key is on %s", ErrInvalid, key.Params().Name)
		}
		if alg == apis.ES256 {
			return nil
		}
	case *rsa.PublicKey:
		if alg == apis.RS256 {
			return checkRSAPublic(key)
		}
	case ed25519.PublicKey:
		if alg == apis.EdDSA {
			return nil
		}
	}
	return fmt.Errorf("%w: %s does not go with a key of type %T", ErrInvalid, alg, public)
}
