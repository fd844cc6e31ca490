package daemon_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
)

// TestNeedy is the child of the tests below: a test that needs a program.
func TestNeedy(t *testing.T) {
	name := os.Getenv("DAEMON_NEEDS")
	if name == "" {
		t.Skip("runs only as a child of the other tests")
	}
	t.Log("found " + daemon.Program{Name: name, Debian: os.Getenv("DAEMON_PACKAGE")}.Require(t))
}

// needy runs it with nothing but dir in PATH.
func needy(t *testing.T, dir, debian, ci string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run=^TestNeedy$")
	cmd.Env = []string{
		"PATH=" + dir, "XDG_CACHE_HOME=" + t.TempDir(), "CI=" + ci,
		"DAEMON_NEEDS=no-such-server", "DAEMON_PACKAGE=" + debian,
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestMissingProgramSkips(t *testing.T) {
	t.Parallel()
	out, err := needy(t, t.TempDir(), "some-package", "")
	if err != nil || !strings.Contains(out, "--- SKIP") || !strings.Contains(out, "no-such-server") {
		t.Errorf("want a skip that names the program, got %v:\n%s", err, out)
	}
}

func TestMissingProgramFailsInCI(t *testing.T) {
	t.Parallel()
	for _, ci := range []string{"true", "1"} {
		out, err := needy(t, t.TempDir(), "some-package", ci)
		if err == nil || !strings.Contains(out, "nothing may be skipped when CI="+ci+": for want of no-such-server: ") {
			t.Errorf("CI=%s: want a failure that names the program, got %v:\n%s", ci, err, out)
		}
	}
}

// The apt-get of this test installs a file of the right name and writes down how it was called.
func TestMissingProgramIsInstalled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := `#!/bin/sh
echo "$DEBIAN_FRONTEND $*" >>` + dir + `/calls
case $* in *install*) printf '#!/bin/sh\n' >` + dir + `/no-such-server; /bin/chmod +x ` + dir + `/no-such-server ;; esac
`
	if err := os.WriteFile(filepath.Join(dir, "apt-get"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := needy(t, dir, "some-package some-other", "true")
	if os.Geteuid() != 0 {
		if err == nil || !strings.Contains(out, "only root may run: apt-get install some-package some-other") {
			t.Errorf("want the command to run as root, got %v:\n%s", err, out)
		}
		return
	}
	if err != nil || !strings.Contains(out, "found "+dir) || !strings.Contains(out, "apt-get install -y some-package some-other") {
		t.Errorf("want an announced installation, got %v:\n%s", err, out)
	}
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(calls)), "\n")
	if len(lines) != 2 || !strings.HasSuffix(lines[0], " update") || !strings.HasSuffix(lines[1], " some-package some-other") ||
		!strings.HasPrefix(lines[1], "noninteractive ") {
		t.Errorf("apt-get was called like this:\n%s", calls)
	}
}

func TestNewestVersionWins(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, version := range []string{"9.6", "15", "10"} {
		bin := filepath.Join(dir, version, "bin")
		if err := os.MkdirAll(bin, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(bin, "server"), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	got := daemon.Program{Name: "server", Glob: filepath.Join(dir, "*", "bin", "server")}.Require(t)
	if want := filepath.Join(dir, "15", "bin", "server"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A program that is there but cannot do what it is needed for counts as missing, and the next copy is looked at.
func TestCopyThatFailsItsCheckIsPassedOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for version, script := range map[string]string{"15": "exit 1", "10": `[ "$1 $2" = "-c ok" ]`} {
		bin := filepath.Join(dir, version, "bin")
		if err := os.MkdirAll(bin, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(bin, "server"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p := daemon.Program{Name: "server", Glob: filepath.Join(dir, "*", "bin", "server"), Check: []string{"-c", "ok"}}
	if got, want := p.Require(t), filepath.Join(dir, "10", "bin", "server"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
