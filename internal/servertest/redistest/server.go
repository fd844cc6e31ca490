package redistest

import (
	"crypto/rand"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
)

func program() daemon.Program {
	return daemon.Program{Name: "redis-server", Debian: "redis-server"}
}

// users lists whom the server may run as where the tests run as root.
func users() []string { return []string{"redis"} }

// instance is a running server with its address and its configuration file.
type instance struct {
	process *daemon.Process
	port    *daemon.Port
	config  string
	url     string
}

// start runs a server on a free port and waits until it answers. It has a random password, because a Redis client
// can write files and 127.0.0.1 belongs to every user of the machine.
func start(redis string, home *daemon.Home, settings []string) (*instance, error) {
	var last error
	for range 5 { // somebody else may take the port first
		port, err := daemon.ReservePort()
		if err != nil {
			return nil, err
		}
		password := rand.Text()
		lines := append([]string{
			"bind 127.0.0.1",
			fmt.Sprintf("port %d", port.Number()),
			"requirepass " + password,
			"databases 1024",
			`save ""`,
			"appendonly no",
		}, settings...)
		config, err := home.WriteFile("redis.conf", strings.Join(lines, "\n")+"\n")
		if err != nil {
			return nil, err
		}
		process, err := home.Run(redis, config)
		if err != nil {
			return nil, err
		}
		server := fmt.Sprintf("redis://:%s@%s/0", password, port.Addr())
		if last = process.Ready(func() error { return ping(server) }); last == nil {
			return &instance{process: process, port: port, config: config, url: server}, nil
		}
		port.Release()
		if !strings.Contains(home.Log(), "Address already in use") {
			break
		}
	}
	return nil, last
}

// Server is a Redis server that belongs to one test. It keeps its data in memory only unless settings say
// otherwise. Its methods fail the test when they cannot do what they say; call them from the test's goroutine.
type Server struct {
	t       testing.TB
	redis   string
	home    *daemon.Home
	running *instance
}

// Start starts a server of its own for the test, whatever TEST_REDIS_URL says, and ends it with the test. Settings
// are lines of redis.conf such as "maxmemory 1mb" or "appendonly yes".
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	redis := program().Require(t)
	home, err := daemon.NewHome(syscall.SIGKILL, users()...)
	if err != nil {
		t.Fatalf("prepare Redis: %v", err)
	}
	s := &Server{t: t, redis: redis, home: home}
	t.Cleanup(s.close)
	if s.running, err = start(redis, home, settings); err != nil {
		t.Fatalf("start Redis: %v", err)
	}
	return s
}

// URL returns the URL of the server's database 0, which stays the same over restarts.
func (s *Server) URL() string { return s.running.url }

// Addr returns the server's address as host:port.
func (s *Server) Addr() string { return s.running.port.Addr() }

// Stop shuts the server down in the orderly way, SIGTERM.
func (s *Server) Stop() {
	s.t.Helper()
	if err := s.running.process.Stop(syscall.SIGTERM, time.Minute); err != nil {
		s.t.Fatalf("stop Redis: %v", err)
	}
}

// Kill ends the server with SIGKILL.
func (s *Server) Kill() { s.running.process.Kill() }

// Start starts a stopped or killed server on its old port; without persistence it is empty.
func (s *Server) Start() {
	s.t.Helper()
	if !s.running.process.Exited() {
		s.t.Fatal("Redis is already running")
	}
	process, err := s.home.Run(s.redis, s.running.config)
	if err != nil {
		s.t.Fatalf("start Redis again: %v", err)
	}
	s.running.process = process
	if err := process.Ready(func() error { return ping(s.running.url) }); err != nil {
		s.t.Fatalf("start Redis again: %v", err)
	}
}

// Restart is Stop and Start.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.Start()
}

// Freeze stops the server as SIGSTOP does: connections stay open and nothing answers.
func (s *Server) Freeze() { s.running.process.Freeze() }

// Thaw ends Freeze.
func (s *Server) Thaw() { s.running.process.Thaw() }

func (s *Server) close() {
	if s.running != nil {
		s.running.process.Kill()
		s.running.port.Release()
	}
	if err := s.home.Close(); err != nil {
		s.t.Errorf("clean up after Redis: %v", err)
	}
}
