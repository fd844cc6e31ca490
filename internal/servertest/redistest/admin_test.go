package redistest

import (
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"os"
	"strings"
	"testing"
)

func TestDo(t *testing.T) {
	t.Parallel()
	server := Start(t)
	if got := server.Do("CONFIG", "GET", "save"); got != "save\n" {
		t.Errorf("list: %q", got)
	}
	if got := server.Do("GET", "none"); got != "" {
		t.Errorf("no value: %q", got)
	}
	if _, err := server.Try("NOSUCH"); err == nil {
		t.Error("an unknown command was no error")
	}
	server.Do("ACL", "SETUSER", "eve", "on", ">secret", "+ping")
	if err := ping(server.UserURL("eve", "secret")); err != nil {
		t.Error(err)
	}
}

func TestSave(t *testing.T) {
	t.Parallel()
	server := Start(t)
	server.Do("SET", "key", "value")
	server.Save()
	server.Do("SET", "key", "later")
	server.Kill()
	server.Start()
	if got := server.Do("GET", "key"); got != "value" {
		t.Errorf("after the restart: %q, want what was saved", got)
	}
}

func TestReplicas(t *testing.T) {
	t.Parallel()
	primary := Start(t)
	primary.Do("SET", "key", "value")
	replica := StartReplica(t, primary)
	if role, got := replica.Info("replication", "role"), replica.Do("GET", "key"); role != "slave" || got != "value" {
		t.Errorf("replica: role %q, value %q", role, got)
	}
	replica.Promote()
	replica.Do("SET", "key", "its own")
	primary.ReplicaOf(replica)
	if got := primary.Do("GET", "key"); got != "its own" {
		t.Errorf("demoted primary: %q", got)
	}
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	primary := Start(t)
	replica := StartReplica(t, primary)
	sentinel := StartSentinel(t, primary, 1)
	if at := sentinel.URL(primary); !strings.Contains(at, sentinel.Addr()) || !strings.Contains(at, "master_name=signet") {
		t.Errorf("URL: %s", at)
	}
	primary.Kill()
	sentinel.AwaitPrimary(replica)
}

func TestTLS(t *testing.T) {
	t.Parallel()
	server := StartTLS(t)
	pem, err := os.ReadFile(server.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM(pem)
	parsed, err := url.Parse(server.TLSURL())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", parsed.Host, &tls.Config{RootCAs: authorities})
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}
