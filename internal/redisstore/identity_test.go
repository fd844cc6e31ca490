package redisstore

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/servertest/redistest"
)

// calls are all methods that name an identity.
func calls(s *Set, id revocations.Identity) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"holds": func(ctx context.Context) error { _, err := s.Holds(ctx, id, 1); return err },
		"revoked": func(ctx context.Context) error {
			_, err := one(s.Revoked(ctx, id, 1, []revocations.Token{asked("alive")}))
			return err
		},
		"add token": func(ctx context.Context) error {
			return s.Add(ctx, id, []revocations.Revocation{taken("x")}, nil)
		},
		"add cut-off": func(ctx context.Context) error { return s.Add(ctx, id, nil, []revocations.CutOff{byClient("c", 1)}) },
		"begin":       func(ctx context.Context) error { return s.Begin(ctx, id, 1) },
		"finish":      func(ctx context.Context) error { return s.Finish(ctx, id, 1) },
		"sweep":       func(ctx context.Context) error { return s.Sweep(ctx, id, time.Now(), nil, 1) },
		"sweep cut-off": func(ctx context.Context) error {
			return s.sweepCutOffs(ctx, id, []revocations.CutOff{byClient("c", 1)})
		},
		"purge": func(ctx context.Context) error { return s.Purge(ctx, id) },
	}
}

func wantAnother(t *testing.T, s *Set, id revocations.Identity) {
	t.Helper()
	for name, call := range calls(s, id) {
		if err := call(within(t)); !errors.Is(err, revocations.ErrIdentity) {
			t.Errorf("%s: %v, want ErrIdentity", name, err)
		}
	}
}

// settled is Identity after a fault: connections that the fault has broken may cost a call each.
func settled(t *testing.T, s *Set) revocations.Identity {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		id, err := s.Identity(within(t))
		if err == nil {
			return id
		}
		if time.Now().After(deadline) {
			t.Fatalf("no identity within 30 s: %v", err)
		}
	}
}

func TestRestartEndsTheIdentity(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, Config{URL: server.URL()})
	old := filled(t, s)
	server.Kill()
	server.Start()
	if now := settled(t, s); now == old {
		t.Fatal("the identity outlived a restart")
	}
	wantAnother(t, s, old)
}

// TestSnapshotBringsNoIdentityBack restarts Redis with a snapshot that holds a complete set, without its last entry.
func TestSnapshotBringsNoIdentityBack(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, Config{URL: server.URL()})
	old := filled(t, s)
	server.Save()
	must(t, s.Add(within(t), old, []revocations.Revocation{taken("late")}, nil))
	server.Kill()
	server.Start()
	now := settled(t, s)
	if score := server.Do("ZSCORE", key(old), marker(1)); score != "1" {
		t.Fatalf("the snapshot has not brought the marker back: %q", score)
	}
	wantAnother(t, s, old)
	// Purge first: wantAnother has written under the old name.
	must(t, s.Purge(within(t), now))
	if size := server.Do("DBSIZE"); size != "0" {
		t.Errorf("%s keys are left of the old set", size)
	}
}

func TestDemotedPrimaryIsRefused(t *testing.T) {
	t.Parallel()
	first, second := redistest.Start(t), redistest.Start(t)
	s := open(t, Config{URL: first.URL()})
	old := filled(t, s)
	first.ReplicaOf(second)
	if _, err := s.Identity(within(t)); !errors.Is(err, revocations.ErrIdentity) {
		t.Errorf("identity of a replica: %v, want ErrIdentity", err)
	}
	wantAnother(t, s, old)
}

// TestResyncEndsTheIdentity demotes a primary, lets it resynchronise from a replica that misses the last entry, and promotes it
// again: same process, same connections, same key and marker.
func TestResyncEndsTheIdentity(t *testing.T) {
	t.Parallel()
	first := redistest.Start(t)
	second := redistest.StartReplica(t, first)
	s := open(t, Config{URL: first.URL()})
	old := filled(t, s)
	first.Do("WAIT", "1", "10000")
	second.Promote()
	must(t, s.Add(within(t), old, []revocations.Revocation{taken("late")}, nil))
	first.ReplicaOf(second)
	first.Promote()
	if score := first.Do("ZSCORE", key(old), marker(1)); score != "1" {
		t.Fatalf("the marker has not survived: %q", score)
	}
	if late := first.Do("ZSCORE", key(old), "t:late"); late != "" {
		t.Fatal("the last entry has survived, so this test shows nothing")
	}
	if now := settled(t, s); now == old {
		t.Fatal("the identity outlived a resynchronisation")
	}
	wantAnother(t, s, old)
}

func TestEmptyIdentityIsNobody(t *testing.T) {
	t.Parallel()
	wantAnother(t, open(t, Config{URL: redistest.Start(t).URL()}), "")
}
