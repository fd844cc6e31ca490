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

// instance is a running server with its address and how it is started.
type instance struct {
	process *daemon.Process
	ports   []*daemon.Port // the first is for clients without TLS
	args    []string
	url     string
}

// plan is what to start.
type plan struct {
	// password is there because a Redis client can write files, and 127.0.0.1 belongs to every user of the machine.
	password string
	// settings returns the lines of redis.conf that are not everybody's; it may write files into the home.
	settings func(ports []*daemon.Port) []string
	ports    int
	sentinel bool
}

// plain is the plan of a server with that password, which as a replica it has for its primary too.
func plain(password string, settings []string) plan {
	return plan{password: password, ports: 1, settings: func([]*daemon.Port) []string {
		return append([]string{
			"masterauth " + password, "databases 1024", `save ""`, "appendonly no", "repl-diskless-sync-delay 0",
		}, settings...)
	}}
}

// start runs a server on free ports and waits until it answers.
func start(redis string, home *daemon.Home, p plan) (*instance, error) {
	var last error
	for range 5 { // somebody else may take a port first
		i := &instance{}
		for range p.ports {
			port, err := daemon.ReservePort()
			if err != nil {
				i.release()
				return nil, err
			}
			i.ports = append(i.ports, port)
		}
		if last = i.run(redis, home, p); last == nil {
			return i, nil
		}
		i.release()
		if !strings.Contains(home.Log(), "Address already in use") {
			break
		}
	}
	return nil, last
}

func (i *instance) run(redis string, home *daemon.Home, p plan) error {
	lines := append([]string{
		"bind 127.0.0.1",
		fmt.Sprintf("port %d", i.ports[0].Number()),
		"requirepass " + p.password,
	}, p.settings(i.ports)...)
	config, err := home.WriteFile("redis.conf", strings.Join(lines, "\n")+"\n")
	if err != nil {
		return err
	}
	if i.args = []string{config}; p.sentinel {
		i.args = append(i.args, "--sentinel")
	}
	i.url = fmt.Sprintf("redis://:%s@%s/0", p.password, i.ports[0].Addr())
	if i.process, err = home.Run(redis, i.args...); err != nil {
		return err
	}
	return i.process.Ready(func() error { return ping(i.url) })
}

func (i *instance) release() {
	for _, port := range i.ports {
		port.Release()
	}
}

// Server is a Redis server that belongs to one test. It keeps its data in memory only unless settings say
// otherwise. Its methods fail the test when they cannot do what they say; call them from the test's goroutine.
type Server struct {
	t        testing.TB
	redis    string
	home     *daemon.Home
	password string
	running  *instance
}

// Start starts a server of its own for the test, whatever TEST_REDIS_URL says, and ends it with the test. Settings
// are lines of redis.conf such as "maxmemory 1mb" or "appendonly yes".
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s := prepare(t)
	s.begin(plain(rand.Text(), settings))
	return s
}

// prepare makes the home of a server that ends with the test.
func prepare(t testing.TB) *Server {
	t.Helper()
	redis := program().Require(t)
	home, err := daemon.NewHome(syscall.SIGKILL, users()...)
	if err != nil {
		t.Fatalf("prepare Redis: %v", err)
	}
	s := &Server{t: t, redis: redis, home: home}
	t.Cleanup(s.close)
	return s
}

func (s *Server) begin(p plan) {
	s.t.Helper()
	s.password = p.password
	running, err := start(s.redis, s.home, p)
	if err != nil {
		s.t.Fatalf("start Redis: %v", err)
	}
	s.running = running
}

// URL returns the URL of the server's database 0, which stays the same over restarts.
func (s *Server) URL() string { return s.running.url }

// Addr returns the server's address as host:port.
func (s *Server) Addr() string { return s.running.ports[0].Addr() }

// Stop shuts the server down in the orderly way, SIGTERM.
func (s *Server) Stop() {
	s.t.Helper()
	if err := s.running.process.Stop(syscall.SIGTERM, time.Minute); err != nil {
		s.t.Fatalf("stop Redis: %v", err)
	}
}

// Kill ends the server with SIGKILL.
func (s *Server) Kill() { s.running.process.Kill() }

// Start starts a stopped or killed server on its old port; without persistence it is empty, or has what Save wrote.
func (s *Server) Start() {
	s.t.Helper()
	if !s.running.process.Exited() {
		s.t.Fatal("Redis is already running")
	}
	process, err := s.home.Run(s.redis, s.running.args...)
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
		s.running.release()
	}
	if err := s.home.Close(); err != nil {
		s.t.Errorf("clean up after Redis: %v", err)
	}
}
