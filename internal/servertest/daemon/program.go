package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Program says which program a test needs and where it comes from.
type Program struct {
	// Name of the binary, such as "redis-server".
	Name string
	// Glob finds installed copies outside PATH as DIR/VERSION/bin/Name; the newest version wins over PATH. May be empty.
	Glob string
	// Check are arguments with which a copy must succeed that is to be used, such as "-c", "import jwt". May be empty.
	Check []string
	// Debian are the packages that bring it, with spaces between them; empty: never installed for the caller.
	Debian string
}

// Require returns the path of the program. Where it is missing on Debian and the test runs as root, the package
// is installed, which is said on stderr. Where that cannot be, the test is skipped, or fails in CI.
func (p Program) Require(t testing.TB) string {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	path, err := p.find(ctx)
	if err == nil {
		return path
	}
	if path, err = p.install(ctx); err == nil {
		return path
	}
	Lack(t, fmt.Sprintf("for want of %s: %v", p.Name, err))
	return ""
}

// Lack skips a test that cannot run as things are, and fails it in CI, where nothing may be skipped. CI is what make takes for it.
func Lack(t testing.TB, why string) {
	t.Helper()
	if ci := os.Getenv("CI"); ci != "" && ci != "0" && ci != "false" {
		t.Fatalf("nothing may be skipped when CI=%s: %s", ci, why)
	}
	t.Skip("SKIPPED " + why)
}

// Output runs a program to its end, without cgo where that is a build, and returns what it printed.
func Output(dir string, args ...string) (string, error) {
	cmd := exec.Command(args[0], args[1:]...) //nolint:gosec,noctx // arguments of these packages; bounded by whoever runs it
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	var problem strings.Builder
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, problem.String())
	}
	return strings.TrimSpace(string(out)), nil
}

func (p Program) find(ctx context.Context) (string, error) {
	paths, err := filepath.Glob(p.Glob)
	if err != nil {
		return "", fmt.Errorf("search %s: %w", p.Glob, err)
	}
	slices.SortFunc(paths, func(a, b string) int { return int(100 * (versionOf(b) - versionOf(a))) })
	path, err := exec.LookPath(p.Name)
	if err == nil {
		paths = append(paths, path)
	}
	for _, path := range paths {
		if err = p.check(ctx, path); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", fmt.Errorf("find program: %w", err)
}

// check runs the program as Check wants it.
func (p Program) check(ctx context.Context, path string) error {
	if len(p.Check) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, path, p.Check...).CombinedOutput(); err != nil { //nolint:gosec // what the test names
		return fmt.Errorf("%s %v: %w\n%s", path, p.Check, err, out)
	}
	return nil
}

// versionOf reads the VERSION of DIR/VERSION/bin/NAME; what is no number comes first.
func versionOf(path string) float64 {
	version, err := strconv.ParseFloat(filepath.Base(filepath.Dir(filepath.Dir(path))), 64)
	if err != nil {
		return 0
	}
	return version
}

func (p Program) install(ctx context.Context) (string, error) {
	if p.Debian == "" {
		return "", errors.New("it is not installed")
	}
	apt, err := exec.LookPath("apt-get")
	if err != nil {
		return "", fmt.Errorf("it is not installed, and there is no apt-get to install %s with", p.Debian)
	}
	if os.Geteuid() != 0 {
		return "", fmt.Errorf("it is not installed, and only root may run: apt-get install %s", p.Debian)
	}
	// Test binaries run side by side: the second waits here and then finds what the first installed.
	unlock, err := lockCache("install.lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if path, found := p.find(ctx); found == nil {
		return path, nil
	}
	fmt.Fprintf(os.Stderr, "daemon: %s is missing: running apt-get update && apt-get install -y %s\n", p.Name, p.Debian)
	for _, args := range [][]string{
		{"-q", "update"},
		append([]string{"-q", "-o", "DPkg::Lock::Timeout=300", "install", "-y", "--no-install-recommends"}, strings.Fields(p.Debian)...),
	} {
		cmd := exec.CommandContext(ctx, apt, args...) //nolint:gosec // Debian's own installer, with arguments of this package
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("apt-get %v: %w\n%s", args, err, out)
		}
	}
	return p.find(ctx)
}
