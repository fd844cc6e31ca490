package registry_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/registry"
)

// meddled is a database in which a test does something between two reads.
type meddled struct {
	*database
	afterAPIs func() error // runs after the APIs were read; its error replaces them
	afterPoll func()
	careless  bool // calls its changes complete when the epoch went backwards
}

func (m *meddled) APIs(ctx context.Context) ([]*apis.API, error) {
	list, err := m.database.APIs(ctx)
	if m.afterAPIs != nil && err == nil {
		if err = m.afterAPIs(); err != nil {
			return nil, err
		}
	}
	return list, err
}

func (m *meddled) Poll(ctx context.Context, since int64) (registry.Poll, error) {
	poll, err := m.database.Poll(ctx, since)
	if m.afterPoll != nil {
		m.afterPoll()
	}
	poll.Complete = poll.Complete || m.careless
	return poll, err
}

func (m *meddled) started(t *testing.T) *registry.Cache {
	t.Helper()
	c, err := registry.New(registry.Config{Source: m, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// has looks an API up in an outage, so that there is no second look.
func (m *meddled) has(t *testing.T, c *registry.Cache, identifier string) {
	t.Helper()
	m.outage(true)
	defer m.outage(false)
	if _, err := c.API(t.Context(), identifier); err != nil {
		t.Errorf("%s: %v", identifier, err)
	}
}

// TestCacheRetriesTheAPIReload: a change counts as seen only once it has been taken over.
func TestCacheRetriesTheAPIReload(t *testing.T) {
	t.Parallel()
	m := &meddled{database: newDatabase()}
	c := m.started(t)
	m.note(registry.APIChanged, "urn:new")
	m.afterAPIs = func() error { return errors.New("no connection") }
	if err := c.Refresh(t.Context()); err == nil {
		t.Error("a failed reload is not reported")
	}
	m.afterAPIs = nil
	if err := c.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.has(t, c, "urn:new")
}

// TestCacheStartsFromTheEpochBeforeItsAPIs: what changes between the two first reads must be read again.
func TestCacheStartsFromTheEpochBeforeItsAPIs(t *testing.T) {
	t.Parallel()
	m := &meddled{database: newDatabase()}
	m.afterAPIs = func() error { m.note(registry.APIChanged, "urn:new"); return nil }
	c := m.started(t)
	m.afterAPIs = nil
	if err := c.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.has(t, c, "urn:new")
}

// TestCacheDistrustsAnEpochThatWentBackwards, whatever its source says of it: that is another database.
func TestCacheDistrustsAnEpochThatWentBackwards(t *testing.T) {
	t.Parallel()
	m := &meddled{database: newDatabase(), careless: true}
	m.set("client_a", 1)
	c := m.started(t)
	generation(t, c, "client_a")
	m.mu.Lock()
	m.clients["client_a"], m.log = 7, nil
	m.mu.Unlock()
	if err := c.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := generation(t, c, "client_a"); got != 7 {
		t.Errorf("generation %d, want 7", got)
	}
}

// TestCacheForgetsWhatIsGone: a client that a reread does not find is not served from memory any more.
func TestCacheForgetsWhatIsGone(t *testing.T) {
	t.Parallel()
	d := newDatabase()
	d.set("client_a", 1)
	c := started(t, d, nil)
	generation(t, c, "client_a")
	d.mu.Lock()
	delete(d.clients, "client_a")
	d.mu.Unlock()
	if _, err := c.Reread(t.Context(), "client_a"); !errors.Is(err, clients.ErrNotFound) {
		t.Errorf("Reread = %v, want ErrNotFound", err)
	}
	if _, err := c.Client(t.Context(), "client_a"); !errors.Is(err, clients.ErrNotFound) {
		t.Errorf("Client = %v, want ErrNotFound", err)
	}
}

// TestStaleCountsFromTheQuestion: an answer is as old as its question, however long it was under way.
func TestStaleCountsFromTheQuestion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &meddled{database: newDatabase(), afterPoll: func() { time.Sleep(time.Second) }}
		c := m.started(t)
		if stale := c.Stale(); stale != time.Second {
			t.Errorf("stale for %v after the start, want 1s", stale)
		}
		if err := c.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if stale := c.Stale(); stale != time.Second {
			t.Errorf("stale for %v after a poll, want 1s", stale)
		}
	})
}
