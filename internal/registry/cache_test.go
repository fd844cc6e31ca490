package registry_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/registry"
)

// database is a Source whose answers, failures and delays a test decides.
type database struct {
	mu      sync.Mutex
	clients map[string]int64 // client ID -> generation
	apis    map[string]bool
	server  int64
	log     []registry.Change // change n stands at epoch n+1
	kept    int64             // changes up to this epoch are no longer kept
	down    bool
	reads   int
	polls   int
	during  func() // called inside a client read, after the record was read
	listing func() // called inside a read of the APIs, after they were read
}

func newDatabase() *database {
	return &database{clients: map[string]int64{}, apis: map[string]bool{}}
}

func (d *database) Client(_ context.Context, id string) (*clients.Client, error) {
	d.mu.Lock()
	d.reads++
	generation, known := d.clients[id]
	down, during := d.down, d.during
	d.mu.Unlock()
	if down {
		return nil, errors.New("connection refused")
	}
	if during != nil {
		during()
	}
	if !known {
		return nil, clients.ErrNotFound
	}
	return &clients.Client{ID: id, Generation: generation}, nil
}

func (d *database) APIs(context.Context) ([]*apis.API, error) {
	d.mu.Lock()
	if d.down {
		d.mu.Unlock()
		return nil, errors.New("connection refused")
	}
	var list []*apis.API
	for identifier := range d.apis {
		list = append(list, &apis.API{Identifier: identifier})
	}
	listing := d.listing
	d.listing = nil
	d.mu.Unlock()
	if listing != nil {
		listing()
	}
	return list, nil
}

func (d *database) Poll(_ context.Context, since int64) (registry.Poll, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.polls++
	if d.down {
		return registry.Poll{}, errors.New("connection refused")
	}
	epoch := int64(len(d.log))
	if since < d.kept || since > epoch {
		return registry.Poll{Server: d.server, Epoch: epoch}, nil
	}
	return registry.Poll{Server: d.server, Epoch: epoch, Changes: append([]registry.Change(nil), d.log[since:]...), Complete: true}, nil
}

func (d *database) set(id string, generation int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clients[id] = generation
	d.log = append(d.log, registry.Change{Kind: registry.ClientChanged, ID: id})
}

func (d *database) note(kind registry.Kind, id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if kind == registry.APIChanged {
		d.apis[id] = true
	}
	d.log = append(d.log, registry.Change{Kind: kind, ID: id})
}

func (d *database) outage(down bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = down
}

func (d *database) readCount() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.reads
}

func started(t *testing.T, d *database, keysChanged func(context.Context) error) *registry.Cache {
	t.Helper()
	c, err := registry.New(registry.Config{Source: d, KeysChanged: keysChanged, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func generation(t *testing.T, c *registry.Cache, id string) int64 {
	t.Helper()
	client, err := c.Client(t.Context(), id)
	if err != nil {
		t.Fatalf("client %s: %v", id, err)
	}
	return client.Generation
}

func TestCacheReadsOnceAndDropsWhatChanged(t *testing.T) {
	t.Parallel()
	d := newDatabase()
	d.set("client_a", 1)
	d.set("client_b", 1)
	c := started(t, d, nil)
	for range 5 {
		generation(t, c, "client_a")
		generation(t, c, "client_b")
	}
	if d.readCount() != 2 {
		t.Errorf("%d reads of two clients, want 2", d.readCount())
	}
	d.set("client_a", 2)
	if got := generation(t, c, "client_a"); got != 1 {
		t.Errorf("before the poll the generation is %d, want the cached 1", got)
	}
	if err := c.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := generation(t, c, "client_a"); got != 2 {
		t.Errorf("after the poll the generation is %d, want 2", got)
	}
	generation(t, c, "client_b")
	if d.readCount() != 3 {
		t.Errorf("%d reads, want 3: the client that did not change stays cached", d.readCount())
	}
}

func TestCacheLooksAgainForAnAPIThatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	d := newDatabase()
	c := started(t, d, nil)
	if _, err := c.API(t.Context(), "urn:new"); !errors.Is(err, apis.ErrNotFound) {
		t.Errorf("before it is made: %v", err)
	}
	d.note(registry.APIChanged, "urn:new")
	if _, err := c.API(t.Context(), "urn:new"); err != nil {
		t.Errorf("made elsewhere, before the poll: %v", err)
	}
	d.outage(true)
	if _, err := c.API(t.Context(), "urn:new"); err != nil {
		t.Errorf("known, in an outage: %v", err)
	}
	if _, err := c.API(t.Context(), "urn:other"); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("unknown, in an outage: %v, want ErrUnavailable", err)
	}
}

func TestCacheDoesNotKeepARecordThatChangedWhileItWasRead(t *testing.T) {
	t.Parallel()
	d := newDatabase()
	d.set("client_a", 1)
	c := started(t, d, nil)
	d.during = func() {
		d.mu.Lock()
		d.during = nil
		d.mu.Unlock()
		d.set("client_a", 2)
		if err := c.Refresh(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if got := generation(t, c, "client_a"); got != 1 {
		t.Fatalf("the read that was under way gives %d, want 1", got)
	}
	if got := generation(t, c, "client_a"); got != 2 {
		t.Errorf("the next look-up gives generation %d, want 2: the overtaken record was kept", got)
	}
}

func TestCacheForgetsEverythingWhenChangesAreNoLongerKept(t *testing.T) {
	t.Parallel()
	for name, move := range map[string]func(*database){
		"swept":                             func(d *database) { d.log = append(d.log, registry.Change{}); d.kept = int64(len(d.log)) },
		"backwards":                         func(d *database) { d.log = nil },
		"another server, at the same epoch": func(d *database) { d.server++ },
		"another server, further on": func(d *database) {
			d.server++
			d.log = append(d.log, registry.Change{Kind: registry.ClientChanged, ID: "client_b"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDatabase()
			d.set("client_a", 1)
			c := started(t, d, nil)
			generation(t, c, "client_a")
			d.mu.Lock()
			d.clients["client_a"] = 7 // changed without a note that could be read
			d.apis["urn:new"] = true
			move(d)
			d.mu.Unlock()
			if err := c.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := generation(t, c, "client_a"); got != 7 {
				t.Errorf("generation %d, want 7", got)
			}
			if _, err := c.API(t.Context(), "urn:new"); err != nil {
				t.Errorf("API after a full reload: %v", err)
			}
		})
	}
}

// TestStartTellsWhatItPolled: a check right after the start must know the database's clock.
func TestStartTellsWhatItPolled(t *testing.T) {
	t.Parallel()
	d, told := newDatabase(), 0
	c, err := registry.New(registry.Config{Source: d, Polled: func(time.Time, registry.Poll) { told++ }})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context()); err != nil || told != 1 {
		t.Errorf("Start = %v, told %d times", err, told)
	}
}

func TestCacheInAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDatabase()
		d.set("client_a", 1)
		d.note(registry.APIChanged, "urn:api")
		c := started(t, d, nil)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go c.Run(ctx)
		generation(t, c, "client_a")
		d.outage(true)

		time.Sleep(59 * time.Second)
		generation(t, c, "client_a")
		if _, err := c.API(t.Context(), "urn:api"); err != nil {
			t.Errorf("API within 60 s: %v", err)
		}
		if _, err := c.Client(t.Context(), "client_unknown"); !errors.Is(err, registry.ErrUnavailable) {
			t.Errorf("uncached client in the outage: %v, want ErrUnavailable", err)
		}

		time.Sleep(2 * time.Second)
		if _, err := c.Client(t.Context(), "client_a"); !errors.Is(err, registry.ErrUnavailable) {
			t.Errorf("cached client after 61 s: %v, want ErrUnavailable", err)
		}
		if _, err := c.API(t.Context(), "urn:api"); !errors.Is(err, registry.ErrUnavailable) {
			t.Errorf("API after 61 s: %v, want ErrUnavailable", err)
		}

		d.set("client_a", 2)
		d.outage(false)
		time.Sleep(300 * time.Millisecond)
		if got := generation(t, c, "client_a"); got != 2 {
			t.Errorf("after the outage generation %d, want 2", got)
		}
		cancel()
		synctest.Wait()
	})
}

// TestStartReadsTheKeysAgain is about a key that was revoked after the process had read the keys, and before Start read the epoch:
// no later poll tells of it.
func TestStartReadsTheKeysAgain(t *testing.T) {
	t.Parallel()
	d := newDatabase()
	d.note(registry.KeysChanged, "")
	calls := 0
	keysChanged := func(context.Context) error {
		calls++
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.polls == 0 {
			t.Error("the keys were read before the epoch")
		}
		return nil
	}
	c := started(t, d, keysChanged)
	if calls != 1 {
		t.Errorf("Start had the keys read %d times, want once", calls)
	}
	if err := c.Refresh(t.Context()); err != nil || calls != 1 {
		t.Errorf("the next poll: %d reads of the keys, want none more (%v)", calls, err)
	}
	failure := errors.New("no connection")
	failing, err := registry.New(registry.Config{
		Source: d, KeysChanged: func(context.Context) error { return failure }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := failing.Start(t.Context()); !errors.Is(err, failure) {
		t.Errorf("Start = %v, want what the read of the keys failed with", err)
	}
}

func TestCacheRetriesTheKeyReload(t *testing.T) {
	t.Parallel()
	d := newDatabase()
	calls, fail := 0, false
	c := started(t, d, func(context.Context) error {
		calls++
		if fail {
			return errors.New("no connection")
		}
		return nil
	})
	calls, fail = 0, true // not counting that of Start
	d.note(registry.KeysChanged, "")
	if err := c.Refresh(t.Context()); err == nil {
		t.Error("a failed key reload is not reported")
	}
	fail = false
	if err := c.Refresh(t.Context()); err != nil || calls != 2 {
		t.Errorf("second refresh: %v after %d calls, want success after 2", err, calls)
	}
	if err := c.Refresh(t.Context()); err != nil || calls != 2 {
		t.Errorf("third refresh called again: %d calls (%v)", calls, err)
	}
}

func TestCommittedDropsAtOnce(t *testing.T) {
	t.Parallel()
	d := newDatabase()
	d.set("client_a", 1)
	c := started(t, d, nil)
	generation(t, c, "client_a")
	d.set("client_a", 2)
	c.Committed(t.Context(), registry.Commit{Changes: []registry.Change{{Kind: registry.ClientChanged, ID: "client_a"}}})
	if got := generation(t, c, "client_a"); got != 2 {
		t.Errorf("generation %d right after the commit, want 2", got)
	}
}

// TestCommittedDoesNotUndoAPoll is about a change of another replica that a poll sees while this process, after a change of
// its own, still reads the APIs as they were before: the older list must not replace the newer one, whose epoch is the last.
func TestCommittedDoesNotUndoAPoll(t *testing.T) {
	t.Parallel()
	d := newDatabase()
	c := started(t, d, nil)
	polled := make(chan struct{})
	d.note(registry.APIChanged, "urn:own")
	d.listing = func() {
		d.note(registry.APIChanged, "urn:other")
		go func() {
			defer close(polled)
			if err := c.Refresh(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		select {
		case <-polled:
		case <-time.After(50 * time.Millisecond): // the poll waits for this read
		}
	}
	c.Committed(t.Context(), registry.Commit{Changes: []registry.Change{{Kind: registry.APIChanged, ID: "urn:own"}}})
	<-polled
	for _, identifier := range []string{"urn:own", "urn:other"} {
		if _, err := c.API(t.Context(), identifier); err != nil {
			t.Errorf("%s: %v", identifier, err)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	d := newDatabase()
	c, err := registry.New(registry.Config{Source: d, MaxClients: 100, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 5000 {
		id := fmt.Sprintf("client_%d", i)
		d.set(id, 1)
		if _, err := c.Client(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	// Eviction runs beside the inserts, so the bound holds a moment later.
	for deadline := time.Now().Add(5 * time.Second); ; runtime.Gosched() {
		entries, capacity := c.Size()
		if entries <= capacity && capacity == 100 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d entries of %d", entries, capacity)
		}
	}
}
