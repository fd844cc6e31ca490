// Package usage owns the counting of what was issued: tokens per client and API and day, and when each client and secret was
// last used. Counts are kept in memory and go to the database in one batch, so that no token costs a relational write
// (DESIGN.md §4).
package usage

import (
	"context"
	"time"
)

// Use is one issued token.
type Use struct {
	ClientID string
	SecretID string // empty for private_key_jwt
	API      string
	At       time.Time
}

// Batch is what was counted since the last flush.
type Batch struct {
	Tokens  map[Key]int64        // tokens issued
	Clients map[string]time.Time // client ID -> last use
	Secrets map[string]time.Time // secret ID -> last use
}

// Key is what tokens are counted by.
type Key struct {
	ClientID string
	API      string
	Day      string // UTC, 2006-01-02
}

// Store adds a batch to what is kept, in one transaction.
type Store interface {
	AddUsage(ctx context.Context, b Batch) error
}
