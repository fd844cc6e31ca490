// Package main builds the signet binaries that tests run beside the one of this tree, before the tests start.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/seed-1972b8eb/signet/internal/servertest/clock"
	"github.com/seed-1972b8eb/signet/internal/servertest/old"
)

// main builds one of them, from the clone that it runs in.
func main() {
	if len(os.Args) != 3 {
		fail(errors.New("usage: build clock|old PATH"))
	}
	path, err := filepath.Abs(os.Args[2])
	if err != nil {
		fail(err)
	}
	switch os.Args[1] {
	case "clock":
		err = clock.Build(".", path)
	case "old":
		err = old.BuildOnce(".", path)
	default:
		err = fmt.Errorf("%q is neither clock nor old", os.Args[1])
	}
	if errors.Is(err, old.ErrNoHistory) {
		fmt.Fprintln(os.Stderr, err) // the test that needs it says so, too, and fails in CI
		return
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
