package pgtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
)

// instance is a running server with its address.
type instance struct {
	process *daemon.Process
	port    *daemon.Port
	url     string
}

// start runs a server on a free port and waits until it answers.
func (c *cluster) start(ctx context.Context, home *daemon.Home, settings []string) (*instance, error) {
	var last error
	for range 5 { // somebody else may take the port first
		port, err := daemon.ReservePort()
		if err != nil {
			return nil, err
		}
		server, err := c.url(port, superuser)
		if err != nil {
			return nil, err
		}
		process, err := c.run(home, port, settings)
		if err != nil {
			return nil, err
		}
		if last = process.Ready(answers(ctx, home, server)); last == nil {
			return &instance{process: process, port: port, url: server}, nil
		}
		port.Release()
		if !strings.Contains(home.Log(), "could not bind") {
			break
		}
	}
	return nil, last
}

// answers checks for readiness: first the cheap way, as pg_ctl does, then by a connection. The connection proves by
// its password that this server has the port.
func answers(ctx context.Context, home *daemon.Home, server string) func() error {
	return func() error {
		if lines := postmasterFile(home); len(lines) < 8 || strings.TrimSpace(lines[7]) != "ready" {
			return fmt.Errorf("postmaster.pid says %q", lines)
		}
		return execute(ctx, server, "")
	}
}

// postmasterFile returns the lines of the file in which the server describes itself.
func postmasterFile(home *daemon.Home) []string {
	content, err := os.ReadFile(filepath.Join(home.Dir, "data", "postmaster.pid"))
	if err != nil {
		return nil
	}
	return strings.Split(string(content), "\n")
}

// Server is a PostgreSQL server that belongs to one test, with fsync and synchronous commits. Its methods fail the
// test when they cannot do what they say; call them from the test's goroutine.
type Server struct {
	t        testing.TB
	ctx      context.Context //nolint:containedctx // the test's, without its end
	cluster  *cluster
	home     *daemon.Home
	settings []string
	running  *instance
}

// Start starts a server of its own for the test, whatever TEST_POSTGRES_URL says, and ends it with the test.
// Settings are lines of postgresql.conf such as "max_connections=5".
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s := prepare(t, settings)
	if err := s.cluster.populate(s.home); err != nil {
		t.Fatalf("copy PostgreSQL's data: %v", err)
	}
	s.begin()
	return s
}

// prepare makes the home of a server that ends with the test.
func prepare(t testing.TB, settings []string) *Server {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	c, err := openCluster(ctx, program().Require(t))
	if err != nil {
		t.Fatalf("prepare PostgreSQL: %v", err)
	}
	home, err := daemon.NewHome(syscall.SIGQUIT, users()...)
	if err != nil {
		t.Fatalf("prepare PostgreSQL: %v", err)
	}
	s := &Server{
		t: t, ctx: ctx, cluster: c, home: home,
		settings: append([]string{"fsync=on", "synchronous_commit=on"}, settings...),
	}
	t.Cleanup(s.close)
	return s
}

// begin starts the server on the data of its home.
func (s *Server) begin() {
	s.t.Helper()
	running, err := s.cluster.start(s.ctx, s.home, s.settings)
	if err != nil {
		s.t.Fatalf("start PostgreSQL: %v", err)
	}
	s.running = running
}

// URL returns the URL of the server's database, which is empty at first and stays the same over restarts.
func (s *Server) URL() string { return s.running.url }

// Addr returns the server's address as host:port.
func (s *Server) Addr() string { return s.running.port.Addr() }

// Stop shuts the server down in the mode "fast": open transactions are rolled back, connections closed.
func (s *Server) Stop() {
	s.t.Helper()
	if err := s.running.process.Stop(syscall.SIGINT, time.Minute); err != nil {
		s.t.Fatalf("stop PostgreSQL: %v", err)
	}
}

// Kill ends all processes of the server with SIGKILL.
func (s *Server) Kill() { s.running.process.Kill() }

// Start starts a stopped or killed server with its old data on its old port.
func (s *Server) Start() {
	s.t.Helper()
	if !s.running.process.Exited() {
		s.t.Fatal("PostgreSQL is already running")
	}
	process, err := s.cluster.run(s.home, s.running.port, s.settings)
	if err != nil {
		s.t.Fatalf("start PostgreSQL again: %v", err)
	}
	s.running.process = process
	if err := process.Ready(answers(s.ctx, s.home, s.running.url)); err != nil {
		s.t.Fatalf("start PostgreSQL again: %v", err)
	}
}

// Restart is Stop and Start.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.Start()
}

// Freeze stops all processes of the server as SIGSTOP does: connections stay open and nothing answers.
func (s *Server) Freeze() { s.running.process.Freeze() }

// Thaw ends Freeze.
func (s *Server) Thaw() { s.running.process.Thaw() }

func (s *Server) close() {
	if s.running != nil {
		if err := s.running.process.Stop(syscall.SIGQUIT, 10*time.Second); err != nil {
			s.t.Errorf("end PostgreSQL: %v", err)
		}
		s.running.port.Release()
	}
	s.removeSharedMemory()
	if err := s.home.Close(); err != nil {
		s.t.Errorf("clean up after PostgreSQL: %v", err)
	}
}

// removeSharedMemory deletes the System V segment that a killed server leaves behind. Only a start on the same data
// would delete it, and the machine has a limited number.
func (s *Server) removeSharedMemory() {
	if id := s.segment(); id != "" {
		_ = exec.CommandContext(s.ctx, "ipcrm", "-m", id).Run() //nolint:gosec // a number
	}
}

// segment returns the number of the System V segment of a running or killed server, else "".
func (s *Server) segment() string {
	lines := postmasterFile(s.home)
	if len(lines) < 7 {
		return ""
	}
	fields := strings.Fields(lines[6]) // key and id
	if len(fields) != 2 {
		return ""
	}
	return fields[1]
}
