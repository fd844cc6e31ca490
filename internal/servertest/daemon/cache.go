package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// CacheDir returns the directory that outlives test runs: locks, and what is slow to make, such as a new
// database cluster. It belongs to the caller alone and may be deleted whenever no test runs.
func CacheDir() (string, error) {
	if base, err := os.UserCacheDir(); err == nil {
		dir := filepath.Join(base, "signet-test")
		if os.MkdirAll(dir, 0o700) == nil {
			return dir, nil
		}
	}
	// No usable home directory: a name that anyone can guess, so it must turn out to be ours.
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("signet-test-%d", os.Getuid()))
	if err := os.Mkdir(dir, 0o700); err != nil && !os.IsExist(err) {
		return "", fmt.Errorf("make cache directory: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", fmt.Errorf("check cache directory: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || info.Mode().Perm() != 0o700 || int(owner.Uid) != os.Getuid() {
		return "", fmt.Errorf("cache directory %s is not a 0700 directory of this user", dir)
	}
	return dir, nil
}

// Once returns CacheDir()/name, made by fill on first use. Several processes may call it at once; fill gets a
// scratch directory, which gets its name only when complete.
func Once(name string, fill func(dir string) error) (string, error) {
	unlock, err := lockCache("once.lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	final := filepath.Join(cache, name)
	if _, err = os.Stat(final); err == nil {
		return final, nil
	}
	scratch, err := os.MkdirTemp(cache, "scratch-")
	if err != nil {
		return "", fmt.Errorf("make cache entry: %w", err)
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	if err := fill(scratch); err != nil {
		return "", fmt.Errorf("fill cache entry %s: %w", name, err)
	}
	if err := os.Rename(scratch, final); err != nil {
		return "", fmt.Errorf("name cache entry: %w", err)
	}
	return final, nil
}

// lockCache takes the exclusive lock of that name; the kernel releases it if the process dies.
func lockCache(name string) (func(), error) {
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	fd, err := flock(filepath.Join(cache, name), syscall.LOCK_EX)
	if err != nil {
		return nil, err
	}
	return func() { _ = syscall.Close(fd) }, nil
}

// flock opens path and locks it. The result is a bare descriptor because locks on shared servers live until the
// process ends, and the finalizer of an os.File would end them sooner.
func flock(path string, how int) (int, error) {
	fd, err := syscall.Open(path, syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return -1, fmt.Errorf("open lock %s: %w", path, err)
	}
	for {
		err = syscall.Flock(fd, how)
		if err == nil {
			return fd, nil
		}
		if err != syscall.EINTR {
			_ = syscall.Close(fd)
			return -1, fmt.Errorf("lock %s: %w", path, err)
		}
	}
}
