package redistest

import (
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
)

// StartReplica starts a replica of the primary, with the same password, and returns when it has all of its data.
func StartReplica(t testing.TB, primary *Server, settings ...string) *Server {
	t.Helper()
	s := prepare(t)
	s.begin(plain(primary.password, settings))
	s.ReplicaOf(primary)
	return s
}

// ReplicaOf demotes the server, and returns when it has the data of the primary instead of its own.
func (s *Server) ReplicaOf(primary *Server) {
	s.t.Helper()
	s.Do("CONFIG", "SET", "masterauth", primary.password)
	s.Do("REPLICAOF", "127.0.0.1", fmt.Sprint(primary.running.ports[0].Number()))
	s.await("link to the primary", func() bool { return s.Info("replication", "master_link_status") == "up" })
}

// Promote makes the server a primary.
func (s *Server) Promote() {
	s.t.Helper()
	s.Do("REPLICAOF", "NO", "ONE")
}

// masterName is what the Sentinels of this package call their primary.
const masterName = "signet"

// Sentinel is one Redis Sentinel that decides alone.
type Sentinel struct{ *Server }

// StartSentinel starts a Sentinel that watches the primary and knows its replicas when it returns. It notices a death after
// half a second.
func StartSentinel(t testing.TB, primary *Server, replicas int) *Sentinel {
	t.Helper()
	s := &Sentinel{prepare(t)}
	s.begin(plan{password: rand.Text(), ports: 1, sentinel: true, settings: func([]*daemon.Port) []string {
		return []string{
			fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d 1", masterName, primary.running.ports[0].Number()),
			"sentinel auth-pass " + masterName + " " + primary.password,
			"sentinel down-after-milliseconds " + masterName + " 500",
			"sentinel failover-timeout " + masterName + " 2000",
		}
	}})
	s.await("replicas", func() bool { return s.field("num-slaves") == fmt.Sprint(replicas) })
	return s
}

// URL returns the URL of whichever Redis this Sentinel calls the primary.
func (s *Sentinel) URL(primary *Server) string {
	s.t.Helper()
	parsed, err := url.Parse(primary.URL())
	if err != nil {
		s.t.Fatalf("parse Redis URL: %v", err)
	}
	parsed.Host = s.Addr()
	parsed.RawQuery = url.Values{"master_name": {masterName}, "sentinel_password": {s.password}}.Encode()
	return parsed.String()
}

// Failover makes Sentinel promote a replica of a primary that is well, which is demoted then.
func (s *Sentinel) Failover() {
	s.t.Helper()
	s.await("replica to promote", func() bool { // it must have looked at one lately
		_, err := s.Try("SENTINEL", "FAILOVER", masterName)
		return err == nil
	})
}

// AwaitPrimary returns when this Sentinel calls that server the primary, and the server is one.
func (s *Sentinel) AwaitPrimary(server *Server) {
	s.t.Helper()
	s.await("failover", func() bool {
		return s.field("port") == fmt.Sprint(server.running.ports[0].Number()) && server.Info("replication", "role") == "master"
	})
}

// field returns what Sentinel knows of the primary.
func (s *Sentinel) field(name string) string {
	s.t.Helper()
	lines := strings.Split(s.Do("SENTINEL", "MASTER", masterName), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		if lines[i] == name {
			return lines[i+1]
		}
	}
	return ""
}
