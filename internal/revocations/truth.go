package revocations

import (
	"context"
	"time"

	"github.com/seed-1972b8eb/signet/internal/audit"
)

// Truth is where revocations are durable. Cut-offs come into it with the changes that they belong to, inside the transactions
// of the stores of clients and keys.
type Truth interface {
	// Record makes r durable before it returns, together with the event, and returns the trust row as the same transaction
	// saw it (zero where one process owns the data). Recording the same JTI again is no error. An error means that the outcome
	// is unknown.
	Record(ctx context.Context, r Revocation, e audit.Event) (Trust, error)
	// Revoked answers for each token whether it was taken back, all at one moment after the call began.
	Revoked(ctx context.Context, tokens []Token) ([]bool, error)
	// Live calls batch with every revocation and cut-off that has not ended or ended less than Retention ago, in pieces of at
	// most some thousand, all read at one moment after the call began. An error of batch ends it and is returned.
	Live(ctx context.Context, batch func([]Revocation, []CutOff) error) error
	// Revocations lists unexpired ones, newest first, at most limit.
	Revocations(ctx context.Context, limit int) ([]Revocation, error)
	// CutOffs lists unexpired ones.
	CutOffs(ctx context.Context) ([]CutOff, error)
	// Sweep deletes at most limit entries of each kind that ended before Retention ago, by the clock of the truth.
	Sweep(ctx context.Context, limit int) (Swept, error)
}

// Swept is what one sweep has deleted.
type Swept struct {
	Before      time.Time // what ended before this time has no place in any set
	Revocations int
	CutOffs     []CutOff
}
