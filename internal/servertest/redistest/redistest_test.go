package redistest

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// on runs one command in the database of the URL.
func on(t *testing.T, server string, command ...string) (string, error) {
	t.Helper()
	c, err := dial(server)
	if err != nil {
		return "", err
	}
	defer c.close()
	if _, err := c.do("SELECT", server[strings.LastIndexByte(server, '/')+1:]); err != nil {
		return "", err
	}
	return c.do(command...)
}

func must(t *testing.T, want, server string, command ...string) {
	t.Helper()
	got, err := on(t, server, command...)
	if err != nil {
		t.Fatalf("%v: %v", command, err)
	}
	if got != want {
		t.Errorf("%v: %q, want %q", command, got, want)
	}
}

func TestOpenGivesSeparateDatabases(t *testing.T) {
	t.Parallel()
	first, second := Open(t), Open(t)
	must(t, "OK", first, "SET", "key", "value")
	must(t, "0", second, "DBSIZE")
	must(t, "value", first, "GET", "key")
}

func TestOpenUsesTheNamedServer(t *testing.T) {
	server := Start(t, "databases 4")
	t.Setenv("TEST_REDIS_URL", server.URL())
	notOurs := strings.TrimSuffix(server.URL(), "0") + "2"
	must(t, "OK", notOurs, "SET", "precious", "data")
	var used []string
	t.Run("user", func(t *testing.T) { //nolint:paralleltest // the parent looks at what it leaves
		used = []string{Open(t), Open(t)}
		for _, one := range used {
			must(t, "OK", one, "SET", "key", "value")
			if one == notOurs || one == server.URL() {
				t.Errorf("Open gave %s, which is in use", one)
			}
		}
	})
	for _, one := range used {
		must(t, "0", one, "DBSIZE")
	}
	must(t, "data", notOurs, "GET", "precious")
	must(t, "0", server.URL(), "DBSIZE")
}

func TestStopKillStart(t *testing.T) {
	t.Parallel()
	server := Start(t)
	url := server.URL()
	for _, end := range []func(){server.Stop, server.Kill} {
		must(t, "OK", url, "SET", "key", "value")
		end()
		if conn, err := net.Dial("tcp", server.Addr()); err == nil {
			_ = conn.Close()
			t.Fatal("still answers")
		}
		began := time.Now()
		server.Start()
		t.Logf("start took %v", time.Since(began))
		must(t, "0", url, "DBSIZE")
	}
	server.Restart()
	must(t, "0", server.URL(), "DBSIZE")
}

func TestSettings(t *testing.T) {
	t.Parallel()
	server := Start(t, "appendonly yes", "appendfsync always")
	must(t, "OK", server.URL(), "SET", "key", "value")
	server.Kill()
	server.Start()
	must(t, "value", server.URL(), "GET", "key")
}

func TestFreezeThaw(t *testing.T) {
	t.Parallel()
	server := Start(t)
	c, err := dial(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	server.Freeze()
	answer := make(chan error, 1)
	go func() {
		_, err := c.do("PING")
		answer <- err
	}()
	select {
	case err := <-answer:
		t.Fatalf("a frozen server answered: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	server.Thaw()
	if err := <-answer; err != nil {
		t.Errorf("after thawing: %v", err)
	}
}

func TestPasswordIsNeeded(t *testing.T) {
	t.Parallel()
	server := Start(t)
	if err := ping("redis://" + server.Addr()); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("ping without password: %v", err)
	}
}

func TestCleanupLeavesNothing(t *testing.T) { //nolint:tparallel // its sub-test ends before it looks
	t.Parallel()
	var dir, addr string
	t.Run("user", func(t *testing.T) { //nolint:paralleltest // the parent looks at what it leaves
		server := Start(t)
		dir, addr = server.home.Dir, server.Addr()
	})
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("home is still there: %v", err)
	}
	if conn, err := net.Dial("tcp", addr); err == nil {
		_ = conn.Close()
		t.Error("still answers")
	}
}

func BenchmarkOpen(b *testing.B) {
	Open(b) // starts the shared server
	for b.Loop() {
		Open(b)
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		Start(b)
	}
}
