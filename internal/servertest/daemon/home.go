// Package daemon runs server processes for tests: it finds or installs the program, gives it a temporary home and
// a port, runs it as an unprivileged user, and leaves neither process nor directory behind, however the test
// process ends. What is particular to one server lives in its own package (pgtest, redistest).
//
// The promise rests on the guard, a small shell script in a session of its own. It waits until nobody needs the
// home any more, then kills what runs there and deletes it. It notices that through the kernel: a pipe or lock
// that the test process holds, which are released by any kind of death.
package daemon

import (
	_ "embed"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

//go:embed guard.sh
var guardScript string

// Home is the temporary directory of one server, and the guard that deletes it.
type Home struct {
	// Dir belongs to the user that the server runs as.
	Dir string

	credential *syscall.Credential // nil: the caller's own
	stop       syscall.Signal
	guard      *os.Process
	alive      *os.File // its end tells the guard that this process is done; nil for shared homes
}

// NewHome makes a home whose server, at the end of this process at the latest, gets the signal stop, and five
// seconds later SIGKILL. As root the home belongs to the first of users that exists, or else to nobody.
func NewHome(stop syscall.Signal, users ...string) (*Home, error) {
	credential := unprivileged(users)
	home, err := makeHome(tempRoot(credential), stop, credential)
	if err != nil {
		return nil, err
	}
	if err := home.startGuard(nil); err != nil {
		return nil, err
	}
	return home, nil
}

func makeHome(root string, stop syscall.Signal, credential *syscall.Credential) (*Home, error) {
	dir, err := os.MkdirTemp(root, "signet-test-")
	if err != nil {
		return nil, fmt.Errorf("make server home: %w", err)
	}
	home := &Home{Dir: dir, credential: credential, stop: stop}
	if err := home.Own(dir); err != nil {
		return nil, err
	}
	return home, nil
}

// startGuard starts the guard with the arguments of a shared home, or with none.
func (h *Home) startGuard(shared []string) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open null device: %w", err)
	}
	defer func() { _ = null.Close() }()
	stdin := null
	if shared == nil {
		read, write, err := os.Pipe()
		if err != nil {
			return fmt.Errorf("make guard pipe: %w", err)
		}
		defer func() { _ = read.Close() }()
		stdin, h.alive = read, write
	}
	args := append([]string{"sh", "-c", guardScript, "signet-test-guard", h.Dir, strconv.Itoa(int(h.stop))}, shared...)
	// Own session: a Ctrl-C in the terminal ends the tests, not the guard. No shared output: go test would wait
	// for it.
	h.guard, err = os.StartProcess("/bin/sh", args, &os.ProcAttr{
		Dir:   "/",
		Files: []*os.File{stdin, null, null},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("start guard: %w", err)
	}
	return nil
}

// Close kills what still runs in the home and deletes it.
func (h *Home) Close() error {
	if err := h.alive.Close(); err != nil {
		return fmt.Errorf("close guard pipe: %w", err)
	}
	if _, err := h.guard.Wait(); err != nil {
		return fmt.Errorf("wait for guard: %w", err)
	}
	if _, err := os.Stat(h.Dir); err == nil {
		return fmt.Errorf("server home %s is still there", h.Dir)
	}
	return nil
}

// Own gives one file or directory to the user that the server runs as.
func (h *Home) Own(path string) error {
	if h.credential == nil {
		return nil
	}
	if err := os.Lchown(path, int(h.credential.Uid), int(h.credential.Gid)); err != nil {
		return fmt.Errorf("change owner: %w", err)
	}
	return nil
}

// WriteFile writes a file that only the server's user may read.
func (h *Home) WriteFile(name, content string) (string, error) {
	path := filepath.Join(h.Dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	return path, h.Own(path)
}

// CopyTree copies a directory of plain files into the home as name.
func (h *Home) CopyTree(source, name string) error {
	return copyTree(source, filepath.Join(h.Dir, name), h.Own)
}

// unprivileged returns whom a server should run as when the caller is root, else nil.
func unprivileged(users []string) *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range append(users, "nobody") {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(account.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(account.Gid, 10, 32)
		if uidErr == nil && gidErr == nil && uid != 0 {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	return &syscall.Credential{Uid: 65534, Gid: 65534}
}
