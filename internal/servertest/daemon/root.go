package daemon

import (
	"os"
	"path/filepath"
	"syscall"
)

// tempRoot is the temporary directory, or /tmp where another user could not get into the former.
func tempRoot(credential *syscall.Credential) string {
	root, err := filepath.EvalSymlinks(os.TempDir()) // the guard compares it with working directories
	if err != nil {
		root = os.TempDir()
	}
	if credential == nil {
		return root
	}
	for dir := root; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&0o001 == 0 {
			return "/tmp"
		}
	}
	return root
}

// memoryRoot is where shared homes go, whose data is worth nothing: a file system in memory if there is a roomy
// one, because a new PostgreSQL database is 300 files, ten times slower to create on some disks. TMPDIR goes first.
func memoryRoot(credential *syscall.Credential) string {
	const memory, enough = "/dev/shm", 2 << 30
	var room syscall.Statfs_t
	if os.Getenv("TMPDIR") != "" || syscall.Statfs(memory, &room) != nil {
		return tempRoot(credential)
	}
	if int64(room.Bavail)*int64(room.Bsize) < enough { //nolint:gosec,unconvert // types differ between systems
		return tempRoot(credential)
	}
	return memory
}
