// Package registry owns the read side of what admins registered: a bounded cache of clients and APIs that is valid by epoch
// and not by age. Every change raises the one-row registry epoch and notes what changed, in its own transaction; the cache
// reads the epoch every 200 ms and drops what changed (DESIGN.md §6). The write side are clients.Registry and apis.Registry.
package registry

import (
	"context"
	"errors"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/revocations"
)

// ErrUnavailable means that the answer cannot be known now: the database did not answer and what is cached is too old.
var ErrUnavailable = errors.New("registry is unavailable")

// Kind says what sort of record changed.
type Kind string

// The kinds of change.
const (
	ClientChanged Kind = "client" // ID is the client's ID
	APIChanged    Kind = "api"    // ID is the API's identifier
	KeysChanged   Kind = "keys"   // ID is empty
)

// Change is one changed record.
type Change struct {
	Kind Kind
	ID   string
}

// Commit is what one committed transaction of this process changed; stores report it after the commit and before they
// return, so that this process never serves what it has itself replaced.
type Commit struct {
	Changes []Change
	CutOffs []revocations.CutOff
}

// Source is where the cache reads from.
type Source interface {
	// Client returns the client with this ID, or clients.ErrNotFound.
	Client(ctx context.Context, id string) (*clients.Client, error)
	// APIs returns all APIs.
	APIs(ctx context.Context) ([]*apis.API, error)
	// Poll reads what has changed after the epoch since, all at one moment after the call began.
	Poll(ctx context.Context, since int64) (Poll, error)
}

// Poll is what one look at the database's epoch gives.
type Poll struct {
	Server   int64 // the run of the database's server that answered; 0 with SQLite. Another run may have another history
	Epoch    int64
	Changes  []Change // after the epoch that was asked about
	Complete bool     // false when some of these are no longer kept: everything cached must go

	// For the revocations that replicas share (PostgreSQL); zero with SQLite.
	Now         time.Time // the database's clock
	Trust       revocations.Trust
	Unconfirmed bool // there are cut-offs that have not been brought to Redis yet
}
