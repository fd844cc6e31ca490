// Package tokens owns the access token: its claims, how it is issued and how it is read back (RFC 9068). Whether it may be
// issued is decided in package oauth, whether it was taken back in package revocations.
package tokens

import (
	"errors"
	"time"

	"github.com/seed-1972b8eb/signet/internal/keys"
)

// ErrInvalid means that a text is not a live access token of this issuer: malformed, foreign, wrongly typed or signed,
// expired. The wrapped text says which, for logs and refusal records; callers of the protocol never see it.
var ErrInvalid = errors.New("invalid access token")

// ErrUnknownKey is the kind of ErrInvalid that can mend itself: the token names a key that this process does not know.
var ErrUnknownKey = errors.New("unknown key")

// ErrTooLarge means that a token with these claims would be longer than MaxSize.
var ErrTooLarge = errors.New("access token would be too large")

// MaxSize is how long a token may be, in bytes, issued or read. Many a proxy takes 8 KiB for all headers together.
const MaxSize = 8 << 10

// Claims is what an access token says (RFC 9068 §2.2).
type Claims struct {
	Issuer     string
	Subject    string
	ClientID   string
	Audience   string // one API; RFC 7519 §4.1.3 string form
	Scope      string // space-separated, never empty
	IssuedAt   time.Time
	ExpiresAt  time.Time
	ID         string         // jti, 128 random bits
	Generation int64          // gen
	Extra      map[string]any // static claims, never a reserved name; Parse gives numbers as json.Number
	KID        string         // from the header
	Typ        string         // from the header
	Alg        string         // from the header
}

// Issuer issues and reads the access tokens of one issuer. Safe for concurrent use.
type Issuer struct {
	name     string
	ring     *keys.Ring
	verified verified
}

// NewIssuer returns the Issuer that signs and verifies with ring. The name is the "iss" of its tokens, byte for byte that of
// the metadata (RFC 8414 §2).
func NewIssuer(issuer string, ring *keys.Ring) *Issuer {
	return &Issuer{name: issuer, ring: ring}
}
