package credential

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/seed-1972b8eb/signet/internal/rootkeys"
)

// Errors of digests.
var (
	// ErrUnknownPepper means that a digest was made under a version of the pepper that is not loaded: the operator's
	// trouble, and not a wrong secret.
	ErrUnknownPepper = errors.New("pepper version is not loaded")
	// ErrMalformedDigest means that a stored text is no digest.
	ErrMalformedDigest = errors.New("malformed digest")
)

// Digest is what is stored of a Secret: HMAC-SHA-256 under one version of the pepper. The zero Digest matches nothing.
type Digest struct {
	Pepper int // version of the pepper, from 1
	Sum    [32]byte
}

// Pepper makes and checks digests. Safe for concurrent use.
type Pepper struct{ keys rootkeys.Set }

// NewPepper returns the Pepper of a set: new digests are made under its current version, old ones checked under theirs.
func NewPepper(s rootkeys.Set) *Pepper { return &Pepper{keys: s} }

// Digest returns the digest of a secret that belongs to owner, its client ID. The owner is part of the digest, so that a
// row moved to another client matches nothing there.
func (p *Pepper) Digest(owner string, s Secret) Digest {
	if s.text == nil {
		return Digest{}
	}
	k := p.keys.Current()
	return Digest{Pepper: k.Version, Sum: sum(k, owner, s)}
}

// Matches tells in constant time whether d is the digest of this owner's secret. A zero Digest and a zero Secret never
// match. ErrUnknownPepper when the version of d is not loaded.
func (p *Pepper) Matches(owner string, s Secret, d Digest) (bool, error) {
	if d == (Digest{}) || s.text == nil {
		return false, nil
	}
	k, ok := p.keys.Version(d.Pepper)
	if !ok {
		return false, fmt.Errorf("%w: version %d", ErrUnknownPepper, d.Pepper)
	}
	got := sum(k, owner, s)
	return hmac.Equal(got[:], d.Sum[:]), nil
}

// Text returns the stored form, "v<version>:<base64url>".
func (d Digest) Text() string {
	return "v" + strconv.Itoa(d.Pepper) + ":" + base64.RawURLEncoding.EncodeToString(d.Sum[:])
}

// ParseDigest reads the stored form back. Only what Text can write is accepted; the error is ErrMalformedDigest.
func ParseDigest(text string) (Digest, error) {
	version, encoded, ok := strings.Cut(text, ":")
	if !ok || !strings.HasPrefix(version, "v") {
		return Digest{}, ErrMalformedDigest
	}
	n, err := strconv.Atoi(version[1:])
	if err != nil || n < 1 {
		return Digest{}, ErrMalformedDigest
	}
	sum, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil || len(sum) != sha256.Size {
		return Digest{}, ErrMalformedDigest
	}
	d := Digest{Pepper: n, Sum: [32]byte(sum)}
	if d.Text() != text || d.Sum == [32]byte{} { // "v01:", line breaks inside the base64; a sum of zeros is nobody's
		return Digest{}, ErrMalformedDigest
	}
	return d, nil
}

// sum is HMAC-SHA-256(pepper, len(owner) || owner || text): the length keeps owner and text from flowing into each other.
func sum(k rootkeys.Key, owner string, s Secret) [32]byte {
	mac := hmac.New(sha256.New, k.Bytes[:])
	input := make([]byte, 0, 8+len(owner)+len(*s.text))
	input = binary.BigEndian.AppendUint64(input, uint64(len(owner)))
	input = append(input, owner...)
	input = append(input, *s.text...)
	mac.Write(input)
	return [32]byte(mac.Sum(nil))
}
