package limits

import (
	"hash/maphash"
	"net/netip"
	"time"
)

// The defaults (DESIGN.md §8). A bucket takes about 150 bytes, so a full set about 10 MB.
const (
	DefaultBurst     = 100
	DefaultPerSecond = 1.0
	DefaultCapacity  = 1 << 16
)

// Config says how much is allowed. The zero value means the defaults.
type Config struct {
	Burst     int     // events at once
	PerSecond float64 // events a second after that
	Capacity  int     // owners that are remembered at most
}

func (c Config) withDefaults() Config {
	if c.Burst <= 0 {
		c.Burst = DefaultBurst
	}
	if c.PerSecond <= 0 {
		c.PerSecond = DefaultPerSecond
	}
	if c.Capacity <= 0 {
		c.Capacity = DefaultCapacity
	}
	return c
}

// Failures counts failed authentications per claimed client and network, /32 of IPv4 and /64 of IPv6. By both, so that
// nobody can use the limit to lock out a client from elsewhere, and one bad client behind a proxy or NAT leaves the others
// in peace. Safe for concurrent use.
type Failures struct {
	seed    maphash.Seed
	buckets *buckets[caller]
}

// caller is who failed. The client ID is hashed with a secret seed: what an attacker sends takes no more room than that,
// and nobody can look for two IDs that meet.
type caller struct {
	client  uint64
	network [16]byte
}

// NewFailures makes an empty Failures.
func NewFailures(c Config) *Failures {
	c = c.withDefaults()
	return &Failures{seed: maphash.MakeSeed(), buckets: newBuckets[caller](c.Burst, c.PerSecond, c.Capacity)}
}

// Limited says whether the caller has failed too often, and if so, how long until it may fail once more.
func (f *Failures) Limited(clientID string, ip netip.Addr) (time.Duration, bool) {
	wait := f.buckets.wait(f.caller(clientID, ip))
	return wait, wait > 0
}

// Failed counts a failure.
func (f *Failures) Failed(clientID string, ip netip.Addr) { f.buckets.add(f.caller(clientID, ip)) }

// Stats says how many callers are remembered, and how many can be.
func (f *Failures) Stats() (int, int) { return f.buckets.stats() }

func (f *Failures) caller(clientID string, ip netip.Addr) caller {
	c := caller{client: maphash.String(f.seed, clientID)}
	if !ip.IsValid() { // a Unix socket is one network
		return c
	}
	c.network = ip.As16() // IPv4 in its mapped form
	if ip.Is6() && !ip.Is4In6() {
		clear(c.network[8:])
	}
	return c
}
