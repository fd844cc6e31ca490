package keys

import (
	"crypto"
	"crypto/x509"

	"github.com/seed-1972b8eb/signet/internal/apis"
)

// ParsePrivate is the parser behind Import, for the fuzzer.
var ParsePrivate = parsePrivate

// SealAs seals a key under a kid that is not its own, as a faulty writer that has the master key could.
func (s *Sealer) SealAs(kid string, alg apis.Alg, private crypto.Signer) (Record, error) {
	r, err := s.seal(alg, private)
	if err != nil {
		return Record{}, err
	}
	r.KID = kid
	plain, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return Record{}, err
	}
	aead, err := newAEAD(s.master.Current())
	if err != nil {
		return Record{}, err
	}
	r.Sealed = aead.Seal(nil, nil, plain, s.bound(r))
	return r, nil
}
