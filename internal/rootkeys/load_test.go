package rootkeys_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/rootkeys"
	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
)

func TestCreateThenLoad(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "master.key")
	made, err := rootkeys.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode is %v, %v; want 0600", info.Mode(), err)
	}
	loaded, err := rootkeys.Load(t.Context(), rootkeys.Source{File: path})
	if err != nil || loaded.Current() != made.Current() {
		t.Errorf("what was made was not loaded: %v", err)
	}
	if _, err := rootkeys.Create(path); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("Create over a file = %v, want fs.ErrExist naming it", err)
	}
	again, err := rootkeys.Load(t.Context(), rootkeys.Source{File: path})
	if err != nil || again.Current() != made.Current() {
		t.Errorf("a refused Create changed the file: %v", err)
	}
}

func TestLoadFileRefuses(t *testing.T) {
	t.Parallel()
	good := rootkeys.Generate().Reveal()
	for name, c := range map[string]struct {
		make func(t *testing.T, path string) error
		want string // "" means that it loads
	}{
		"mode 0600": {func(_ *testing.T, p string) error { return os.WriteFile(p, good, 0o600) }, ""},
		"mode 0400": {func(_ *testing.T, p string) error { return os.WriteFile(p, good, 0o400) }, ""},
		"mode 0640": {func(_ *testing.T, p string) error {
			return errors.Join(os.WriteFile(p, good, 0o600), os.Chmod(p, 0o640))
		}, "mode is 0640"},
		"mode 0604": {func(_ *testing.T, p string) error {
			return errors.Join(os.WriteFile(p, good, 0o600), os.Chmod(p, 0o604))
		}, "mode is 0604"},
		"mode 0620": {func(_ *testing.T, p string) error {
			return errors.Join(os.WriteFile(p, good, 0o600), os.Chmod(p, 0o620))
		}, "mode is 0620"},
		"missing":     {func(*testing.T, string) error { return nil }, "no such file"},
		"a directory": {func(_ *testing.T, p string) error { return os.Mkdir(p, 0o700) }, "not a regular file"},
		"a FIFO":      {func(_ *testing.T, p string) error { return syscall.Mkfifo(p, 0o600) }, "not a regular file"},
		"too long":    {func(_ *testing.T, p string) error { return os.WriteFile(p, bytes.Repeat([]byte("#"), 65<<10), 0o600) }, "more than"},
		"corrupt":     {func(_ *testing.T, p string) error { return os.WriteFile(p, good[:30], 0o600) }, "line 1"},
		"a link": {func(t *testing.T, p string) error {
			target := filepath.Join(t.TempDir(), "target")
			return errors.Join(os.WriteFile(target, good, 0o600), os.Symlink(target, p))
		}, ""},
		"a link to an open file": {func(t *testing.T, p string) error {
			target := filepath.Join(t.TempDir(), "target")
			return errors.Join(os.WriteFile(target, good, 0o600), os.Chmod(target, 0o644), os.Symlink(target, p))
		}, "mode is 0644"},
		"another user's": {func(t *testing.T, p string) error {
			if os.Geteuid() != 0 {
				daemon.Lack(t, "only root can give a file away")
			}
			return errors.Join(os.WriteFile(p, good, 0o600), os.Chown(p, 12345, 12345))
		}, "belongs to user 12345"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "master.key")
			if err := c.make(t, path); err != nil {
				t.Fatal(err)
			}
			_, err := rootkeys.Load(t.Context(), rootkeys.Source{File: path})
			checkLoad(t, err, c.want, path, good)
		})
	}
}

func checkLoad(t *testing.T, err error, want, name string, secret []byte) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("Load = %v", err)
		}
		return
	}
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
		t.Fatalf("Load = %v, want an error naming %s and saying %q", err, name, want)
	}
	if strings.Contains(err.Error(), string(secret[2:12])) {
		t.Error("the error quotes the key")
	}
}

func TestLoadEnvironment(t *testing.T) {
	set := rootkeys.Generate()
	t.Setenv("SIGNET_TEST_KEY", string(set.Reveal()))
	t.Setenv("SIGNET_TEST_BAD", string(set.Reveal()[:20]))
	got, err := rootkeys.Load(t.Context(), rootkeys.Source{Env: "SIGNET_TEST_KEY"})
	if err != nil || got.Current() != set.Current() {
		t.Errorf("Load = %v", err)
	}
	_, err = rootkeys.Load(t.Context(), rootkeys.Source{Env: "SIGNET_TEST_BAD"})
	checkLoad(t, err, "line 1", "SIGNET_TEST_BAD", set.Reveal())
	_, err = rootkeys.Load(t.Context(), rootkeys.Source{Env: "SIGNET_TEST_ABSENT"})
	checkLoad(t, err, "not set", "SIGNET_TEST_ABSENT", set.Reveal())
}

func TestLoadProgram(t *testing.T) {
	t.Parallel()
	set := rootkeys.Generate()
	text := strings.TrimSpace(string(set.Reveal()))
	for name, c := range map[string]struct{ script, want string }{
		"prints the keys":       {"echo " + text, ""},
		"fails":                 {"echo " + text + "; echo " + text + " >&2; exit 3", "exit status 3"},
		"prints something else": {"echo hello", "line 1"},
		"prints without end":    {"cat /dev/zero", "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := rootkeys.Load(t.Context(), rootkeys.Source{Exec: []string{"sh", "-c", c.script}})
			checkLoad(t, err, c.want, "program sh", set.Reveal())
		})
	}
	_, err := rootkeys.Load(t.Context(), rootkeys.Source{Exec: []string{"signet-no-such-program"}})
	checkLoad(t, err, "not found", "signet-no-such-program", set.Reveal())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := rootkeys.Load(ctx, rootkeys.Source{Exec: []string{"sleep", "60"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("Load under a cancelled context = %v", err)
	}
}

func TestLoadWantsOneSource(t *testing.T) {
	t.Parallel()
	for _, s := range []rootkeys.Source{{}, {File: "a", Env: "b"}, {File: "a", Exec: []string{"b"}}, {File: "a", Env: "b", Exec: []string{"c"}}} {
		if _, err := rootkeys.Load(t.Context(), s); err == nil || !strings.Contains(err.Error(), "exactly one") {
			t.Errorf("Load(%+v) = %v", s, err)
		}
	}
}
