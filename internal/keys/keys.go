// Package keys owns the keys that sign access tokens: how they are made, imported and sealed at rest, the states that they
// pass through, when they change (Plan), and the Ring that signs and verifies with them in memory.
//
// pending (published, not signing) -> active (signing) -> retiring (published, not signing) -> retired; or compromised.
package keys

import (
	"context"
	"crypto"
	"errors"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
)

// State is where a key is in its life.
type State string

// The states (DESIGN.md §1).
const (
	Pending     State = "pending"
	Active      State = "active"
	Retiring    State = "retiring"
	Retired     State = "retired"
	Compromised State = "compromised"
)

// Record is a signing key as it is stored: its private part sealed under the master key.
type Record struct {
	KID           string // RFC 7638 thumbprint
	Alg           apis.Alg
	State         State
	PublicJWK     []byte
	Sealed        []byte // AES-256-GCM; AAD = issuer, kid, alg and version, each length-prefixed
	MasterVersion int
	CreatedAt     time.Time
	PublishedAt   time.Time // first in the JWKS
	ActivatedAt   time.Time
	RetiringAt    time.Time // when it stopped signing
	EndedAt       time.Time // when it was retired or marked compromised
}

// Set is every signing key of the issuer. Version rises with each change.
type Set struct {
	Version int64
	Now     time.Time // when it was read, by the store's clock: UTC, in whole microseconds; nothing of it is stored
	Keys    []Record
}

// Errors that callers tell apart.
var (
	ErrNotFound    = errors.New("signing key not found")
	ErrTooEarly    = errors.New("standby key has not been visible long enough")
	ErrNoActiveKey = errors.New("no active signing key for the algorithm")
	ErrInvalid     = errors.New("invalid signing key")
)

// Store keeps the Set. Safe for concurrent use, by several replicas too.
type Store interface {
	// KeySet returns all keys. All replicas share the clock of Now, here and below, where they share the store.
	KeySet(ctx context.Context) (*Set, error)
	// UpdateKeySet calls change with the current Set inside a transaction that no other UpdateKeySet shares, and stores
	// what it leaves: rows that are new or differ. A key that became Compromised leaves a cut-off. An Event with an empty
	// Action means that nothing changed, and nothing is stored.
	UpdateKeySet(ctx context.Context, change func(*Set) (audit.Event, error)) error
}

// PublicKey is a key that may verify.
type PublicKey struct {
	KID   string
	Alg   apis.Alg
	Key   crypto.PublicKey
	State State
}
