package redisstore

import (
	"errors"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/servertest/redistest"
)

// TestFailover kills the primary: the Set follows Sentinel to the replica, whose identity is another although the whole set was
// copied there.
func TestFailover(t *testing.T) {
	t.Parallel()
	primary := redistest.Start(t)
	replica := redistest.StartReplica(t, primary)
	sentinel := redistest.StartSentinel(t, primary, 1)
	s := open(t, Config{URL: sentinel.URL(primary)})
	old := filled(t, s)
	must(t, s.Add(within(t), old, []revocations.Revocation{taken("late")}, nil))
	primary.Do("WAIT", "1", "10000")
	primary.Kill()
	sentinel.AwaitPrimary(replica)
	now := settled(t, s)
	if now == old {
		t.Fatal("the identity outlived a failover")
	}
	if score := replica.Do("ZSCORE", key(old), marker(1)); score != "1" {
		t.Fatalf("the copy has no marker: %q", score)
	}
	wantAnother(t, s, old)
	filled(t, s)
}

// TestSwitchover demotes a primary that is well: the Set leaves it, and does not stay with a replica that answers.
func TestSwitchover(t *testing.T) {
	t.Parallel()
	primary := redistest.Start(t)
	replica := redistest.StartReplica(t, primary)
	sentinel := redistest.StartSentinel(t, primary, 1)
	s := open(t, Config{URL: sentinel.URL(primary)})
	old := filled(t, s)
	sentinel.Failover()
	sentinel.AwaitPrimary(replica)
	for deadline := time.Now().Add(30 * time.Second); ; {
		now, err := s.Identity(within(t))
		if err == nil && now != old {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("still %q, %v", now, err)
		}
	}
	wantAnother(t, s, old)
}

// TestSentinelWithLeastRights holds that Sentinel need not let the user ask for anything but the primary.
func TestSentinelWithLeastRights(t *testing.T) {
	t.Parallel()
	primary := redistest.Start(t)
	sentinel := redistest.StartSentinel(t, primary, 0)
	sentinel.Do("ACL", "SETUSER", "default", "-@all", "+sentinel|get-master-addr-by-name", "+sentinel|sentinels", "+subscribe")
	s := open(t, Config{URL: sentinel.URL(primary)})
	filled(t, s)
}

// TestUnnamedConnectionIsNotBelieved holds that where Sentinel is lenient with names, the proof is not.
func TestUnnamedConnectionIsNotBelieved(t *testing.T) {
	t.Parallel()
	primary := redistest.Start(t)
	sentinel := redistest.StartSentinel(t, primary, 0)
	primary.Do("ACL", "SETUSER", "default", "-client|setname")
	s := open(t, Config{URL: sentinel.URL(primary)})
	if id, err := s.Identity(within(t)); !errors.Is(err, errUnproven) {
		t.Errorf("a connection without a name: %q, %v; want %v", id, err, errUnproven)
	}
}
