package limits

import (
	"hash/maphash"
	"time"
)

// Rate limits how many tokens each client gets. There is none unless an operator asks for it: a nil *Rate allows
// everything. Safe for concurrent use.
//
// Count proven clients only: by a claimed ID, anyone could use up what another may have.
type Rate struct {
	seed    maphash.Seed
	buckets *buckets[uint64]
}

// NewRate makes a Rate, or nil when c.PerSecond is 0.
func NewRate(c Config) *Rate {
	if c.PerSecond <= 0 {
		return nil
	}
	c = c.withDefaults()
	return &Rate{seed: maphash.MakeSeed(), buckets: newBuckets[uint64](c.Burst, c.PerSecond, c.Capacity)}
}

// Allow counts one token for the client if it may have one, and says how long to wait otherwise.
func (r *Rate) Allow(clientID string) (time.Duration, bool) {
	if r == nil {
		return 0, true
	}
	wait := r.buckets.take(maphash.String(r.seed, clientID))
	return wait, wait == 0
}

// Stats says how many clients are remembered, and how many can be.
func (r *Rate) Stats() (int, int) {
	if r == nil {
		return 0, 0
	}
	return r.buckets.stats()
}
