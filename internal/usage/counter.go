package usage

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Every is the time between two flushes of one process.
const Every = 10 * time.Second

// maxPending bounds what is kept in memory while the database is away; beyond it new keys are not counted.
const maxPending = 200_000

// Counter counts uses in memory and writes them in batches. Safe for concurrent use.
type Counter struct {
	store Store
	log   *slog.Logger

	mu      sync.Mutex
	pending Batch
	day     day
}

// day is the text of the UTC day of the last use: it is asked for with every token, and changes once in 86,400 seconds.
type day struct {
	number int64 // days since 1970
	text   string
}

// NewCounter returns an empty Counter.
func NewCounter(store Store, log *slog.Logger) *Counter {
	return &Counter{store: store, log: log, pending: emptyBatch()}
}

func emptyBatch() Batch {
	return Batch{Tokens: map[Key]int64{}, Clients: map[string]time.Time{}, Secrets: map[string]time.Time{}}
}

// Count notes one issued token.
func (c *Counter) Count(u Use) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending.add(Key{ClientID: u.ClientID, API: u.API, Day: c.day.of(u.At)}, 1)
	latest(c.pending.Clients, u.ClientID, u.At)
	if u.SecretID != "" {
		latest(c.pending.Secrets, u.SecretID, u.At)
	}
}

// of returns the day of a moment, as in Key.
func (d *day) of(at time.Time) string {
	number := at.Unix() / int64(24*time.Hour/time.Second)
	if d.text == "" || number != d.number {
		*d = day{number: number, text: at.UTC().Format(time.DateOnly)}
	}
	return d.text
}

func (b *Batch) add(k Key, n int64) {
	if _, known := b.Tokens[k]; known || len(b.Tokens) < maxPending {
		b.Tokens[k] += n
	}
}

func latest(times map[string]time.Time, id string, at time.Time) {
	if before, known := times[id]; known && !at.After(before) || !known && len(times) >= maxPending {
		return
	}
	times[id] = at
}

// Run flushes every Every until ctx ends, and once more then.
func (c *Counter) Run(ctx context.Context) {
	tick := time.NewTicker(Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			c.flushLogged(last)
			return
		case <-tick.C:
			c.flushLogged(ctx)
		}
	}
}

func (c *Counter) flushLogged(ctx context.Context) {
	if err := c.Flush(ctx); err != nil {
		c.log.WarnContext(ctx, "usage is kept for the next flush", slog.String("error", err.Error()))
	}
}

// Flush writes what was counted since the last flush. What could not be written is counted again at the next one.
func (c *Counter) Flush(ctx context.Context) error {
	c.mu.Lock()
	batch := c.pending
	c.pending = emptyBatch()
	c.mu.Unlock()
	if len(batch.Tokens) == 0 {
		return nil
	}
	if err := c.store.AddUsage(ctx, batch); err != nil {
		c.restore(batch)
		return fmt.Errorf("flush usage: %w", err)
	}
	return nil
}

func (c *Counter) restore(batch Batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, n := range batch.Tokens {
		c.pending.add(k, n)
	}
	for id, at := range batch.Clients {
		latest(c.pending.Clients, id, at)
	}
	for id, at := range batch.Secrets {
		latest(c.pending.Secrets, id, at)
	}
}
