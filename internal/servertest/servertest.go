// Package servertest runs the real binary for tests: as `signet dev`, or initialised and served from a configuration file on
// SQLite or PostgreSQL. Its sub-packages run the real PostgreSQL and Redis servers that tests need.
package servertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest/clock"
	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
	"github.com/seed-1972b8eb/signet/internal/servertest/old"
)

// built are the binaries of this test process, each made at most once: linking takes seconds.
//
//nolint:gochecknoglobals // shared by all tests of a process, and by TestMain at its end
var built, moved, before binary

// binary is a signet binary, and the directory that was made for it; empty for one that was there already.
type binary struct {
	once       sync.Once
	path, made string
	err        error
}

// Binary returns the path of a signet binary built from this tree, with the race detector where the test itself has it.
// SIGNET_TEST_BINARY names one that is already there.
func Binary(t testing.TB) string {
	t.Helper()
	return built.must(t, "SIGNET_TEST_BINARY", func(path string) error {
		args := []string{"build", "-o", path}
		if Race {
			args = append(args, "-race")
		}
		cmd := exec.Command("go", append(args, "github.com/seed-1972b8eb/signet/cmd/signet")...) //nolint:gosec,noctx // arguments of this package; bounded by the test binary
		cmd.Dir = Root()
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
}

// ClockBinary is Binary for a process whose clocks are moved. SIGNET_TEST_CLOCK_BINARY names one that is already there.
func ClockBinary(t testing.TB) string {
	t.Helper()
	return moved.must(t, "SIGNET_TEST_CLOCK_BINARY", func(path string) error { return clock.Build(Root(), path) })
}

// OldBinary is the version before replicas shared revocations. A test in a tree without its history is skipped, or fails in CI.
// SIGNET_TEST_OLD_BINARY names one that is already there.
func OldBinary(t testing.TB) string {
	t.Helper()
	build := func(path string) error { return old.Build(Root(), path) }
	if err := before.make("SIGNET_TEST_OLD_BINARY", build); errors.Is(err, old.ErrNoHistory) {
		daemon.Lack(t, err.Error())
	}
	return before.must(t, "SIGNET_TEST_OLD_BINARY", build)
}

// program is the binary that understands the environment.
func program(t testing.TB, env []string) string {
	t.Helper()
	if clock.In(env) {
		return ClockBinary(t)
	}
	return Binary(t)
}

func (b *binary) must(t testing.TB, variable string, build func(path string) error) string {
	t.Helper()
	if err := b.make(variable, build); err != nil {
		t.Fatalf("build signet: %v", err)
	}
	return b.path
}

func (b *binary) make(variable string, build func(path string) error) error {
	b.once.Do(func() { b.find(variable, build) })
	return b.err
}

func (b *binary) find(variable string, build func(path string) error) {
	if b.path = os.Getenv(variable); b.path != "" {
		return
	}
	if b.made, b.err = os.MkdirTemp("", "signet-binary-"); b.err == nil {
		b.path = filepath.Join(b.made, "signet")
		b.err = build(b.path)
	}
}

// CleanUp removes the binaries that this process has built, and no others. Call it at the end of TestMain.
func CleanUp() {
	for _, dir := range []string{built.made, moved.made, before.made} {
		if dir != "" {
			_ = os.RemoveAll(dir)
		}
	}
}

// Root is the root of the source tree.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// Process is one running signet process. Its standard error is kept and looked through when the test ends: a data race or a
// panic in it fails the test.
type Process struct {
	t      testing.TB
	cmd    *exec.Cmd
	stderr *Log
	done   chan struct{}
	err    error
}

// Log collects what a process writes. Safe for concurrent use.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write appends p.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String returns everything written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// start runs a binary with args and env added to a minimal environment; stdout goes to out.
func start(t testing.TB, binary string, out *Log, env []string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, stderr: &Log{}, done: make(chan struct{})}
	p.cmd = exec.Command(binary, args...) //nolint:gosec,noctx // the binary under test; the clean-up ends it
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "NO_COLOR=1"}, env...)
	p.cmd.Stdout, p.cmd.Stderr = out, p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start signet: %v", err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(p.finish)
	return p
}

func (p *Process) finish() {
	_ = p.Stop() // how a process ends is for the tests that ask
	log := p.stderr.String()
	for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if strings.Contains(log, bad) {
			p.t.Errorf("the server's log has %q:\n%s", bad, log)
		}
	}
	if p.t.Failed() && len(log) < 20_000 {
		p.t.Logf("log of the server:\n%s", log)
	}
}

// Stop asks the process to end (SIGTERM), and kills it when it has not after 20 s. It returns how the process ended.
func (p *Process) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		p.t.Errorf("signet does not end on SIGTERM")
		p.Kill()
	}
	return p.err
}

// Kill ends the process as a power cut would (SIGKILL).
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Signal sends any other signal.
func (p *Process) Signal(s os.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Errorf("signal signet: %v", err)
	}
}

// PID is the process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Log is everything that the process wrote to its standard error.
func (p *Process) Log() string { return p.stderr.String() }

// Run runs one command of the binary to its end and returns what it printed to stdout and to stderr; env is added to a minimal
// environment.
func Run(t testing.TB, env []string, args ...string) (string, string, error) {
	t.Helper()
	return RunBinary(t, program(t, env), env, args...)
}

// RunBinary is Run with another binary.
func RunBinary(t testing.TB, binary string, env []string, args ...string) (string, string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...) //nolint:gosec // the binary under test
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "NO_COLOR=1"}, env...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	return out.String(), errOut.String(), err
}
