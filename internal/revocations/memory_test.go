package revocations_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/revocations"
)

// truth is a Truth that fails when it is told to, and that must not be asked by Check. The suite of every store, Memory
// over SQLite among them, is run in package sqlstore.
type truth struct {
	revocations.Truth // nil: a call of anything else panics

	err      error
	revoked  []revocations.Revocation
	cutOffs  []revocations.CutOff
	revoking chan struct{} // closed to let Record return; nil: at once
}

func (t *truth) Live(_ context.Context, batch func([]revocations.Revocation, []revocations.CutOff) error) error {
	if t.err != nil {
		return t.err
	}
	return batch(t.revoked, t.cutOffs)
}

func (t *truth) Record(context.Context, revocations.Revocation, audit.Event) (revocations.Trust, error) {
	if t.revoking != nil {
		<-t.revoking
	}
	return revocations.Trust{}, t.err
}

func (t *truth) Sweep(context.Context, int) (revocations.Swept, error) {
	return revocations.Swept{Before: time.Now().Add(-revocations.Retention)}, t.err
}

func memory(t *testing.T, truth *truth) *revocations.Memory {
	t.Helper()
	m, err := revocations.NewMemory(t.Context(), truth)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func revoked(t *testing.T, m *revocations.Memory, token revocations.Token) bool {
	t.Helper()
	got, err := m.Check(t.Context(), token)
	if err != nil {
		t.Fatalf("Check: %v", err)
	}
	return got
}

func TestMemoryThatCannotLoad(t *testing.T) {
	t.Parallel()
	outage := errors.New("outage")
	if m, err := revocations.NewMemory(t.Context(), &truth{err: outage}); !errors.Is(err, outage) || m != nil {
		t.Errorf("NewMemory = %v, %v; an empty set would answer that nothing is revoked", m, err)
	}
}

func TestMemoryLoads(t *testing.T) {
	t.Parallel()
	m := memory(t, &truth{
		revoked: []revocations.Revocation{{JTI: "j", ExpiresAt: time.Now().Add(-time.Minute)}}, // kept for Retention
		cutOffs: []revocations.CutOff{{Kind: revocations.ByClient, ID: "client_1", Generation: 3}},
	})
	if !revoked(t, m, revocations.Token{JTI: "j"}) || !revoked(t, m, revocations.Token{ClientID: "client_1", Generation: 2}) {
		t.Error("what the truth had is not in memory")
	}
}

func TestMemoryPromisesNothingThatFailed(t *testing.T) {
	t.Parallel()
	source := &truth{}
	m := memory(t, source)
	source.err = errors.New("disk full")
	if err := m.Revoke(t.Context(), revocations.Revocation{JTI: "j"}, audit.Event{}); !errors.Is(err, source.err) {
		t.Errorf("Revoke = %v, want the truth's error", err)
	}
	if revoked(t, m, revocations.Token{JTI: "j"}) {
		t.Error("revoked here, until a restart takes it back")
	}
	if _, err := m.Sweep(t.Context(), 10); !errors.Is(err, source.err) {
		t.Errorf("Sweep = %v, want the truth's error", err)
	}
}

// TestMemoryOrder makes sure that a token is in the truth before it is in memory: what a crash would take back is never
// answered.
func TestMemoryOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &truth{revoking: make(chan struct{})}
		m := memory(t, source)
		acknowledged := make(chan error, 1)
		go func() { acknowledged <- m.Revoke(t.Context(), revocations.Revocation{JTI: "j"}, audit.Event{}) }()
		synctest.Wait()
		if revoked(t, m, revocations.Token{JTI: "j"}) {
			t.Error("revoked before it was durable")
		}
		close(source.revoking)
		if err := <-acknowledged; err != nil || !revoked(t, m, revocations.Token{JTI: "j"}) {
			t.Errorf("acknowledged with %v, and not revoked", err)
		}
	})
}

// TestMemoryCut brings cut-offs in an order in which commits do not happen, but their reports may.
func TestMemoryCut(t *testing.T) {
	t.Parallel()
	m := memory(t, &truth{})
	for _, generation := range []int64{5, 3, 4} {
		m.Cut(revocations.CutOff{Kind: revocations.ByClient, ID: "client_1", Generation: generation, ExpiresAt: time.Now()})
	}
	if !revoked(t, m, revocations.Token{ClientID: "client_1", Generation: 4}) {
		t.Error("a later report of an earlier cut-off lowered the generation")
	}
	if revoked(t, m, revocations.Token{ClientID: "client_1", Generation: 5}) {
		t.Error("the current generation is cut off")
	}
}

func TestMemoryForgets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := memory(t, &truth{})
		end := time.Now().Add(time.Hour)
		r := revocations.Revocation{JTI: "j", ExpiresAt: end}
		if err := m.Revoke(t.Context(), r, audit.Event{}); err != nil {
			t.Fatal(err)
		}
		r.ExpiresAt = end.Add(-time.Minute) // cannot shorten
		if err := m.Revoke(t.Context(), r, audit.Event{}); err != nil {
			t.Fatal(err)
		}
		m.Cut(revocations.CutOff{Kind: revocations.ByKey, ID: "kid", Generation: revocations.Everything, ExpiresAt: end})
		m.Cut(revocations.CutOff{Kind: revocations.ByKey, ID: "kid", Generation: 1, ExpiresAt: end.Add(-time.Minute)})
		for _, test := range []struct {
			sleep time.Duration
			want  bool
		}{{time.Hour, true}, {revocations.Retention, true}, {time.Second, false}} {
			time.Sleep(test.sleep)
			if _, err := m.Sweep(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			for _, token := range []revocations.Token{{JTI: "j"}, {KID: "kid"}} {
				if got := revoked(t, m, token); got != test.want {
					t.Errorf("%v after the expiry: %+v is revoked: %v", time.Since(end), token, got)
				}
			}
		}
	})
}
