// Package conformance holds the server to the standards that it implements: one sub-test for each row of the checklist in
// docs/conformance.md, over HTTP against the real binary. The package has no code but its tests.
package conformance
