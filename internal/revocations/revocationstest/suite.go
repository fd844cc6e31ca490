// Package revocationstest is the suite that every revocations.Store passes.
package revocationstest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/revocations"
)

// Fixture is a store over fresh, empty data.
type Fixture struct {
	Store revocations.Store
	Trail audit.Trail // that has the store's events
	// Peer is what another replica sees at the same time; nil where one process owns the data.
	Peer revocations.Store
	// Cut cuts off as the stores of clients and keys do: the client exists at that generation afterwards, or is gone for
	// revocations.Everything. It returns when that has been acknowledged.
	Cut func(t *testing.T, kind revocations.CutOffKind, id string, generation int64)
	// Restart ends the process that the store lives in, and returns the store of the next one.
	Restart func(t *testing.T) revocations.Store
}

// Run runs the suite. Each test gets its own fixture.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(t *testing.T, f Fixture)
	}{
		{"nothing is revoked at first", testNothing},
		{"a revoked token", testRevoke},
		{"a token revoked twice", testTwice},
		{"the event of a revocation", testEvent},
		{"a cut-off of a client", testClientCutOff},
		{"a cut-off of a deleted client", testEverything},
		{"a cut-off of a key", testKeyCutOff},
		{"subjects of different kinds", testKinds},
		{"any text as an ID", testTexts},
		{"a listing", testList},
		{"a sweep", testSweep},
		{"a sweep of many", testSweepLimit},
		{"an expired entry until the sweep", testRetention},
		{"a call that was cancelled", testCancelled},
		{"many at once", testConcurrent},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, open(t))
		})
	}
}

// revocation returns one of a token that lives for an hour.
func revocation(jti string) revocations.Revocation {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return revocations.Revocation{
		JTI: jti, ClientID: "client_of_" + jti, ExpiresAt: now.Add(time.Hour), RevokedAt: now, Reason: "test",
	}
}

func event() audit.Event {
	return audit.Event{Actor: audit.Actor{ID: "local", Source: "unix"}, Action: "token.revoke", Subject: "a token"}
}

func revoke(t *testing.T, s revocations.Store, r revocations.Revocation) {
	t.Helper()
	if err := s.Revoke(t.Context(), r, event()); err != nil {
		t.Fatalf("Revoke(%s): %v", r.JTI, err)
	}
}

// expect checks the answer of every view of the store.
func (f Fixture) expect(t *testing.T, token revocations.Token, want bool) {
	t.Helper()
	for name, s := range map[string]revocations.Store{"store": f.Store, "peer": f.Peer} {
		if s == nil {
			continue
		}
		got, err := s.Check(t.Context(), token)
		if err != nil {
			t.Fatalf("%s: Check(%+v): %v", name, token, err)
		}
		if got != want {
			t.Errorf("%s: Check(%+v) = %v, want %v", name, token, got, want)
		}
	}
}

func testNothing(t *testing.T, f Fixture) {
	f.expect(t, revocations.Token{JTI: "j", ClientID: "client_1", KID: "k", Generation: 1}, false)
	f.expect(t, revocations.Token{}, false)
	listed, err := f.Store.Revocations(t.Context(), 10)
	if err != nil || len(listed) != 0 {
		t.Errorf("Revocations = %v, %v; want none", listed, err)
	}
	cutOffs, err := f.Store.CutOffs(t.Context())
	if err != nil || len(cutOffs) != 0 {
		t.Errorf("CutOffs = %v, %v; want none", cutOffs, err)
	}
}

func testRevoke(t *testing.T, f Fixture) {
	revoke(t, f.Store, revocation("one"))
	check := func() {
		t.Helper()
		f.expect(t, revocations.Token{JTI: "one", ClientID: "client_of_one", KID: "k", Generation: 1}, true)
		f.expect(t, revocations.Token{JTI: "One", ClientID: "client_of_one", KID: "k", Generation: 1}, false)
		f.expect(t, revocations.Token{JTI: "two", ClientID: "client_of_one", KID: "k", Generation: 1}, false)
	}
	check()
	f.Store = f.Restart(t)
	check()
}

func testTwice(t *testing.T, f Fixture) {
	first := revocation("twice")
	revoke(t, f.Store, first)
	second := first
	second.ExpiresAt = first.ExpiresAt.Add(-2 * time.Hour) // cannot shorten
	second.Reason = "again"
	revoke(t, f.Store, second)
	f.expect(t, revocations.Token{JTI: "twice"}, true)
	listed, err := f.Store.Revocations(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]revocations.Revocation{first}, listed); diff != "" {
		t.Errorf("the first one stays (-want +got):\n%s", diff)
	}
}

func testEvent(t *testing.T, f Fixture) {
	e := audit.Event{
		Actor: audit.Actor{ID: "local", RequestID: "r1", Source: "unix"}, Action: "token.revoke", Subject: "noted",
		ClientID: "client_1", Detail: map[string]any{"reason": "leaked"},
	}
	if err := f.Store.Revoke(t.Context(), revocation("noted"), e); err != nil {
		t.Fatal(err)
	}
	events, err := f.Trail.Events(t.Context(), audit.Filter{Subject: "noted"})
	if err != nil || len(events) != 1 {
		t.Fatalf("Events = %v, %v; want one", events, err)
	}
	got := events[0]
	if got.ID == 0 || time.Since(got.Time).Abs() > time.Minute {
		t.Errorf("event has ID %d and time %v", got.ID, got.Time)
	}
	e.ID, e.Time = got.ID, got.Time
	if diff := cmp.Diff(e, got); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	// A client that takes one token back again and again does not fill the trail.
	if err := f.Store.Revoke(t.Context(), revocation("noted"), e); err != nil {
		t.Fatal(err)
	}
	if events, err := f.Trail.Events(t.Context(), audit.Filter{Subject: "noted"}); err != nil || len(events) != 1 {
		t.Errorf("Events after it was revoked again = %v, %v; want the one", events, err)
	}
}

func testClientCutOff(t *testing.T, f Fixture) {
	f.Cut(t, revocations.ByClient, "client_1", 2)
	f.Cut(t, revocations.ByClient, "client_1", 5)
	check := func() {
		t.Helper()
		for generation, want := range map[int64]bool{0: true, 1: true, 4: true, 5: false, 6: false} {
			f.expect(t, revocations.Token{JTI: "j", ClientID: "client_1", KID: "k", Generation: generation}, want)
		}
		f.expect(t, revocations.Token{JTI: "j", ClientID: "client_2", KID: "k", Generation: 1}, false)
	}
	check()
	f.Store = f.Restart(t)
	check()
	cutOffs, err := f.Store.CutOffs(t.Context())
	if err != nil || len(cutOffs) != 1 || cutOffs[0].Generation != 5 {
		t.Fatalf("CutOffs = %v, %v; want one of generation 5", cutOffs, err)
	}
	if life := time.Until(cutOffs[0].ExpiresAt); life < 24*time.Hour || life > 25*time.Hour {
		t.Errorf("cut-off lives for %v, want the longest token's life and a little more", life)
	}
}

func testEverything(t *testing.T, f Fixture) {
	f.Cut(t, revocations.ByClient, "client_1", revocations.Everything)
	check := func() {
		t.Helper()
		f.expect(t, revocations.Token{ClientID: "client_1", Generation: 1}, true)
		f.expect(t, revocations.Token{ClientID: "client_1", Generation: revocations.Everything - 1}, true)
	}
	check()
	f.Store = f.Restart(t)
	check()
}

func testKeyCutOff(t *testing.T, f Fixture) {
	f.Cut(t, revocations.ByKey, "kid-1", revocations.Everything)
	check := func() {
		t.Helper()
		f.expect(t, revocations.Token{JTI: "j", ClientID: "client_1", KID: "kid-1", Generation: 100}, true)
		f.expect(t, revocations.Token{JTI: "j", ClientID: "client_1", KID: "kid-2", Generation: 100}, false)
	}
	check()
	f.Store = f.Restart(t)
	check()
}

// testKinds makes sure that a name in one name space says nothing about the others.
func testKinds(t *testing.T, f Fixture) {
	f.Cut(t, revocations.ByKey, "same", revocations.Everything)
	f.Cut(t, revocations.ByClient, "other", revocations.Everything)
	f.expect(t, revocations.Token{JTI: "same", ClientID: "same", KID: "other", Generation: 1}, false)
	revoke(t, f.Store, revocation("third"))
	f.expect(t, revocations.Token{JTI: "x", ClientID: "third", KID: "third", Generation: 1}, false)
}

func testTexts(t *testing.T, f Fixture) {
	for _, jti := range []string{"'; DROP TABLE revocations; --", `"`, "%", "?", "$1", "ü", " ", "a\nb", "\\"} {
		f.expect(t, revocations.Token{JTI: jti}, false)
		revoke(t, f.Store, revocation(jti))
		f.expect(t, revocations.Token{JTI: jti}, true)
	}
}

func testConcurrent(t *testing.T, f Fixture) {
	const workers, each = 8, 10
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			for i := range each {
				jti := fmt.Sprintf("%d-%d", worker, i)
				if err := f.Store.Revoke(t.Context(), revocation(jti), event()); err != nil {
					t.Errorf("Revoke(%s): %v", jti, err)
					return
				}
				f.expect(t, revocations.Token{JTI: jti}, true)
				if err := f.Store.Revoke(t.Context(), revocation("shared"), event()); err != nil {
					t.Errorf("Revoke(shared): %v", err)
				}
			}
		})
	}
	group.Wait()
	listed, err := f.Store.Revocations(t.Context(), 1000)
	if err != nil || len(listed) != workers*each+1 {
		t.Errorf("%d revocations, %v; want %d", len(listed), err, workers*each+1)
	}
}

func testCancelled(t *testing.T, f Fixture) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Store.Revoke(ctx, revocation("late"), event()); err == nil {
		t.Error("Revoke acknowledged what it was told not to do")
	}
	if _, err := f.Store.Revocations(ctx, 10); err == nil {
		t.Error("Revocations answered after its caller had gone")
	}
}
