package keys

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"

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

// fixedWidth turns the ASN.1 form that crypto.Signer returns, a DER SEQUENCE of the INTEGERs r and s (RFC 3279 §2.2.3), into
// the 64 bytes r || s of RFC 7518 §3.4. Every ES256 token comes through here, and encoding/asn1 takes ten times as long.
func fixedWidth(der []byte) ([]byte, error) {
	const sequence, integer = 0x30, 0x02
	out := make([]byte, 64)
	numbers, after, whole := element(sequence, der)
	r, numbers, hasR := element(integer, numbers)
	s, more, hasS := element(integer, numbers)
	if !whole || !hasR || !hasS || len(after)+len(more) > 0 || !unsigned(r, out[:32]) || !unsigned(s, out[32:]) {
		return nil, fmt.Errorf("signer returned no P-256 signature of %d bytes", len(der))
	}
	return out, nil
}

// element splits the element of a tag off the front of DER, and returns its content and what follows. Only lengths of one byte are known here: no signature of P-256
// has a longer one.
func element(tag byte, der []byte) ([]byte, []byte, bool) {
	if len(der) < 2 || der[0] != tag || der[1] >= 0x80 || len(der)-2 < int(der[1]) {
		return nil, nil, false
	}
	end := 2 + int(der[1])
	return der[2:end], der[end:], true
}

// unsigned writes a DER integer into the end of a field of zeros. It must be positive, in its shortest form, and fit.
func unsigned(number, into []byte) bool {
	switch {
	case len(number) == 0 || number[0] >= 0x80: // negative
		return false
	case number[0] == 0 && (len(number) == 1 || number[1] < 0x80): // zero, or longer than it has to be
		return false
	case number[0] == 0:
		number = number[1:]
	}
	if len(number) > len(into) {
		return false
	}
	copy(into[len(into)-len(number):], number)
	return true
}

// Format implements fmt.Formatter: no verb reaches the private key.
func (s Signer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[signer "+s.KID+"]") }

// LogValue implements slog.LogValuer.
func (s Signer) LogValue() slog.Value { return slog.StringValue("[signer " + s.KID + "]") }
