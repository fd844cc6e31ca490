// Package clock moves the clocks of one signet process. A static Go program reads them without a library that could stand
// between, so the binary is built from a copy of package time that adds what a file says (go build -overlay). The program
// itself is the same, and so is everything of package time but the three places that read a clock. Timers are not moved:
// they run on the true monotonic clock, as if nobody had touched it.
package clock

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// Variable names the file in the environment of a process. It does not begin as those that signet reads, and refuses when it
// does not know them.
const Variable = "TEST_CLOCK"

// Clock is how far the clocks of the processes are off that are told of it. Safe for concurrent use; what is set holds from
// the next look at the clock.
type Clock struct {
	path            string
	wall, monotonic *atomic.Int64 // nanoseconds, in the file
}

// New makes a clock that is right.
func New(t testing.TB) *Clock {
	t.Helper()
	c := &Clock{path: filepath.Join(t.TempDir(), "clock")}
	file, err := os.OpenFile(c.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = file.Truncate(int64(unsafe.Sizeof([2]atomic.Int64{})))
	}
	if err != nil {
		t.Fatal(err)
	}
	page, err := syscall.Mmap(int(file.Fd()), 0, int(unsafe.Sizeof([2]atomic.Int64{})), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	t.Cleanup(func() { _ = syscall.Munmap(page) })
	offsets := (*[2]atomic.Int64)(unsafe.Pointer(unsafe.SliceData(page))) //nolint:gosec // a page is aligned, and lives as long as the test
	c.wall, c.monotonic = &offsets[0], &offsets[1]
	return c
}

// Set makes the wall clock go ahead of the true one by so much; behind it, if negative.
func (c *Clock) Set(ahead time.Duration) { c.wall.Store(int64(ahead)) }

// Jump sets the wall clock forward from where it is; back, if negative.
func (c *Clock) Jump(by time.Duration) { c.wall.Add(int64(by)) }

// Now is what the processes take for the time.
func (c *Clock) Now() time.Time { return time.Now().Round(0).Add(time.Duration(c.wall.Load())) }

// StoodStill lets the monotonic clock have stood still for so long, as it does while a machine is suspended. Call it while
// the process is stopped, so that the clock never runs backwards.
func (c *Clock) StoodStill(d time.Duration) { c.monotonic.Add(-int64(d)) }

// Pass lets so much time pass by both clocks at once.
func (c *Clock) Pass(d time.Duration) {
	c.wall.Add(int64(d))
	c.monotonic.Add(int64(d))
}

// Env tells a process of the clock.
func (c *Clock) Env() string { return Variable + "=" + c.path }

// In says whether an environment tells of a clock.
func In(env []string) bool {
	for _, entry := range env {
		if strings.HasPrefix(entry, Variable+"=") {
			return true
		}
	}
	return false
}
