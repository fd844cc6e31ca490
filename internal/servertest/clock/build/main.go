// Package main builds the signet binary whose clocks tests can move, before they start.
package main

import (
	"fmt"
	"os"

	"github.com/seed-1972b8eb/signet/internal/servertest/clock"
)

// main builds it from the tree that it runs in, to the path that is its argument.
func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: build PATH")
		os.Exit(2)
	}
	if err := clock.Build(".", os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
