package revocations

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// leaseLife is how long a look at the trust row counts.
const leaseLife = 500 * time.Millisecond

var errNoSet = errors.New("this replica has no Redis, and another one has: configure the same for all")

// lease allows this process to believe one complete set. It is dated from before the trust row was read, so that whoever
// changes the row knows when every lease from before has ended.
type lease struct {
	id         Identity
	generation int64
	dated      time.Time
	reads      *reads
}

// alive goes by both clocks: the monotonic one stands still while the machine is suspended, the other one can be set.
func (l *lease) alive(now time.Time, life time.Duration) bool {
	if l == nil {
		return false
	}
	for _, age := range []time.Duration{now.Sub(l.dated), now.Round(0).Sub(l.dated.Round(0))} {
		if age < 0 || age >= life {
			return false
		}
	}
	return true
}

// leaseLife is that of this process' own leases.
func (r *Replicated) leaseLife() time.Duration { return leaseLife + r.cfg.Grace }

// poll is one look at the ledger.
type poll struct {
	sent  time.Time
	trust Trust
}

// clock is a look at the ledger's: it said now after the moment sent.
type clock struct{ sent, now time.Time }

// swept says whether the ledger may have deleted what it knew of a token that lives by this process' clock. The ledger's is
// no further than it was at the last look and as long as either clock says that this is ago; half of Retention covers what
// the looks and sweeps of others take.
func (c *clock) swept(t Token, now time.Time) bool {
	if c == nil || c.now.IsZero() || t.ExpiresAt.IsZero() {
		return false
	}
	ago := max(now.Sub(c.sent), now.Round(0).Sub(c.sent.Round(0)))
	return t.ExpiresAt.Before(c.now.Add(ago - Retention/2))
}

// Polled is told of each look at the ledger: the moment before it was sent, the ledger's clock (zero: not known), the trust
// row, and whether there are cut-offs to confirm. It never blocks.
func (r *Replicated) Polled(sent, now time.Time, trust Trust, unconfirmed bool) {
	r.clock.Store(&clock{sent, now})
	if unconfirmed {
		select {
		case r.heals <- struct{}{}:
		default: // somebody is at it
		}
	}
	if r.cfg.Set == nil {
		// Said at the first sight of it, once: whoever withdraws for this reason says so each time.
		if trust.WriteID != "" && r.differs.CompareAndSwap(false, true) {
			r.cfg.Log.Warn("each revocation here ends the trust in the others' Redis, and waits; once it was switched off for all replicas, "+
				"the first one mends that", slog.String("error", errNoSet.Error()))
		}
		return
	}
	for {
		select {
		case r.polls <- poll{sent, trust}:
			return
		default:
		}
		select {
		case <-r.polls: // a later one takes its place
		default:
		}
	}
}

// Run keeps the lease, rebuilds the set where it is lost, and confirms what others have left behind, until ctx ends.
func (r *Replicated) Run(ctx context.Context) {
	var loops sync.WaitGroup
	loops.Go(func() { each(ctx, r.polls, func(p poll) { r.keep(ctx, p) }) })
	loops.Go(func() {
		each(ctx, r.heals, func(struct{}) {
			if err := r.Confirm(ctx); err != nil && ctx.Err() == nil {
				r.cfg.Log.WarnContext(ctx, "cut-offs cannot be confirmed; the changes they belong to are not acknowledged",
					slog.String("error", err.Error()))
			}
		})
	})
	loops.Wait()
}

func each[T any](ctx context.Context, from <-chan T, do func(T)) {
	for {
		select {
		case <-ctx.Done():
			return
		case v := <-from:
			do(v)
		}
	}
}

// keep renews the lease where the trust row and this replica's Redis agree, and rebuilds the set where they do not.
func (r *Replicated) keep(ctx context.Context, p poll) {
	if p.sent.Before(r.rebuilt) {
		return // it says what this process has changed since
	}
	err := r.renew(ctx, p)
	if err == nil {
		return
	}
	if old := r.lease.Load(); old != nil {
		r.distrust(ctx, old, err)
	}
	// What has not been said is no reason to rebuild: one slow answer to one replica would empty the set of all.
	if !errors.Is(err, ErrIncomplete) && !errors.Is(err, ErrIdentity) {
		r.tries.away(ctx, r.cfg.Log, err)
		return
	}
	id, err := r.identity(ctx)
	if err != nil {
		r.tries.away(ctx, r.cfg.Log, err)
		return
	}
	if !r.tries.may(p.trust, id) {
		return
	}
	if err := r.rebuild(ctx, id, p.trust.Generation); err != nil && ctx.Err() == nil {
		r.cfg.Log.WarnContext(ctx, "the revocations in Redis cannot be rebuilt", slog.String("error", err.Error()))
	}
	r.rebuilt = time.Now()
}

func (r *Replicated) identity(ctx context.Context) (Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	return r.cfg.Set.Identity(ctx)
}

// renew obtains a lease from a look at the trust row.
func (r *Replicated) renew(ctx context.Context, p poll) error {
	if p.trust.ReadID == "" || p.trust.ReadID != p.trust.WriteID {
		return ErrIncomplete
	}
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	holds, err := r.cfg.Set.Holds(ctx, p.trust.ReadID, p.trust.Generation)
	if err != nil {
		return err
	}
	if !holds {
		return ErrIncomplete
	}
	old := r.lease.Load()
	next := &lease{id: p.trust.ReadID, generation: p.trust.Generation, dated: p.sent}
	if old != nil && old.id == next.id && old.generation == next.generation {
		next.reads = old.reads
	} else {
		next.reads = &reads{ask: r.askSet(next.id, next.generation), atOnce: setReads}
	}
	r.lease.Store(next)
	if old == nil {
		r.cfg.Log.InfoContext(ctx, "revocations are read from Redis", slog.Int64("generation", next.generation))
	}
	r.tries.held(p.trust.ReadID)
	return nil
}

// askSet asks one set, and no other.
func (r *Replicated) askSet(id Identity, generation int64) func(context.Context, []Token) ([]bool, error) {
	return func(ctx context.Context, tokens []Token) ([]bool, error) {
		ctx, cancel := context.WithTimeout(ctx, redisTimeout)
		defer cancel()
		return r.cfg.Set.Revoked(ctx, id, generation, tokens)
	}
}

// distrust ends a lease early. It spares the requests after this one the same failure.
func (r *Replicated) distrust(ctx context.Context, l *lease, why error) {
	if r.lease.CompareAndSwap(l, nil) {
		r.cfg.Log.WarnContext(ctx, "revocations are read from the database, not from Redis", slog.String("reason", why.Error()))
	}
}
