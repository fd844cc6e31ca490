package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// linger is how many seconds a shared server outlives its last user: go test starts packages one after another.
const linger = "3"

// Shared describes a server that all test processes of this user and machine have in common.
type Shared struct {
	// Key tells servers apart, such as "postgres-15.4".
	Key string
	// Stop and Users are as for NewHome.
	Stop  syscall.Signal
	Users []string
	// Start starts the server in the home, waits until it is ready, and returns its URL.
	Start func(home *Home) (string, error)
	// Alive checks a server that another process has started.
	Alive func(url string) error
}

// Member is a process's share in a shared server; keep it as long as the server is needed.
type Member struct {
	// URL of the server.
	URL string

	home *Home // keeps the guard's pipe open where there is one
}

// Join starts the server unless another process has. It then runs at least until this process ends: processes are
// counted by shared locks on one file, which no death can keep. Call it once per process and server.
func (s Shared) Join() (*Member, error) {
	if _, err := exec.LookPath("flock"); err != nil {
		return s.joinAlone() // the guard cannot count
	}
	host, err := os.Hostname() // containers may share the cache directory, but no server
	if err != nil {
		return nil, fmt.Errorf("read host name: %w", err)
	}
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	prefix := s.Key + "-" + host
	unlock, err := lockCache(prefix + ".lock")
	if err != nil {
		return nil, err
	}
	defer unlock()
	users := filepath.Join(cache, prefix+".users")
	if _, err := flock(users, syscall.LOCK_SH); err != nil { // held until the process ends
		return nil, err
	}
	state := filepath.Join(cache, prefix+".state")
	if url, err := s.running(state); url != "" || err != nil {
		return &Member{URL: url}, err
	}
	credential := unprivileged(s.Users)
	home, err := makeHome(memoryRoot(credential), s.Stop, credential)
	if err != nil {
		return nil, err
	}
	if err := home.startGuard([]string{filepath.Join(cache, prefix+".lock"), users, state, linger}); err != nil {
		return nil, err
	}
	url, err := s.Start(home)
	if err != nil {
		return nil, err
	}
	return &Member{URL: url, home: home}, os.WriteFile(state, []byte(home.Dir+"\n"+url+"\n"), 0o600)
}

// joinAlone starts a server for this process only.
func (s Shared) joinAlone() (*Member, error) {
	home, err := NewHome(s.Stop, s.Users...)
	if err != nil {
		return nil, err
	}
	url, err := s.Start(home)
	return &Member{URL: url, home: home}, err
}

// running returns the URL of the server that the state file names, or "" if there is none alive. A dead one is
// left to its guard.
func (s Shared) running(statePath string) (string, error) {
	content, err := os.ReadFile(statePath)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read state of shared server: %w", err)
	}
	_, url, _ := strings.Cut(strings.TrimSpace(string(content)), "\n")
	if url != "" && s.Alive(url) == nil {
		return url, nil
	}
	return "", nil
}
