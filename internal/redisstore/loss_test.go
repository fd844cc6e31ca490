package redisstore

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/servertest/redistest"
)

func TestFlushDuringRebuild(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, Config{URL: server.URL()})
	id := identity(t, s)
	must(t, s.Begin(within(t), id, 1))
	must(t, s.Add(within(t), id, []revocations.Revocation{taken("early")}, nil))
	server.Do("FLUSHALL")
	must(t, s.Add(within(t), id, []revocations.Revocation{taken("late")}, nil))
	if err := s.Finish(within(t), id, 1); !errors.Is(err, revocations.ErrIncomplete) {
		t.Errorf("finish: %v, want ErrIncomplete", err)
	}
	if _, err := one(s.Revoked(within(t), id, 1, []revocations.Token{asked("early")})); !errors.Is(err, revocations.ErrIncomplete) {
		t.Errorf("revoked: %v, want ErrIncomplete", err)
	}
}

func TestFlushAfterwards(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, Config{URL: server.URL()})
	id := filled(t, s)
	server.Do("FLUSHALL")
	if _, err := one(s.Revoked(within(t), id, 1, []revocations.Token{asked("gone")})); !errors.Is(err, revocations.ErrIncomplete) {
		t.Errorf("revoked: %v, want ErrIncomplete", err)
	}
}

// TestOutOfMemory holds that an entry which Redis has no room for is an error, and that what it has stays readable.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "maxmemory-policy noeviction")
	s := open(t, Config{URL: server.URL()})
	id := filled(t, s)
	server.Do("CONFIG", "SET", "maxmemory", "1")
	err := s.Add(within(t), id, []revocations.Revocation{taken("late")}, nil)
	if err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("add without room: %v, want OOM", err)
	}
	if err := s.Begin(within(t), id, 2); err == nil {
		t.Error("begin without room was no error")
	}
	server.Do("CONFIG", "SET", "maxmemory", "0")
	wantRevoked(t, s, id, asked("gone"), true)
}

func TestEviction(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "maxmemory-policy allkeys-lru")
	s := open(t, Config{URL: server.URL()})
	id := filled(t, s)
	server.Do("CONFIG", "SET", "maxmemory", "3mb")
	for i := 0; server.Do("EXISTS", key(id)) == "1"; i++ {
		if i > 10_000 {
			t.Fatal("Redis evicts nothing")
		}
		server.Do("SET", "filler:"+strconv.Itoa(i), strings.Repeat("x", 10_000))
	}
	if _, err := one(s.Revoked(within(t), id, 1, []revocations.Token{asked("gone")})); !errors.Is(err, revocations.ErrIncomplete) {
		t.Errorf("revoked: %v, want ErrIncomplete", err)
	}
}

// TestErrorRepliesAreErrors holds that what Redis refuses is never taken for "not there".
func TestErrorRepliesAreErrors(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, Config{URL: server.URL()})
	id := identity(t, s)
	server.Do("SET", key(id), "of another type") // WRONGTYPE
	for name, call := range calls(s, id) {
		if name == "begin" || name == "purge" { // they look at no member
			continue
		}
		if err := call(within(t)); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
			t.Errorf("%s: %v, want WRONGTYPE", name, err)
		}
	}
}
