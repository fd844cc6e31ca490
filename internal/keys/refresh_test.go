package keys_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/rootkeys"
)

// frozen is a store whose database does not answer: every read waits until it is let go, and fails.
type frozen struct {
	keys.Store

	reads atomic.Int32
	asked chan struct{}
	let   chan struct{}
}

func (f *frozen) KeySet(ctx context.Context) (*keys.Set, error) {
	f.reads.Add(1)
	f.asked <- struct{}{}
	<-f.let
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nil, errFrozen
}

var errFrozen = errors.New("timeout")

// TestRefreshSharesAFailure is about tokens with unknown kids in an outage: were each to wait for a timeout of its own, one
// after the other, the last of a hundred callers would wait for minutes, and whoever reloads the keys behind them.
func TestRefreshSharesAFailure(t *testing.T) {
	t.Parallel()
	store := &frozen{asked: make(chan struct{}, 20), let: make(chan struct{})}
	ring := keys.NewRing(store, keys.NewSealer(issuer, rootkeys.Generate()), keys.DefaultPlan())
	asOf := time.Now()
	hangsUp, hangUp := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	refresh := func(ctx context.Context) {
		callers.Go(func() {
			if err := ring.Refresh(ctx, asOf); !errors.Is(err, errFrozen) {
				t.Errorf("Refresh = %v, want what the read failed with", err)
			}
		})
	}
	refresh(hangsUp)
	<-store.asked
	for range 19 {
		refresh(t.Context())
	}
	hangUp() // its read is everybody's by now
	close(store.let)
	callers.Wait()
	if got := store.reads.Load(); got != 1 {
		t.Errorf("%d reads, want one for all who wait for each other", got)
	}
}
