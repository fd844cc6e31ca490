package keys

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/rootkeys"
)

// Sealer seals the private parts of signing keys under the master key, and opens them. What is sealed is bound to issuer,
// kid, algorithm and master version: whoever writes to the table without the master key can add no key, and cannot swap two.
// Safe for concurrent use.
type Sealer struct {
	issuer string
	master rootkeys.Set
}

// NewSealer returns the Sealer of an issuer.
func NewSealer(issuer string, master rootkeys.Set) *Sealer {
	return &Sealer{issuer: issuer, master: master}
}

// seal makes the record of a private key: public JWK, kid and sealed part. State and times are the caller's.
func (s *Sealer) seal(alg apis.Alg, private crypto.Signer) (Record, error) {
	kid, jwk, err := publicJWK(alg, private.Public())
	if err != nil {
		return Record{}, err
	}
	plain, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return Record{}, fmt.Errorf("seal signing key %s: %w", kid, err)
	}
	defer clear(plain)
	current := s.master.Current()
	r := Record{KID: kid, Alg: alg, PublicJWK: jwk, MasterVersion: current.Version}
	aead, err := newAEAD(current)
	if err != nil {
		return Record{}, fmt.Errorf("seal signing key %s: %w", kid, err)
	}
	r.Sealed = aead.Seal(nil, nil, plain, s.bound(r)) //nolint:gosec // this AEAD makes its own random nonce
	return r, nil
}

// unseal opens a record. The error names the kid and never what is in it.
func (s *Sealer) unseal(r Record) (crypto.Signer, error) {
	private, err := s.open(r)
	if err != nil {
		return nil, fmt.Errorf("unseal signing key %s: %w", r.KID, err)
	}
	return private, nil
}

func (s *Sealer) open(r Record) (crypto.Signer, error) {
	master, ok := s.master.Version(r.MasterVersion)
	if !ok {
		return nil, fmt.Errorf("master key version %d is not loaded", r.MasterVersion)
	}
	aead, err := newAEAD(master)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, r.Sealed, s.bound(r))
	if err != nil {
		return nil, errors.New("wrong master key, wrong issuer or corrupt record")
	}
	defer clear(plain)
	parsed, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, errors.New("what was sealed is no PKCS #8 key") // the parser's error might quote it
	}
	private, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("what was sealed cannot sign: %T", parsed)
	}
	if err := fits(r.Alg, private.Public()); err != nil {
		return nil, err
	}
	// The AAD binds the kid already; this holds against a writer that sealed a key under a name not its own.
	if kid, _, err := publicJWK(r.Alg, private.Public()); err != nil || kid != r.KID {
		return nil, errors.New("the kid is not the thumbprint of the key")
	}
	return private, nil
}

// bound is the additional data: each part with its length before it, so that no two records share it.
func (s *Sealer) bound(r Record) []byte {
	var out []byte
	for _, part := range []string{s.issuer, r.KID, string(r.Alg), strconv.Itoa(r.MasterVersion)} {
		out = binary.BigEndian.AppendUint64(out, uint64(len(part)))
		out = append(out, part...)
	}
	return out
}

// newAEAD is AES-256-GCM with a random 96-bit nonce in front; keys are few, so nonces never come close to colliding.
func newAEAD(master rootkeys.Key) (cipher.AEAD, error) {
	block, err := aes.NewCipher(master.Bytes[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
