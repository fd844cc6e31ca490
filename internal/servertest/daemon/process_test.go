package daemon_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shell runs a script as a server; the script says when it is ready by making the file "up".
func shell(t *testing.T, home *daemon.Home, script string) *daemon.Process {
	t.Helper()
	process, err := home.Run("/bin/sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	err = process.Ready(func() error {
		_, err := os.Stat(filepath.Join(home.Dir, "up"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return process
}

func newHome(t *testing.T) *daemon.Home {
	t.Helper()
	home, err := daemon.NewHome(syscall.SIGTERM)
	if err != nil {
		t.Fatal(err)
	}
	return home
}

func TestServerDoesNotRunAsRoot(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	process := shell(t, home, `id -u && touch up && exec sleep 1000`)
	if uid := strings.TrimSpace(home.Log()); uid == "0" || uid == "" {
		t.Errorf("the server runs as user %q", uid)
	}
	process.Kill()
	if err := home.Close(); err != nil {
		t.Error(err)
	}
}

// Close ends what runs in the home, even if it ignores signals and even if it is frozen.
func TestCloseEndsStubbornServer(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	process := shell(t, home, `trap "" TERM; touch up; while :; do sleep 0.1; done`)
	process.Freeze()
	if err := home.Close(); err != nil {
		t.Error(err)
	}
	if err := process.Wait(); err == nil || daemon.Running(process.PID()) {
		t.Errorf("ended with %v, and what was killed has not succeeded; running: %t", err, daemon.Running(process.PID()))
	}
	if _, err := os.Stat(home.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("home is still there: %v", err)
	}
}

func TestStopSaysWhenItHadToKill(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	process := shell(t, home, `trap "" TERM; echo stubborn; touch up; while :; do sleep 0.1; done`)
	if err := process.Stop(syscall.SIGTERM, 50*time.Millisecond); err == nil || !strings.Contains(err.Error(), "stubborn") {
		t.Errorf("Stop: %v, want an error with the log", err)
	}
	if daemon.Running(process.PID()) {
		t.Error("still running")
	}
	if err := home.Close(); err != nil {
		t.Error(err)
	}
}

func TestKillEndsTheTree(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	process := shell(t, home, `sleep 1000 & echo $! && touch up && wait`)
	child := 0
	for _, digit := range strings.TrimSpace(home.Log()) {
		child = child*10 + int(digit-'0')
	}
	if !daemon.Running(child) {
		t.Fatalf("child %d does not run", child)
	}
	process.Kill()
	if daemon.Running(child) || daemon.Running(process.PID()) {
		t.Error("still running")
	}
	if err := home.Close(); err != nil {
		t.Error(err)
	}
}

func TestReadyReportsEarlyEnd(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	process, err := home.Run("/bin/sh", "-c", "echo broken; exit 1")
	if err != nil {
		t.Fatal(err)
	}
	err = process.Ready(func() error { return errors.New("not yet") })
	if err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("Ready: %v, want the log", err)
	}
	if err := home.Close(); err != nil {
		t.Error(err)
	}
}

func TestPortsAreReserved(t *testing.T) {
	t.Parallel()
	seen := make(map[int]bool)
	for range 200 {
		port, err := daemon.ReservePort()
		if err != nil {
			t.Fatal(err)
		}
		defer port.Release()
		if seen[port.Number()] {
			t.Fatalf("port %d twice", port.Number())
		}
		seen[port.Number()] = true
		listener, err := daemon.Listen(port.Addr())
		if err != nil {
			t.Fatalf("reserved port: %v", err)
		}
		_ = listener.Close()
	}
}
