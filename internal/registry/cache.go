package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/clients"
)

// Config is what a Cache needs. The zero values of the numbers stand for what their comments say.
type Config struct {
	Source      Source
	MaxClients  int                             // clients kept; 0 means 10,000
	Poll        time.Duration                   // between two reads of the epoch; 0 means 200 ms
	MaxStale    time.Duration                   // how long what is cached counts after the last epoch read; 0 means 60 s
	KeysChanged func(ctx context.Context) error // called by Start and when the signing keys changed; an error is retried at the next poll; may be nil
	Polled      func(sent time.Time, p Poll)    // called after each successful poll, with the moment before it was sent; must not block; may be nil
	Log         *slog.Logger
}

// Cache serves clients and APIs from memory. What it returns is shared: callers do not change it. Safe for concurrent use.
type Cache struct {
	cfg     Config
	clients *otter.Cache[string, *clients.Client]
	apis    atomic.Pointer[map[string]*apis.API]
	read    atomic.Pointer[time.Time] // the moment before the last read of the epoch was sent

	loading sync.Mutex // held over each read of APIs or keys and its use, so that an older read never replaces a newer one

	mu        sync.Mutex // guards what follows, and every insert into clients
	server    int64      // the run of the database's server to which epoch belongs
	epoch     int64      // changes up to this one have been dropped
	drops     int64      // rises whenever something is dropped; a record read before a drop is not inserted after it
	keysStale bool       // KeysChanged has not yet succeeded for a change
}

// New returns an empty Cache. Call Start before the first look-up and Run beside the server.
func New(cfg Config) (*Cache, error) {
	if cfg.MaxClients == 0 {
		cfg.MaxClients = 10_000
	}
	if cfg.Poll == 0 {
		cfg.Poll = 200 * time.Millisecond
	}
	if cfg.MaxStale == 0 {
		cfg.MaxStale = 60 * time.Second
	}
	kept, err := otter.New(&otter.Options[string, *clients.Client]{MaximumSize: cfg.MaxClients})
	if err != nil {
		return nil, fmt.Errorf("make the client cache: %w", err)
	}
	c := &Cache{cfg: cfg, clients: kept}
	c.apis.Store(&map[string]*apis.API{})
	return c, nil
}

// Start reads the epoch and the APIs for the first time, and has the keys read again: a change between their first read and that of
// the epoch would otherwise never be seen, and a key that was revoked in it would go on signing.
func (c *Cache) Start(ctx context.Context) error {
	sent := time.Now()
	poll, err := c.cfg.Source.Poll(ctx, 0)
	if err != nil {
		return fmt.Errorf("read the registry epoch: %w", err)
	}
	if c.cfg.Polled != nil {
		c.cfg.Polled(sent, poll)
	}
	if err := c.loadAPIs(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	c.server, c.epoch = poll.Server, poll.Epoch
	c.keysStale = true
	c.mu.Unlock()
	if err := c.reloadKeys(ctx); err != nil {
		return err
	}
	c.read.Store(&sent)
	return nil
}

// Run polls the epoch until ctx ends. A failed read is logged once per outage and tried again at the next poll.
func (c *Cache) Run(ctx context.Context) {
	tick := time.NewTicker(c.cfg.Poll)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := c.Refresh(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			c.cfg.Log.WarnContext(ctx, "registry epoch cannot be read; what is cached counts for a while",
				slog.String("error", err.Error()), slog.Duration("max_stale", c.cfg.MaxStale))
		}
		if err == nil && failing {
			c.cfg.Log.InfoContext(ctx, "registry epoch is read again")
		}
		failing = err != nil
	}
}

// Refresh reads the epoch once and drops what changed since the last read.
func (c *Cache) Refresh(ctx context.Context) error {
	// A poll that hangs must not hide the outage from the ones after it.
	ctx, cancel := context.WithTimeout(ctx, max(10*c.cfg.Poll, 2*time.Second))
	defer cancel()
	c.mu.Lock()
	server, since := c.server, c.epoch
	c.mu.Unlock()
	sent := time.Now()
	poll, err := c.cfg.Source.Poll(ctx, since)
	if err != nil {
		return fmt.Errorf("read the registry epoch: %w", err)
	}
	if c.cfg.Polled != nil {
		c.cfg.Polled(sent, poll)
	}
	// A server that was started anew may be a standby that lacked the last commits, and counts on from an earlier epoch; one that
	// went backwards is that of a restored database. Nothing cached may stay.
	continues := poll.Server == server && poll.Epoch >= since
	if !continues || poll.Epoch > since {
		if err := c.apply(ctx, poll.Changes, poll.Complete && continues); err != nil {
			return err
		}
		c.mu.Lock()
		c.server, c.epoch = poll.Server, poll.Epoch
		c.mu.Unlock()
	}
	if err := c.reloadKeys(ctx); err != nil {
		return err
	}
	c.read.Store(&sent)
	return nil
}

// apply drops what changed. The epoch moves on only after it has succeeded, so that a failure is tried again.
func (c *Cache) apply(ctx context.Context, changes []Change, complete bool) error {
	apisChanged, keysChanged := !complete, !complete
	c.mu.Lock()
	c.drops++
	if !complete {
		c.clients.InvalidateAll()
	}
	for _, change := range changes {
		switch change.Kind {
		case ClientChanged:
			c.clients.Invalidate(change.ID)
		case APIChanged:
			apisChanged = true
		case KeysChanged:
			keysChanged = true
		}
	}
	c.keysStale = c.keysStale || keysChanged
	c.mu.Unlock()
	if apisChanged {
		return c.loadAPIs(ctx)
	}
	return nil
}

// reloadKeys returns when the change that it was called for is in use, whoever has loaded it.
func (c *Cache) reloadKeys(ctx context.Context) error {
	c.loading.Lock()
	defer c.loading.Unlock()
	c.mu.Lock()
	stale := c.keysStale
	c.keysStale = false
	c.mu.Unlock()
	if !stale || c.cfg.KeysChanged == nil {
		return nil
	}
	if err := c.cfg.KeysChanged(ctx); err != nil {
		c.mu.Lock()
		c.keysStale = true
		c.mu.Unlock()
		return fmt.Errorf("reload signing keys: %w", err)
	}
	return nil
}

func (c *Cache) loadAPIs(ctx context.Context) error {
	c.loading.Lock()
	defer c.loading.Unlock()
	list, err := c.cfg.Source.APIs(ctx)
	if err != nil {
		return fmt.Errorf("read APIs: %w", err)
	}
	byIdentifier := make(map[string]*apis.API, len(list))
	for _, a := range list {
		byIdentifier[a.Identifier] = a
	}
	c.apis.Store(&byIdentifier)
	return nil
}

// Committed drops what a transaction of this process has just changed, so that the process never serves what it replaced.
func (c *Cache) Committed(ctx context.Context, commit Commit) {
	if err := c.apply(ctx, commit.Changes, true); err != nil {
		c.cfg.Log.WarnContext(ctx, "registry change is seen at the next poll", slog.String("error", err.Error()))
	}
	if err := c.reloadKeys(ctx); err != nil {
		c.cfg.Log.WarnContext(ctx, "key change is seen at the next poll", slog.String("error", err.Error()))
	}
}

// Client returns a client, from memory where it can. clients.ErrNotFound, ErrUnavailable.
func (c *Cache) Client(ctx context.Context, id string) (*clients.Client, error) {
	if c.Stale() > c.cfg.MaxStale {
		return nil, fmt.Errorf("%w: epoch last read %s ago", ErrUnavailable, c.Stale().Round(time.Second))
	}
	if client, ok := c.clients.GetIfPresent(id); ok {
		return client, nil
	}
	return c.Reread(ctx, id)
}

// Reread reads a client from the database and keeps it. clients.ErrNotFound, ErrUnavailable.
func (c *Cache) Reread(ctx context.Context, id string) (*clients.Client, error) {
	c.mu.Lock()
	drops := c.drops
	c.mu.Unlock()
	client, err := c.cfg.Source.Client(ctx, id)
	if errors.Is(err, clients.ErrNotFound) {
		c.clients.Invalidate(id)
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w: read client: %w", ErrUnavailable, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// A change that was dropped while this read was under way may not be in it: serve it once, keep it not.
	if c.drops == drops {
		c.clients.Set(id, client)
	}
	return client, nil
}

// API returns an API from memory. One that is not there may have been made on another replica a moment ago, so the epoch is
// read once more before the answer is no. apis.ErrNotFound, ErrUnavailable.
func (c *Cache) API(ctx context.Context, identifier string) (*apis.API, error) {
	if c.Stale() > c.cfg.MaxStale {
		return nil, fmt.Errorf("%w: epoch last read %s ago", ErrUnavailable, c.Stale().Round(time.Second))
	}
	if a, ok := (*c.apis.Load())[identifier]; ok {
		return a, nil
	}
	if err := c.Refresh(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if a, ok := (*c.apis.Load())[identifier]; ok {
		return a, nil
	}
	return nil, apis.ErrNotFound
}

// Stale is how long ago the epoch was last read: the longer of what the two clocks say. The monotonic one stands still while
// the machine sleeps, the other one can be set back.
func (c *Cache) Stale() time.Duration {
	read := c.read.Load()
	if read == nil {
		return math.MaxInt64
	}
	now := time.Now()
	return max(now.Sub(*read), now.Round(0).Sub(read.Round(0)))
}

// Size returns how many clients are kept, and how many may be.
func (c *Cache) Size() (int, int) {
	return c.clients.EstimatedSize(), c.cfg.MaxClients
}
