package keystest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/keys"
)

// Run holds a Store to its contract. open returns an empty Store of its own for each call.
func Run(t *testing.T, open func(t *testing.T) keys.Store) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, keys.Store){
		"an empty store has no keys":                     testEmpty,
		"every field comes back":                         testRoundTrip,
		"a change replaces what differs":                 testReplace,
		"an error stores nothing and comes back":         testError,
		"an empty action stores nothing":                 testNoAction,
		"the version rises with each change":             testVersion,
		"every set says when it was read":                testNow,
		"returned values belong to the caller":           testOwnership,
		"a cancelled context stores nothing":             testCancelled,
		"concurrent changes see each other":              testConcurrent,
		"concurrent managers make one key of each state": testManagers,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// record returns a made-up key; no store looks into its parts.
func record(kid string, state keys.State) keys.Record {
	at := time.Date(2026, 3, 29, 1, 59, 59, 123456000, time.UTC)
	return keys.Record{
		KID: kid, Alg: apis.ES256, State: state, MasterVersion: 3,
		PublicJWK: []byte(`{"kty":"EC","x":"` + kid + `"}`), Sealed: []byte{0, 1, 0xff, 0x80, '\n'},
		CreatedAt: at, PublishedAt: at.Add(time.Second),
	}
}

func event(action string) audit.Event {
	return audit.Event{Time: time.Now(), Actor: audit.System(), Action: action, Subject: "test", Detail: map[string]any{"n": "1"}}
}

// put adds records in one change.
func put(t *testing.T, s keys.Store, records ...keys.Record) {
	t.Helper()
	err := s.UpdateKeySet(t.Context(), func(set *keys.Set) (audit.Event, error) {
		set.Keys = append(set.Keys, records...)
		return event("key.create"), nil
	})
	if err != nil {
		t.Fatalf("UpdateKeySet: %v", err)
	}
}

func read(t *testing.T, s keys.Store) *keys.Set {
	t.Helper()
	set, err := s.KeySet(t.Context())
	if err != nil {
		t.Fatalf("KeySet: %v", err)
	}
	return set
}

// expect compares the stored keys in any order.
func expect(t *testing.T, s keys.Store, want ...keys.Record) {
	t.Helper()
	got := read(t, s).Keys
	byKID := func(a, b keys.Record) int { return cmp.Compare(a.KID, b.KID) }
	slices.SortFunc(got, byKID)
	slices.SortFunc(want, byKID)
	if diff := gocmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("stored keys (-want +got):\n%s", diff)
	}
}

func testEmpty(t *testing.T, s keys.Store) {
	expect(t, s)
}

func testRoundTrip(t *testing.T, s keys.Store) {
	plain := record("a", keys.Pending) // three times are zero and stay zero
	full := record("b", keys.Retired)
	full.Alg = apis.EdDSA
	full.Sealed = nil
	full.ActivatedAt, full.RetiringAt, full.EndedAt = full.CreatedAt.Add(time.Hour), full.CreatedAt.Add(2*time.Hour), full.CreatedAt.Add(3*time.Hour)
	put(t, s, plain, full)
	expect(t, s, plain, full)
	for _, r := range read(t, s).Keys {
		if r.KID == "a" && (!r.ActivatedAt.IsZero() || !r.RetiringAt.IsZero() || !r.EndedAt.IsZero()) {
			t.Errorf("a time that was never set is %v, %v, %v; want zero", r.ActivatedAt, r.RetiringAt, r.EndedAt)
		}
	}
}

func testReplace(t *testing.T, s keys.Store) {
	a, b, c := record("a", keys.Active), record("b", keys.Pending), record("c", keys.Retiring)
	put(t, s, a, b)
	var after keys.Record
	err := s.UpdateKeySet(t.Context(), func(set *keys.Set) (audit.Event, error) {
		for i := range set.Keys {
			if set.Keys[i].KID == "a" {
				set.Keys[i].State, set.Keys[i].Sealed, set.Keys[i].EndedAt = keys.Compromised, nil, a.CreatedAt.Add(time.Minute)
				after = set.Keys[i]
			}
		}
		set.Keys = append(set.Keys, c)
		return event("key.revoke"), nil
	})
	if err != nil {
		t.Fatalf("UpdateKeySet: %v", err)
	}
	expect(t, s, after, b, c)
}

func testError(t *testing.T, s keys.Store) {
	put(t, s, record("a", keys.Active))
	before := read(t, s)
	failure := errors.New("refused")
	err := s.UpdateKeySet(t.Context(), func(set *keys.Set) (audit.Event, error) {
		set.Keys[0].State = keys.Retired
		set.Keys = append(set.Keys, record("b", keys.Pending))
		return event("key.create"), fmt.Errorf("step: %w", failure)
	})
	if !errors.Is(err, failure) {
		t.Errorf("UpdateKeySet = %v, want the error of the change", err)
	}
	unchanged(t, s, before)
}

func testNoAction(t *testing.T, s keys.Store) {
	put(t, s, record("a", keys.Active))
	before := read(t, s)
	err := s.UpdateKeySet(t.Context(), func(set *keys.Set) (audit.Event, error) {
		set.Keys[0].State = keys.Retired
		return audit.Event{}, nil
	})
	if err != nil {
		t.Errorf("UpdateKeySet = %v", err)
	}
	unchanged(t, s, before)
}

func unchanged(t *testing.T, s keys.Store, before *keys.Set) {
	t.Helper()
	expect(t, s, before.Keys...)
	if got := read(t, s).Version; got != before.Version {
		t.Errorf("version is %d after no change, was %d", got, before.Version)
	}
}

func testVersion(t *testing.T, s keys.Store) {
	last := read(t, s).Version
	for i := range 3 {
		put(t, s, record(fmt.Sprint("k", i), keys.Retiring))
		got := read(t, s).Version
		if got <= last {
			t.Fatalf("version is %d after a change, was %d", got, last)
		}
		last = got
	}
}

// testNow holds the clock to what records can keep: a time that is stamped on a key comes back as it was. The clock of a test's
// database is that of this machine.
func testNow(t *testing.T, s keys.Store) {
	check := func(now time.Time) {
		t.Helper()
		if off := time.Since(now); off < -time.Minute || off > time.Minute || now.Location() != time.UTC || !now.Equal(now.Truncate(time.Microsecond)) {
			t.Errorf("the set was read at %v", now)
		}
	}
	check(read(t, s).Now)
	r := record("a", keys.Active)
	err := s.UpdateKeySet(t.Context(), func(set *keys.Set) (audit.Event, error) {
		check(set.Now)
		r.ActivatedAt = set.Now
		set.Keys = append(set.Keys, r)
		return event("key.create"), nil
	})
	if err != nil {
		t.Fatalf("UpdateKeySet: %v", err)
	}
	expect(t, s, r)
	if now := read(t, s).Now; now.Before(r.ActivatedAt) {
		t.Errorf("the set was read at %v, and changed at %v before", now, r.ActivatedAt)
	}
}

func testOwnership(t *testing.T, s keys.Store) {
	given := record("a", keys.Active)
	put(t, s, given)
	given.Sealed[0] = 'x'
	got := read(t, s)
	got.Keys[0].Sealed[0], got.Keys[0].State = 'y', keys.Retired
	expect(t, s, record("a", keys.Active))
}

func testCancelled(t *testing.T, s keys.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.UpdateKeySet(ctx, func(set *keys.Set) (audit.Event, error) {
		set.Keys = append(set.Keys, record("a", keys.Active))
		return event("key.create"), nil
	})
	if err == nil {
		t.Error("UpdateKeySet under a cancelled context succeeded")
	}
	expect(t, s)
}

// testConcurrent lets many replicas do at once what only one may do, next to what all may do.
func testConcurrent(t *testing.T, s keys.Store) {
	const replicas = 8
	var group sync.WaitGroup
	for i := range replicas {
		group.Go(func() {
			err := s.UpdateKeySet(t.Context(), func(set *keys.Set) (audit.Event, error) {
				state := keys.Active
				if slices.ContainsFunc(set.Keys, func(r keys.Record) bool { return r.State == keys.Active }) {
					state = keys.Retiring
				}
				set.Keys = append(set.Keys, record(fmt.Sprint("k", i), state))
				return event("key.create"), nil
			})
			if err != nil {
				t.Errorf("UpdateKeySet: %v", err)
			}
		})
	}
	group.Wait()
	set := read(t, s)
	if got := count(set, keys.Active); got != 1 || len(set.Keys) != replicas {
		t.Errorf("%d active of %d keys, want 1 of %d", got, len(set.Keys), replicas)
	}
}

func count(set *keys.Set, state keys.State) int {
	n := 0
	for _, r := range set.Keys {
		if r.State == state {
			n++
		}
	}
	return n
}
