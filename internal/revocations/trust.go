package revocations

import (
	"context"
	"time"
)

// Identity names one life of one Redis server as a primary: its run ID and its replication ID. It ends with a restart, a
// demotion or a promotion, and never comes back. Empty: none.
type Identity string

// Trust is the one row that says which Redis replicas write to and read from.
type Trust struct {
	WriteID    Identity // revocations are written there before they are acknowledged; empty: nowhere
	ReadID     Identity // what introspection may ask; empty while a rebuild fills it
	Generation int64    // rises with every publication and withdrawal; the marker of a complete set names it
	Settled    bool     // no lease of an earlier generation can be alive
}

// Ledger is the truth that several replicas share, with the trust row beside the entries. Every method is one transaction,
// and durable when it returns without an error; an error means that the outcome is unknown.
type Ledger interface { //nolint:interfacebloat // the steps of one protocol
	Truth
	// Withdraw ends the trust in any Redis, if the generation is still this one: no identity, the next generation, not settled.
	// It returns the row as it is afterwards, whoever has changed it.
	Withdraw(ctx context.Context, generation int64) (Trust, error)
	// Publish lets everybody write to id and nobody read, if the generation is still this one: a higher generation, not
	// settled. It returns that one, or 0 where somebody else was faster. Nobody can guess it: a set that another installation
	// has put into the same Redis does not have its marker.
	Publish(ctx context.Context, id Identity, generation int64) (int64, error)
	// Complete lets everybody read from id, if the generation and the identity are still these, and says whether they are.
	Complete(ctx context.Context, id Identity, generation int64) (bool, error)
	// Settle notes that no lease of an earlier generation can be alive, if the generation is still this one.
	Settle(ctx context.Context, generation int64) error
	// Unconfirmed returns committed cut-offs that nobody has yet brought to Redis and, of the same transaction, the trust row.
	Unconfirmed(ctx context.Context) ([]CutOff, Trust, error)
	// Confirm notes that these have been brought there; one that was raised since stays unconfirmed.
	Confirm(ctx context.Context, cutOffs []CutOff) error
	// Exclusive runs do while no other process runs something under that name, and says whether it did: false, and nothing
	// done, while another process is at it. The exclusion ends with the process that has it, or when its connection ends.
	Exclusive(ctx context.Context, name string, do func(ctx context.Context) error) (bool, error)
}

// Set is the fast copy of the truth in Redis. Entries only ever join it until they have expired, or until all of it goes at
// once: with the marker, because it is all one key. Every method names the identity that it means and proves, after its
// commands and on the same connection, that it was that one which answered; if not, it is ErrIdentity and the answer counts
// for nothing. No call is ever repeated, and each is bounded by its context.
type Set interface { //nolint:interfacebloat // the steps of one protocol
	// Identity asks the primary who it is.
	Identity(ctx context.Context) (Identity, error)
	// Holds says whether the set of this generation is there and complete.
	Holds(ctx context.Context, id Identity, generation int64) (bool, error)
	// Revoked answers for each token whether it was taken back. ErrIncomplete when the marker of this generation is not
	// complete.
	Revoked(ctx context.Context, id Identity, generation int64, tokens []Token) ([]bool, error)
	// Add writes entries.
	Add(ctx context.Context, id Identity, revoked []Revocation, cutOffs []CutOff) error
	// Begin empties the set and puts the marker of this generation there, pending.
	Begin(ctx context.Context, id Identity, generation int64) error
	// Finish completes the pending marker. ErrIncomplete when it is gone.
	Finish(ctx context.Context, id Identity, generation int64) error
	// Sweep removes at most limit tokens that expired before this time, and those of the cut-offs that are there with no
	// higher a generation than given.
	Sweep(ctx context.Context, id Identity, before time.Time, cutOffs []CutOff, limit int) error
	// Purge removes sets of other identities.
	Purge(ctx context.Context, id Identity) error
}
