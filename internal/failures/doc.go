// Package failures holds tests of what happens when something else fails: the database, the disk, the process, the operator,
// the caller. They run the real binary on real databases and hurt both. What each failure means for users is in
// docs/failure-modes.md.
package failures
