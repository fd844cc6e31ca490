package oauth_test

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/usage"
)

// The doubles of the interfaces that package oauth declares, and of the revocation store.

type registry struct {
	mu      sync.Mutex
	clients map[string]*clients.Client
	apis    map[string]*apis.API
	newer   map[string]*clients.Client // what Reread finds where it differs
	down    error                      // every call fails
	reads   int                        // calls of Reread, and of Client for a client that is not there

	rereadDown error  // Reread fails
	lost       string // Client fails for this one
}

func (r *registry) set(c *clients.Client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients[c.ID] = c
}

func (r *registry) Client(_ context.Context, id string) (*clients.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down != nil {
		return nil, r.down
	}
	if id != "" && id == r.lost {
		return nil, errors.New("dial: refused")
	}
	if c, ok := r.clients[id]; ok {
		return c, nil
	}
	r.reads++
	return nil, clients.ErrNotFound
}

func (r *registry) Reread(_ context.Context, id string) (*clients.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads++
	if err := cmp.Or(r.down, r.rereadDown); err != nil {
		return nil, err
	}
	if c, ok := r.newer[id]; ok {
		return c, nil
	}
	if c, ok := r.clients[id]; ok {
		return c, nil
	}
	return nil, clients.ErrNotFound
}

func (r *registry) API(_ context.Context, identifier string) (*apis.API, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a, ok := r.apis[identifier]; ok {
		return a, nil
	}
	if r.down != nil {
		return nil, r.down
	}
	return nil, apis.ErrNotFound
}

type assertions struct {
	mu   sync.Mutex
	used map[string]time.Time
	down error
}

func (a *assertions) Use(_ context.Context, clientID, jti string, expires time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.down != nil {
		return a.down
	}
	key := strconv.Itoa(len(clientID)) + clientID + jti
	if _, ok := a.used[key]; ok {
		return clients.ErrReplayed
	}
	a.used[key] = expires
	return nil
}

type revoked struct {
	revocations.Store // the methods that package oauth never calls
	mu                sync.Mutex
	list              []revocations.Revocation
	events            []audit.Event
	cutOffs           map[string]int64 // client ID -> generation
	keys              map[string]bool  // kids that were revoked
	down              error
	confirmed         int // calls of Confirm
}

func (r *revoked) Confirm(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.confirmed++
	return r.down
}

func (r *revoked) Revoke(_ context.Context, rev revocations.Revocation, e audit.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down != nil {
		return r.down
	}
	r.list, r.events = append(r.list, rev), append(r.events, e)
	return nil
}

func (r *revoked) Check(_ context.Context, t revocations.Token) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down != nil {
		return false, r.down
	}
	for _, rev := range r.list {
		if rev.JTI == t.JTI {
			return true, nil
		}
	}
	return r.keys[t.KID] || t.Generation < r.cutOffs[t.ClientID], nil
}

type counter struct {
	mu   sync.Mutex
	uses []usage.Use
	off  bool // keeps nothing: for benchmarks
}

func (c *counter) Count(u usage.Use) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.off {
		c.uses = append(c.uses, u)
	}
}

type throttle struct {
	mu     sync.Mutex
	failed []string // client IDs
	full   bool
}

func (t *throttle) Limited(string, netip.Addr) (time.Duration, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return 1400 * time.Millisecond, t.full
}

func (t *throttle) Failed(clientID string, _ netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = append(t.failed, clientID)
}

func (t *throttle) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.failed)
}
