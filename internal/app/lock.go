package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// ErrLocked means that another process uses the data directory.
var ErrLocked = errors.New("data directory is in use by another signet process")

// dirLock is the exclusive lock on a data directory. The kernel gives it back when the process ends, however it ends, so
// that a crash leaves nothing to clean up. With SQLite it is also what makes the revocation set in this process the only
// one (DESIGN.md §7).
type dirLock struct{ file *os.File }

// lockDir takes the lock, or fails with ErrLocked at once.
func lockDir(dir string) (*dirLock, error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of the data directory: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s", ErrLocked, dir)
		}
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	return &dirLock{file: file}, nil
}

// release gives the lock back. The file stays: removing it would let two processes lock two files of one name. To close it
// would not do: a program that is being started has the file, too, until it runs.
func (l *dirLock) release() error {
	return errors.Join(syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN), l.file.Close())
}
