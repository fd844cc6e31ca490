//go:build race

package attacks

// raced: the race detector makes everything slower, and some things much more than others.
const raced = true
