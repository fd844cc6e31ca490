package keys

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"fmt"
	"io"
	"log/slog"
	"math/big"

	"github.com/seed-1972b8eb/signet/internal/apis"
)

// Signer is an active key. Key may live elsewhere (a KMS): nothing but crypto.Signer is asked of it. Prints its kid only.
type Signer struct {
	KID string
	Alg apis.Alg
	Key crypto.Signer
}

// Signature returns the JWS signature of a signing input (RFC 7518 §3.3 and §3.4, RFC 8037 §3.1).
func (s Signer) Signature(input []byte) ([]byte, error) {
	switch s.Alg {
	case apis.ES256:
		digest := sha256.Sum256(input)
		der, err := s.Key.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err != nil {
			return nil, fmt.Errorf("sign with key %s: %w", s.KID, err)
		}
		return fixedWidth(der)
	case apis.RS256:
		digest := sha256.Sum256(input)
		return s.sign(digest[:], crypto.SHA256)
	case apis.EdDSA:
		return s.sign(input, crypto.Hash(0)) // Ed25519 hashes by itself
	default:
		return nil, fmt.Errorf("sign with key %s: unknown algorithm %q", s.KID, s.Alg)
	}
}

func (s Signer) sign(message []byte, hash crypto.Hash) ([]byte, error) {
	signature, err := s.Key.Sign(rand.Reader, message, hash)
	if err != nil {
		return nil, fmt.Errorf("sign with key %s: %w", s.KID, err)
	}
	return signature, nil
}

// fixedWidth turns the ASN.1 form that crypto.Signer returns into the 64 bytes r || s of RFC 7518 §3.4.
func fixedWidth(der []byte) ([]byte, error) {
	var parts struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &parts)
	if err != nil || len(rest) > 0 || parts.R.Sign() <= 0 || parts.S.Sign() <= 0 || parts.R.BitLen() > 256 || parts.S.BitLen() > 256 {
		return nil, fmt.Errorf("signer returned no P-256 signature of %d bytes", len(der))
	}
	out := make([]byte, 64)
	parts.R.FillBytes(out[:32])
	parts.S.FillBytes(out[32:])
	return out, nil
}

// Format implements fmt.Formatter: no verb reaches the private key.
func (s Signer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[signer "+s.KID+"]") }

// LogValue implements slog.LogValuer.
func (s Signer) LogValue() slog.Value { return slog.StringValue("[signer " + s.KID + "]") }
