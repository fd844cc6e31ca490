package revocations_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-1972b8eb/signet/internal/revocations"
)

// slow is a ledger whose queries take a second, read when they begin, and fail on request.
type slow struct {
	revocations.Ledger // nil: a call of anything else panics

	mu      sync.Mutex
	revoked map[string]bool
	failing bool
	queries int
	most    int // tokens in one query
}

func (s *slow) Revoked(_ context.Context, tokens []revocations.Token) ([]bool, error) {
	s.mu.Lock()
	s.queries++
	s.most = max(s.most, len(tokens))
	answers := make([]bool, len(tokens))
	for i, t := range tokens {
		answers[i] = s.revoked[t.JTI]
	}
	failing := s.failing
	s.mu.Unlock()
	time.Sleep(time.Second)
	if failing {
		return nil, errLost
	}
	return answers, nil
}

// TestChecksShareTheNextQuery asks while queries run that began before something was revoked: whoever asks afterwards hears
// of it, and a thousand who ask at once cost a handful of queries.
func TestChecksShareTheNextQuery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slow{revoked: map[string]bool{}}
		r := revocations.NewReplicated(revocations.ReplicatedConfig{Ledger: s})
		var checks sync.WaitGroup
		check := func(jti string, want bool) {
			checks.Go(func() {
				revoked, err := r.Check(t.Context(), revocations.Token{JTI: jti})
				if err != nil || revoked != want {
					t.Errorf("%s: %v, %v; want %v", jti, revoked, err, want)
				}
			})
		}
		for range 4 { // as many queries as run at a time
			check("early", false)
			synctest.Wait()
		}
		s.mu.Lock()
		before := s.queries
		s.revoked["late"] = true
		s.mu.Unlock()
		for range 500 {
			check("late", true)
			check("other", false)
		}
		checks.Wait()
		if before != 4 || s.queries-before > 8 {
			t.Errorf("%d queries, and %d for a thousand checks", before, s.queries-before)
		}
		if s.most > 256 {
			t.Errorf("one query for %d checks", s.most)
		}
	})
}

// TestChecksFailFast lets the ledger fail for long: from the third failure on, only one question at a time waits for it.
func TestChecksFailFast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slow{failing: true}
		r := revocations.NewReplicated(revocations.ReplicatedConfig{Ledger: s})
		ask := func() error {
			_, err := r.Check(t.Context(), revocations.Token{JTI: "j"})
			return err
		}
		for range 3 {
			if err := ask(); !errors.Is(err, errLost) {
				t.Fatalf("Check = %v", err)
			}
		}
		var checks sync.WaitGroup
		checks.Go(func() { _ = ask() }) // finds out
		synctest.Wait()
		began, queries := time.Now(), s.queries
		for range 100 {
			if err := ask(); err == nil || errors.Is(err, errLost) {
				t.Fatalf("Check = %v beside the one that finds out", err)
			}
		}
		if took := time.Since(began); took != 0 || s.queries != queries {
			t.Errorf("100 checks took %v and %d queries", took, s.queries-queries)
		}
		checks.Wait()
		s.mu.Lock()
		s.failing = false
		s.mu.Unlock()
		for range 2 {
			if err := ask(); err != nil {
				t.Errorf("after the outage: %v", err)
			}
		}
	})
}

// TestChecksThatWaitInAnOutage makes sure that those who wait behind the failures are not kept for one more.
func TestChecksThatWaitInAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slow{failing: true}
		r := revocations.NewReplicated(revocations.ReplicatedConfig{Ledger: s})
		began := time.Now()
		var checks sync.WaitGroup
		for i := range 1000 {
			checks.Go(func() {
				if _, err := r.Check(t.Context(), revocations.Token{JTI: fmt.Sprint(i)}); err == nil {
					t.Error("answered")
				}
			})
		}
		checks.Wait()
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the last of a thousand waited for %v", took)
		}
	})
}

// TestCheckGivesUp makes sure that a caller's deadline counts, and that it does not disturb the others of its query.
func TestCheckGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slow{revoked: map[string]bool{"j": true}}
		r := revocations.NewReplicated(revocations.ReplicatedConfig{Ledger: s})
		hasty, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		var checks sync.WaitGroup
		checks.Go(func() {
			if _, err := r.Check(hasty, revocations.Token{JTI: "j"}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("hasty Check = %v", err)
			}
		})
		synctest.Wait()
		if revoked, err := r.Check(t.Context(), revocations.Token{JTI: "j"}); err != nil || !revoked {
			t.Errorf("Check = %v, %v", revoked, err)
		}
		checks.Wait()
	})
}

// TestChecksThatWereGivenUp leaves many checks behind whose callers have gone: they are not asked for, and nobody waits for them.
func TestChecksThatWereGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slow{}
		r := revocations.NewReplicated(revocations.ReplicatedConfig{Ledger: s})
		hasty, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var checks sync.WaitGroup
		for range 10_000 {
			checks.Go(func() { _, _ = r.Check(hasty, revocations.Token{JTI: "j"}) })
		}
		checks.Wait()
		began := time.Now()
		if _, err := r.Check(t.Context(), revocations.Token{JTI: "j"}); err != nil {
			t.Errorf("Check = %v", err)
		}
		s.mu.Lock()
		queries := s.queries
		s.mu.Unlock()
		if took := time.Since(began); took > 2*time.Second || queries > 5 {
			t.Errorf("the one who still waits did so for %v and %d queries", took, queries)
		}
		for range 20_000 {
			checks.Go(func() {
				if _, err := r.Check(t.Context(), revocations.Token{JTI: "j"}); err != nil && !strings.Contains(err.Error(), "too many") {
					t.Errorf("Check = %v", err)
				}
			})
		}
		synctest.Wait()
		if _, err := r.Check(t.Context(), revocations.Token{JTI: "j"}); err == nil {
			t.Error("let in behind thousands of others")
		}
		checks.Wait()
	})
}
