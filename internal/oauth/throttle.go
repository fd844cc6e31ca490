package oauth

import (
	"hash/maphash"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/seed-1972b8eb/signet/internal/clients"
)

// repeatWindow is how long after a failure by Basic the same credentials in the body are the same attempt.
const repeatWindow = time.Second

// count notes a failed authentication, unless it is the second half of one attempt: some client libraries (x/oauth2 among
// them) try the body when Basic was refused, and must not use up their budget twice as fast.
func (s *Server) count(ip netip.Addr, p presented) {
	switch p.method {
	case clients.SecretBasic:
		s.repeats.note(p.clientID, ip, p.secret, time.Now())
	case clients.PrivateKeyJWT:
	case clients.SecretPost:
		if s.repeats.take(p.clientID, ip, p.secret, time.Now()) {
			return
		}
	}
	s.cfg.Throttle.Failed(bucket(p.clientID), ip)
}

// throttled is the answer to wrong credentials after too many failures (RFC 6585 §4). Right ones never see it.
func throttled(retryAfter time.Duration) error {
	e := refuse(http.StatusTooManyRequests, CodeInvalidClient, ReasonThrottled,
		"client authentication failed, after too many failures of this client from this network; wait as Retry-After says; "+
			"right credentials are accepted at any time")
	// Rounded up: who waits as told must not be refused for a fraction of a second.
	e.RetryAfter = max((retryAfter + time.Second - 1).Truncate(time.Second), time.Second)
	return e
}

// rateLimited is the answer to a client that asks faster than an operator lets it (RFC 6585 §4).
func rateLimited(wait time.Duration) error {
	e := refuse(http.StatusTooManyRequests, CodeTemporarilyUnavailable, ReasonRate,
		"the client gets tokens faster than it may; keep a token until it expires")
	e.RetryAfter = max(wait, time.Second)
	return e
}

// bucket is the name under which failures are counted. Letter case makes no new bucket, and whatever cannot be a client ID
// shares one, so that spelling an ID in other ways gives no further tries (ATTACKS E11, Q1). The rest of the code compares
// IDs byte for byte.
func bucket(clientID string) string {
	const prefix, random = "client_", 20
	id := strings.ToLower(clientID)
	if len(id) != len(prefix)+random || !strings.HasPrefix(id, prefix) {
		return ""
	}
	for _, c := range []byte(id[len(prefix):]) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return ""
		}
	}
	return id
}

// repeats remembers a few recent failures by a keyed hash of client, address and credentials. Safe for concurrent use.
type repeats struct {
	seed  maphash.Seed
	mu    sync.Mutex
	slots [256]failure // a newer failure in the same slot replaces the older
}

type failure struct {
	sum uint64
	at  time.Time
}

func newRepeats() *repeats { return &repeats{seed: maphash.MakeSeed()} }

func (r *repeats) sum(clientID string, ip netip.Addr, secret string) uint64 {
	return maphash.Comparable(r.seed, struct {
		clientID, secret string
		ip               netip.Addr
	}{clientID, secret, ip})
}

func (r *repeats) note(clientID string, ip netip.Addr, secret string, now time.Time) {
	sum := r.sum(clientID, ip, secret)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slots[sum%uint64(len(r.slots))] = failure{sum: sum, at: now}
}

// take says whether this very failure was noted within repeatWindow, and forgets it: it excuses one repetition.
func (r *repeats) take(clientID string, ip netip.Addr, secret string, now time.Time) bool {
	sum := r.sum(clientID, ip, secret)
	r.mu.Lock()
	defer r.mu.Unlock()
	slot := &r.slots[sum%uint64(len(r.slots))]
	if slot.sum != sum || now.Sub(slot.at) > repeatWindow {
		return false
	}
	*slot = failure{}
	return true
}
