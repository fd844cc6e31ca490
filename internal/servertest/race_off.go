//go:build !race

package servertest

// Race says whether the binary and the tests were built with the race detector, which takes several times the memory.
const Race = false
