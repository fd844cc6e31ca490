// Package attacks attacks the real binary in the ways that other authorization servers and their libraries fell to: one
// named test for each weakness (docs/attacks.md lists them). What the standards ask for is tested in package conformance.
package attacks
