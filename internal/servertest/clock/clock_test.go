package clock

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestOverlayWantsItsPlaces: a package time that reads its clocks in another way is an error, and not a binary whose clock
// stays where it is.
func TestOverlayWantsItsPlaces(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"none":     "package time\n",
		"some":     "sec, nsec, mono := runtimeNow()\nruntimeNano()-startNano\n",
		"one more": "sec, nsec, mono := runtimeNow()\nruntimeNano()-startNano\nruntimeNano()-startNano\nruntimeNano()-startNano\n",
	} {
		from := t.TempDir()
		if err := os.WriteFile(filepath.Join(from, "time.go"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if list, err := overlay(from, t.TempDir()); err == nil || !strings.Contains(err.Error(), "in another way") {
			t.Errorf("%s: %q, %v; want an error", name, list, err)
		}
	}
}

// reader prints, for each byte that it reads, the time and how long ago it began, which it is told in three ways.
const reader = `package main

import (
	"fmt"
	"os"
	"time"
)

func main() {
	began := time.Now()
	for b := make([]byte, 1); ; {
		if n, err := os.Stdin.Read(b); n == 0 || err != nil {
			return
		}
		fmt.Println(time.Now().UnixNano(), int64(time.Since(began)), int64(-time.Until(began)), int64(time.Now().Sub(began)))
	}
}
`

// reading is one line of the program.
type reading struct{ now, since, until, sub int64 }

// TestMove moves the two clocks of a program, each without the other, while it runs.
func TestMove(t *testing.T) {
	t.Parallel()
	c := New(t)
	c.Set(time.Hour)
	read := startReader(t, c)
	near := func(what string, got, want int64) {
		t.Helper()
		if diff := time.Duration(got - want).Abs(); diff > time.Minute { // a busy machine, and all moves are much larger
			t.Errorf("%s is off by %v", what, diff)
		}
	}
	check := func(ahead, elapsed time.Duration) {
		t.Helper()
		r := read()
		near("the wall clock", r.now, time.Now().Add(ahead).UnixNano())
		near("Clock.Now", c.Now().UnixNano(), time.Now().Add(ahead).UnixNano())
		near("Since", r.since, int64(elapsed))
		near("Until", r.until, int64(elapsed))
		near("Sub", r.sub, int64(elapsed))
	}
	check(time.Hour, 0)
	c.Set(-time.Hour)
	check(-time.Hour, 0)
	c.Jump(3 * time.Hour)
	check(2*time.Hour, 0)
	c.StoodStill(time.Hour)
	check(2*time.Hour, -time.Hour)
	c.Pass(5 * time.Hour)
	check(7*time.Hour, 4*time.Hour)
}

// startReader builds and runs the program and returns what makes it read the clocks.
func startReader(t *testing.T, c *Clock) func() reading {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(reader), 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "reader")
	if err := build(dir, program, filepath.Join(dir, "main.go")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = []string{c.Env()}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	lines := bufio.NewReader(stdout)
	return func() reading {
		if _, err := stdin.Write([]byte{'.'}); err != nil {
			t.Fatal(err)
		}
		line, err := lines.ReadString('\n')
		var r reading
		if _, scan := fmt.Sscan(line, &r.now, &r.since, &r.until, &r.sub); err != nil || scan != nil {
			t.Fatalf("read the clocks: %q, %v, %v", line, err, scan)
		}
		return r
	}
}
