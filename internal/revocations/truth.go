package revocations

import "context"

// Truth is a Store that is durable, and that can name everything in it: what Memory is filled from when the process starts.
type Truth interface {
	Store
	// Live returns every revocation and cut-off that ended less than Retention ago or has not ended, in one consistent read.
	Live(ctx context.Context) ([]Revocation, []CutOff, error)
}
