// Package revocations owns what was taken back: single access tokens by "jti", and cut-offs, which end everything issued so
// far for a client or under a signing key. It holds the contract of the stores (and revocationstest the suite that each of
// them passes) and Memory, the set that lives in the process where one process owns the database.
package revocations

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/seed-1972b8eb/signet/internal/audit"
)

// Retention is how long an entry is kept after the last token that it concerns has expired.
const Retention = 5 * time.Minute

// Everything is the generation of a cut-off that no token passes: of a deleted client or a compromised key.
const Everything = math.MaxInt64

// Errors of checks and sets.
var (
	ErrForgotten  = errors.New("the token lives by this clock and has expired by the database's, where what is known of it may be deleted; set the clocks")
	ErrIdentity   = errors.New("another Redis answered than the one that is trusted")
	ErrIncomplete = errors.New("the set in Redis is not complete")
)

// Revocation is one access token taken back.
type Revocation struct {
	JTI       string
	ClientID  string
	ExpiresAt time.Time // of the token
	RevokedAt time.Time
	Reason    string
}

// CutOffKind says what a cut-off is about.
type CutOffKind string

// The kinds. API tokens and accounts join them when they exist.
const (
	ByClient CutOffKind = "client"
	ByKey    CutOffKind = "key"
)

// CutOff ends every token of its subject whose generation is lower than Generation.
type CutOff struct {
	Kind       CutOffKind
	ID         string // client ID or kid
	Generation int64
	ExpiresAt  time.Time // when the last token that it concerns has expired
}

// Token is what a check needs to know of an access token whose signature and times were verified before.
type Token struct {
	JTI        string
	ClientID   string
	KID        string
	Generation int64
	ExpiresAt  time.Time // zero: not known
}

// Store keeps revocations and cut-offs.
//
// The promise: once Revoke has returned nil, or the transaction that wrote a cut-off was acknowledged, no Check that starts
// later, in any process, answers false for a token that it concerns, until that token has expired; not after a crash of any
// process involved. When the answer cannot be known, Check returns an error and callers answer 503. Cut-offs are written by
// the stores of clients and keys, inside their own transactions. Safe for concurrent use.
type Store interface {
	// Revoke makes r durable before it returns, together with the event. Revoking the same JTI again is no error, and
	// makes the same promise. An error means that the outcome is unknown.
	Revoke(ctx context.Context, r Revocation, e audit.Event) error
	// Confirm returns when the promise holds for every cut-off whose transaction was committed before, by whatever process.
	Confirm(ctx context.Context) error
	// Check answers whether the token was taken back.
	Check(ctx context.Context, t Token) (bool, error)
	// Revocations lists unexpired ones, newest first, at most limit.
	Revocations(ctx context.Context, limit int) ([]Revocation, error)
	// CutOffs lists unexpired ones.
	CutOffs(ctx context.Context) ([]CutOff, error)
	// Sweep deletes at most limit entries of each kind that ended before Retention ago, and says how many it deleted.
	Sweep(ctx context.Context, limit int) (int, error)
}
