// Package keystest holds what tests of signing keys share: the suite that every keys.Store passes (Run), and a Store in
// memory that remembers each change.
package keystest

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/keys"
)

// Change is one committed change: the set that it left, and its event.
type Change struct {
	Set   keys.Set
	Event audit.Event
}

// Store keeps a key set in memory. The zero value is empty.
type Store struct {
	mu      sync.Mutex
	history []Change
	fail    error
	ahead   time.Duration
}

// KeySet implements keys.Store.
func (s *Store) KeySet(ctx context.Context) (*keys.Set, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.trouble(ctx); err != nil {
		return nil, err
	}
	set := s.latest()
	set.Now = s.now()
	return &set, nil
}

// UpdateKeySet implements keys.Store.
func (s *Store) UpdateKeySet(ctx context.Context, change func(*keys.Set) (audit.Event, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.trouble(ctx); err != nil {
		return err
	}
	set := s.latest()
	set.Now = s.now()
	event, err := change(&set)
	if err != nil || event.Action == "" {
		return err
	}
	set = clone(set)
	set.Version = int64(len(s.history)) + 1
	s.history = append(s.history, Change{Set: set, Event: event})
	return nil
}

// Fail makes every later call fail with err; nil ends it.
func (s *Store) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// Ahead sets how far the store's clock is ahead of the process' own; behind when it is negative.
func (s *Store) Ahead(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead = d
}

// History returns every change so far, oldest first.
func (s *Store) History() []Change {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.history)
}

func (s *Store) trouble(ctx context.Context) error {
	if s.fail != nil {
		return s.fail
	}
	return ctx.Err()
}

func (s *Store) now() time.Time { return time.Now().Add(s.ahead).UTC().Truncate(time.Microsecond) }

func (s *Store) latest() keys.Set {
	if len(s.history) == 0 {
		return keys.Set{}
	}
	return clone(s.history[len(s.history)-1].Set)
}

func clone(set keys.Set) keys.Set {
	set.Keys = slices.Clone(set.Keys)
	for i := range set.Keys {
		set.Keys[i].PublicJWK = bytes.Clone(set.Keys[i].PublicJWK)
		set.Keys[i].Sealed = bytes.Clone(set.Keys[i].Sealed)
	}
	return set
}
