package failures

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// TestDiskFull takes the space away from a server on SQLite, by a limit on the size of its files and, where the test may
// mount, by a file system that is full.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	long(t)
	t.Run("file size", func(t *testing.T) {
		t.Parallel()
		prlimit, err := exec.LookPath("prlimit")
		if err != nil {
			daemon.Lack(t, "prlimit is not installed")
		}
		s := serve(t, servertest.Config{})
		limit := func(size string) {
			out, err := exec.CommandContext(t.Context(), prlimit, "--pid", strconv.Itoa(s.PID()), "--fsize="+size).CombinedOutput()
			if err != nil {
				t.Fatalf("prlimit: %v %s", err, out)
			}
		}
		diskFull(t, s, func() {
			info, err := os.Stat(filepath.Join(s.DataDir, "signet.db-wal"))
			if err != nil {
				t.Fatal(err)
			}
			limit(fmt.Sprintf("%d:unlimited", info.Size()+spare))
		}, func() { limit("unlimited:unlimited") })
	})
	t.Run("file system", func(t *testing.T) {
		t.Parallel()
		dir := servertest.ShortDir(t)
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m,mode=700"); err != nil {
			daemon.Lack(t, "cannot mount a file system: "+err.Error())
		}
		t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
		s := serve(t, servertest.Config{Env: []string{"SIGNET_DATABASE_PATH=" + filepath.Join(dir, "signet.db")}})
		t.Cleanup(func() { _ = s.Stop() }) // before the file system goes
		ballast := filepath.Join(dir, "ballast")
		diskFull(t, s, func() { fill(t, ballast) }, func() {
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
		})
	})
}

// spare is the space, in bytes, that is left for a few changes.
const spare = 400 << 10

// fill writes a file until there is no space but the spare.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	block := make([]byte, 4096)
	for range 10_000 {
		if _, err := file.Write(block); !errors.Is(err, syscall.ENOSPC) {
			continue
		}
		info, err := file.Stat()
		if err != nil || file.Truncate(info.Size()-spare) != nil {
			t.Fatal("leave a little space")
		}
		return
	}
	t.Fatal("the file system is not small")
}

// diskFull changes things while there is space, when there is none, and after it is back.
func diskFull(t *testing.T, s *server, full, free func()) {
	t.Helper()
	l := &ledger{}
	c := s.client(t)
	token, other := s.token(t, c), s.token(t, c)
	full()
	create := func() error {
		made, err := s.admin.CreateClient(t.Context(), newClient(adminapi.NewClient{}))
		if err == nil {
			l.add("client.create", made.ClientID, func(t *testing.T) bool {
				return s.request(client{made.ClientID, made.ClientSecret}).ok()
			})
		}
		return err
	}
	var refused error
	for range 500 {
		if refused = create(); refused != nil {
			break
		}
	}
	if len(l.all()) == 0 {
		t.Error("not one change was acknowledged before the space ended")
	}
	problem, ok := errors.AsType[*adminapi.Problem](refused)
	if !ok || problem.Status != http.StatusServiceUnavailable || problem.RetryAfter <= 0 || problem.Detail == "" {
		t.Errorf("a change without space: %v, want 503", refused)
	}
	during(t, 500*time.Millisecond, func() {
		s.verify(t, s.jwks(t), s.token(t, c))
		if a := s.introspect(c, other); !a.active() {
			t.Errorf("introspect: %d %s (%v)", a.status, a.body, a.err)
		}
	})
	// A page may be left for it. If not, it says so; and a revocation that was acknowledged holds.
	a := s.revoke(c, token)
	if !a.ok() {
		a.undecided(t, "revoke without space", goneWithin)
	}
	acknowledged := a.ok()
	if a := s.introspect(c, token); acknowledged && !a.inactive() || !a.ok() {
		t.Errorf("introspect after it: %d %s (%v)", a.status, a.body, a.err)
	}
	free()
	took := eventually(t, backWithin, "change something", func() bool { return create() == nil })
	t.Logf("changes work %v after the space is back", took.Round(time.Millisecond))
	s.revoke(c, token).want(t)
	s.Kill()
	s.Again(t)
	for _, change := range l.all() {
		if !change.holds(t) {
			t.Errorf("%s of %s was acknowledged and is lost", change.action, change.subject)
		}
	}
	if a := s.introspect(c, token); !a.inactive() {
		t.Errorf("a revoked token: %d %s (%v)", a.status, a.body, a.err)
	}
	if a := s.introspect(c, other); !a.active() {
		t.Errorf("another token: %d %s (%v)", a.status, a.body, a.err)
	}
	t.Logf("%d clients were created", len(l.all()))
}
