package pgtest_test

import (
	"bufio"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
)

// TestVictim is the other side of the tests below, in a process of its own: it starts a server, tells its URL and
// waits to be killed.
func TestVictim(t *testing.T) {
	var server string
	switch os.Getenv("PGTEST_VICTIM") {
	case "shared":
		server = pgtest.Open(t)
	case "private":
		server = pgtest.Start(t).URL()
	case "frozen":
		private := pgtest.Start(t)
		connect(t, private.URL())
		private.Freeze()
		server = private.URL()
	default:
		t.Skip("runs only as a child of TestKilledTestProcess and TestSharedByProcesses")
	}
	fmt.Println("server " + server)
	_, _ = bufio.NewReader(os.Stdin).ReadByte() // ends when the parent closes the pipe
}

// victim starts the test binary as a process of its own, with its own cache and temporary directory.
func victim(t *testing.T, kind, dir string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestVictim$", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), "PGTEST_VICTIM="+kind, "TEST_POSTGRES_URL=",
		"TMPDIR="+filepath.Join(dir, "tmp"), "XDG_CACHE_HOME="+filepath.Join(dir, "cache"))
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	var server string
	if _, err := fmt.Fscanf(out, "server %s\n", &server); err != nil {
		t.Fatalf("the child gave no server: %v", err)
	}
	parsed, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	return cmd, parsed.Host
}

// scratch is a directory that any user may enter: the server runs as another one.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pgtest-") //nolint:usetesting // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, name := range []string{"", "tmp"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func awaitGone(t *testing.T, addr, dir string) {
	t.Helper()
	began := time.Now()
	for time.Since(began) < 15*time.Second {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		left, globErr := filepath.Glob(filepath.Join(dir, "tmp", "*"))
		if globErr != nil {
			t.Fatal(globErr)
		}
		if err != nil && len(left) == 0 {
			t.Logf("gone after %v", time.Since(began))
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("PostgreSQL on %s or files in %s are still there", addr, dir)
}

func TestKilledTestProcess(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"private", "frozen", "shared"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := scratch(t)
			cmd, addr := victim(t, kind, dir)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			awaitGone(t, addr, dir)
		})
	}
}

func TestSharedByProcesses(t *testing.T) {
	t.Parallel()
	dir := scratch(t)
	first, addr := victim(t, "shared", dir)
	second, same := victim(t, "shared", dir)
	if addr != same {
		t.Errorf("two servers, %s and %s", addr, same)
	}
	// The one that started the server dies; the other keeps it for longer than the guard lingers.
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	for began := time.Now(); time.Since(began) < 4*time.Second; time.Sleep(100 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatalf("the shared server is gone while in use: %v", err)
		}
		_ = conn.Close()
	}
	third, same := victim(t, "shared", dir)
	if addr != same {
		t.Errorf("a third process got %s, want %s", same, addr)
	}
	for _, cmd := range []*exec.Cmd{second, third} {
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
	}
	awaitGone(t, addr, dir)
}
