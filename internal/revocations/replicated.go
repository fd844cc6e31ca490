package revocations

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/seed-1972b8eb/signet/internal/audit"
)

// Replicated is the Store of replicas that share a ledger, and perhaps a fast copy of it in Redis. docs/revocation explains
// the protocol and holds the model that it was checked with: change both together.
type Replicated struct {
	cfg     ReplicatedConfig
	reads   *reads
	lease   atomic.Pointer[lease] // nil: the set is not trusted now
	polls   chan poll             // to the keeper of the lease: the latest one
	clock   atomic.Pointer[clock] // of the ledger, as last read
	heals   chan struct{}         // to who confirms what others have left behind
	tries   tries                 // the keeper's own
	rebuilt time.Time             // when the keeper's last attempt at a rebuild ended
	count   Counts

	differs atomic.Bool // it was said that others have a Redis, and this one none
}

// ReplicatedConfig is what a Replicated works with.
type ReplicatedConfig struct {
	Ledger Ledger
	// Set is the copy in Redis; nil: none. Every check reads the ledger then, and what other replicas have in Redis is not
	// trusted after a revocation here, which cannot reach it.
	Set Set
	// Grace makes leases longer than the protocol's. A replica that cannot read the ledger goes on for so long from Redis
	// alone; see revocation.grace for what that costs.
	Grace time.Duration
	Log   *slog.Logger
}

// Counts is what has happened since the start, for metrics.
type Counts struct {
	FromRedis, FromLedger atomic.Int64 // checks that were answered, by what answered them
	Rebuilds, Withdrawals atomic.Int64
}

// redisTimeout bounds one question to Redis, and one write of a revocation.
const redisTimeout = 100 * time.Millisecond

// How many questions run at a time. More would leave each of them fewer checks to share it.
const (
	ledgerReads = 4
	setReads    = 2
)

// NewReplicated returns a Replicated. Feed it the polls of the ledger, and call Run beside the server.
func NewReplicated(cfg ReplicatedConfig) *Replicated {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Replicated{
		cfg: cfg, reads: &reads{ask: cfg.Ledger.Revoked, atOnce: ledgerReads}, polls: make(chan poll, 1), heals: make(chan struct{}, 1),
	}
}

// Revoke makes r durable, brings it to the set where one is trusted, and returns when no replica can answer from anything
// older. A token that is revoked already goes the whole way again: a row that somebody wrote is not a promise kept.
func (r *Replicated) Revoke(ctx context.Context, revocation Revocation, e audit.Event) error {
	trust, err := r.cfg.Ledger.Record(ctx, revocation, e)
	if err != nil {
		return err
	}
	return r.spread(ctx, trust, []Revocation{revocation}, nil)
}

// Check answers from the set under a lease that is alive after the call began, and else from the ledger. ErrForgotten.
func (r *Replicated) Check(ctx context.Context, t Token) (bool, error) {
	if r.clock.Load().swept(t, time.Now()) {
		return false, ErrForgotten
	}
	if l := r.lease.Load(); l.alive(time.Now(), r.leaseLife()) {
		revoked, err := l.reads.check(ctx, t)
		if err == nil {
			r.count.FromRedis.Add(1)
			return revoked, nil
		}
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		r.distrust(ctx, l, err)
	}
	revoked, err := r.reads.check(ctx, t)
	if err == nil {
		r.count.FromLedger.Add(1)
	}
	return revoked, err
}

// Revocations lists from the ledger.
func (r *Replicated) Revocations(ctx context.Context, limit int) ([]Revocation, error) {
	return r.cfg.Ledger.Revocations(ctx, limit)
}

// CutOffs lists from the ledger.
func (r *Replicated) CutOffs(ctx context.Context) ([]CutOff, error) {
	return r.cfg.Ledger.CutOffs(ctx)
}

// Sweep sweeps the ledger, and then the set. What stays in the set because Redis is away goes with the next sweep, a
// cut-off with the next rebuild.
func (r *Replicated) Sweep(ctx context.Context, limit int) (int, error) {
	swept, err := r.cfg.Ledger.Sweep(ctx, limit)
	if err != nil {
		return 0, err
	}
	if l := r.lease.Load(); l != nil {
		err = r.cfg.Set.Sweep(ctx, l.id, swept.Before, swept.CutOffs, limit)
	}
	return swept.Revocations + len(swept.CutOffs), err
}

// Counts returns what has happened so far.
func (r *Replicated) Counts() *Counts { return &r.count }

// Trusted says whether checks are answered from Redis now.
func (r *Replicated) Trusted() bool { return r.lease.Load().alive(time.Now(), r.leaseLife()) }
