package revocations

import (
	"context"
	"log/slog"
	"time"
)

// fence is how long every lease that was obtained before a moment is certainly dead after it: a lease and a margin, which
// covers how differently two machines' clocks run. No instant crosses machines.
const fence = leaseLife + 100*time.Millisecond

// settleTimeout bounds the note that a wait is over. It spares others a wait; an answer waits for it no longer than this.
const settleTimeout = 200 * time.Millisecond

// Confirm brings every committed cut-off to the set that nobody has confirmed yet, those too that a process left behind which
// died after its commit. A change is acknowledged after it, also one that found nothing to change: an attempt before it may
// be what did the change.
func (r *Replicated) Confirm(ctx context.Context) error {
	cutOffs, trust, err := r.cfg.Ledger.Unconfirmed(ctx)
	if err != nil || len(cutOffs) == 0 {
		return err
	}
	if err := r.spread(ctx, trust, nil, cutOffs); err != nil {
		return err
	}
	return r.cfg.Ledger.Confirm(ctx, cutOffs)
}

// spread takes what has just been committed to the set that the same transaction saw trusted. What cannot be written there
// ends the trust instead. It returns when no lease can be alive that does not know of it.
func (r *Replicated) spread(ctx context.Context, trust Trust, revoked []Revocation, cutOffs []CutOff) error {
	committed := time.Now() // or a little later, which makes the wait longer
	for trust.WriteID != "" {
		err := r.add(ctx, trust.WriteID, revoked, cutOffs)
		if err == nil {
			break
		}
		r.cfg.Log.WarnContext(ctx, "a revocation cannot be written to Redis: no replica reads from it until it is rebuilt",
			slog.String("error", err.Error()))
		// Where somebody else was faster, the row says where to write now.
		if trust, err = r.cfg.Ledger.Withdraw(ctx, trust.Generation); err != nil {
			return err
		}
		r.count.Withdrawals.Add(1)
		committed = time.Now()
	}
	if trust.Settled {
		return nil
	}
	if err := wait(ctx, time.Until(committed.Add(fence))); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	if err := r.cfg.Ledger.Settle(ctx, trust.Generation); err != nil {
		r.cfg.Log.DebugContext(ctx, "the next revocation waits, too", slog.String("error", err.Error()))
	}
	return nil
}

func (r *Replicated) add(ctx context.Context, id Identity, revoked []Revocation, cutOffs []CutOff) error {
	if r.cfg.Set == nil {
		return errNoSet
	}
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	return r.cfg.Set.Add(ctx, id, revoked, cutOffs)
}

// wait waits for that long on this process' monotonic clock.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
