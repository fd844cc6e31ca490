// Package main builds the version before replicas shared revocations, before the tests that run it start.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/seed-1972b8eb/signet/internal/servertest/old"
)

// main builds it from the history of the clone that it runs in, to the path that is its argument. What is there already stays: it
// is always the same version.
func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: build PATH")
		os.Exit(2)
	}
	path, err := filepath.Abs(os.Args[1])
	if err == nil {
		if _, missing := os.Stat(path); missing == nil { //nolint:gosec // the caller names it
			return
		}
		err = old.Build(".", path)
	}
	if errors.Is(err, old.ErrNoHistory) {
		fmt.Fprintln(os.Stderr, err, "- what needs the version before is skipped")
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
