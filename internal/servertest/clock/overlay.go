package clock

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
)

//go:embed testdata/moved.go
var movedSource []byte

// edits are the places of package time that read a clock, and what reads it there instead.
var edits = []struct { //nolint:gochecknoglobals // a table
	read, moved string
	times       int
}{
	{"sec, nsec, mono := runtimeNow()", "sec, nsec, mono := movedNow()", 1}, // Now
	{"runtimeNano()-startNano", "movedNano()-startNano", 2},                 // Since, Until
}

// Build builds a signet binary whose clocks can be moved, from the tree at root. It has no race detector.
func Build(root, path string) error { return build(root, path, "./cmd/signet") }

func build(root, path, program string) error {
	dir, err := os.MkdirTemp("", "signet-clock-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	goroot, err := daemon.Output(root, "go", "env", "GOROOT")
	if err != nil {
		return err
	}
	list, err := overlay(filepath.Join(goroot, "src", "time"), dir)
	if err != nil {
		return err
	}
	_, err = daemon.Output(root, "go", "build", "-overlay", list, "-ldflags=-s -w", "-o", path, program)
	return err
}

// overlay writes what replaces files of package time, whose source is in from, to dir, and returns the list of it.
func overlay(from, dir string) (string, error) {
	original := filepath.Join(from, "time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	text := string(source)
	for _, e := range edits {
		if n := strings.Count(text, e.read); n != e.times {
			return "", fmt.Errorf("%s has %q %d times, not %d: this Go reads its clocks in another way", original, e.read, n, e.times)
		}
		text = strings.ReplaceAll(text, e.read, e.moved)
	}
	files := map[string][]byte{"time.go": []byte(text), "moved.go": movedSource}
	replace := map[string]string{}
	for name, content := range files {
		replace[filepath.Join(from, name)] = filepath.Join(dir, name)
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return "", err
		}
	}
	content, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	list := filepath.Join(dir, "overlay.json")
	return list, os.WriteFile(list, content, 0o600)
}
