package revocations

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seed-1972b8eb/signet/internal/audit"
)

// Memory is the set that lives in the process where one process owns the database (SQLite). It is loaded from the truth
// when it is made and written through: a revocation is in the truth before it is here, and here before Revoke returns. Check
// reads memory alone. The owner of the process holds the exclusive lock on the data directory that makes this sound.
//
// Cut-offs are written by the stores of clients and keys; whoever opens those hands Cut to them, so that a cut-off is here
// before the store's method returns.
type Memory struct {
	truth Truth

	mu      sync.RWMutex
	tokens  map[string]time.Time // jti -> when the token expires
	cutOffs map[subject]CutOff   // the highest generation of each subject
}

// subject is what a cut-off is about.
type subject struct {
	kind CutOffKind
	id   string
}

// NewMemory loads the set from the truth.
func NewMemory(ctx context.Context, truth Truth) (*Memory, error) {
	m := &Memory{truth: truth, tokens: map[string]time.Time{}, cutOffs: map[subject]CutOff{}}
	err := truth.Live(ctx, func(revoked []Revocation, cutOffs []CutOff) error {
		for _, r := range revoked {
			m.add(r)
		}
		for _, c := range cutOffs {
			m.cut(c)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load revocations: %w", err)
	}
	return m, nil
}

// Revoke makes r durable and then adds it to the set. When the truth reports an error nothing is added: the caller was
// promised nothing, and asks again.
func (m *Memory) Revoke(ctx context.Context, r Revocation, e audit.Event) error {
	if _, err := m.truth.Record(ctx, r, e); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(r)
	return nil
}

// Cut adds a cut-off that has been committed.
func (m *Memory) Cut(c CutOff) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut(c)
}

// Confirm has nothing to do: this process has made every cut-off, and Cut was told of it before it was acknowledged.
func (m *Memory) Confirm(context.Context) error { return nil }

// Check answers from memory alone and never fails.
func (m *Memory) Check(_ context.Context, t Token) (bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if _, revoked := m.tokens[t.JTI]; revoked {
		return true, nil
	}
	return m.passed(subject{ByClient, t.ClientID}, t.Generation) || m.passed(subject{ByKey, t.KID}, t.Generation), nil
}

// Revocations lists from the truth.
func (m *Memory) Revocations(ctx context.Context, limit int) ([]Revocation, error) {
	return m.truth.Revocations(ctx, limit)
}

// CutOffs lists from the truth.
func (m *Memory) CutOffs(ctx context.Context) ([]CutOff, error) {
	return m.truth.CutOffs(ctx)
}

// Sweep sweeps the truth, and then forgets what ended before the moment that the truth went by. The limit bounds the database's
// work only: what is forgotten here costs a map deletion.
func (m *Memory) Sweep(ctx context.Context, limit int) (int, error) {
	swept, err := m.truth.Sweep(ctx, limit)
	if err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for jti, expires := range m.tokens {
		if expires.Before(swept.Before) {
			delete(m.tokens, jti)
		}
	}
	for s, c := range m.cutOffs {
		if c.ExpiresAt.Before(swept.Before) {
			delete(m.cutOffs, s)
		}
	}
	return swept.Revocations + len(swept.CutOffs), nil
}

// add needs the lock. A token that is revoked twice is kept for the longer of the two.
func (m *Memory) add(r Revocation) {
	if old, known := m.tokens[r.JTI]; !known || r.ExpiresAt.After(old) {
		m.tokens[r.JTI] = r.ExpiresAt
	}
}

// cut needs the lock. Generations and times only ever rise, in whatever order cut-offs of one subject arrive.
func (m *Memory) cut(c CutOff) {
	s := subject{c.Kind, c.ID}
	old, known := m.cutOffs[s]
	if known {
		c.Generation = max(c.Generation, old.Generation)
		if old.ExpiresAt.After(c.ExpiresAt) {
			c.ExpiresAt = old.ExpiresAt
		}
	}
	m.cutOffs[s] = c
}

// passed needs the lock, shared. It says whether a cut-off of the subject concerns tokens of this generation.
func (m *Memory) passed(s subject, generation int64) bool {
	c, known := m.cutOffs[s]
	return known && generation < c.Generation
}
