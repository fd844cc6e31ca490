package app

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// Intervals and bounds of what the server does beside serving.
const (
	keysEvery  = 30 * time.Second
	sweepEvery = time.Minute
	sweepLimit = 5_000 // rows of each kind that one statement deletes at most, so that it never holds the database for long
	sweepMost  = 20    // such statements of each kind in a row
)

// background runs the loops of the server until ctx ends, and returns when all of them have.
func (a *App) background(ctx context.Context) {
	var loops sync.WaitGroup
	loops.Go(func() { a.cache.Run(ctx) })
	if a.replicated != nil {
		loops.Go(func() { a.replicated.Run(ctx) })
	}
	loops.Go(func() { a.usage.Run(ctx) })
	loops.Go(func() { tuneHeap(ctx) })
	loops.Go(func() { a.every(ctx, keysEvery, "look after the signing keys", a.keys.Tick) })
	loops.Go(func() { a.every(ctx, sweepEvery, "sweep what has expired", a.sweep) })
	loops.Wait()
}

// every calls do at once and then at each interval. Failures are logged and tried again at the next one: none of these
// loops is needed for an answer to be right.
func (a *App) every(ctx context.Context, interval time.Duration, what string, do func(context.Context) error) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		bounded, cancel := context.WithTimeout(ctx, interval)
		err := do(bounded)
		cancel()
		if err != nil && ctx.Err() == nil {
			a.log.WarnContext(ctx, "background work failed", slog.String("work", what), slog.String("error", err.Error()))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sweep deletes a bounded number of entries that no answer needs any more. One replica at a time does it; the others have
// nothing to do then.
func (a *App) sweep(ctx context.Context) error {
	_, err := a.db.Exclusive(ctx, "sweep", func(ctx context.Context) error {
		var errs []error // of one, and the others go on: no table may grow because of another
		for _, sweep := range []func(context.Context, int) (int, error){
			a.revocations.Sweep, a.db.Assertions().Sweep, a.db.SweepChanges,
		} {
			errs = append(errs, sweepAll(ctx, sweep))
		}
		return errors.Join(errs...)
	})
	return err
}

// sweepAll sweeps one kind until little is left, so that no table grows faster than it is swept.
func sweepAll(ctx context.Context, sweep func(context.Context, int) (int, error)) error {
	for range sweepMost {
		if n, err := sweep(ctx, sweepLimit); err != nil || n < sweepLimit {
			return err
		}
	}
	return nil
}
