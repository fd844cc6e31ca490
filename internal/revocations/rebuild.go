package revocations

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

const (
	rebuildTimeout = time.Minute     // of a whole rebuild: a million entries take some seconds
	chunkTimeout   = 2 * time.Second // of one step in Redis
	purgeTimeout   = 10 * time.Second
)

// rebuild fills a set of the next generation, unless another process is at it or was faster. Any error ends that generation
// for ever: its marker stays pending, and nobody believes it.
func (r *Replicated) rebuild(ctx context.Context, id Identity, generation int64) error {
	ctx, cancel := context.WithTimeout(ctx, rebuildTimeout)
	defer cancel()
	began := time.Now()
	var entries int
	var published int64
	ran, err := r.cfg.Ledger.Exclusive(ctx, "revocations.rebuild", func(ctx context.Context) error {
		var err error
		if published, err = r.cfg.Ledger.Publish(ctx, id, generation); err != nil || published == 0 {
			return err
		}
		r.tries.published()
		entries, err = r.fill(ctx, id, published)
		return err
	})
	if err != nil {
		return fmt.Errorf("rebuild after generation %d: %w", generation, err)
	}
	if !ran || published == 0 {
		return nil
	}
	r.count.Rebuilds.Add(1)
	r.cfg.Log.InfoContext(ctx, "the revocations in Redis were rebuilt", slog.Int64("generation", published),
		slog.Int("entries", entries), slog.Duration("took", time.Since(began)))
	purge, cancel := context.WithTimeout(ctx, purgeTimeout)
	defer cancel()
	if err := r.cfg.Set.Purge(purge, id); err != nil {
		r.cfg.Log.WarnContext(ctx, "sets that nobody reads stay in Redis until the next rebuild", slog.String("error", err.Error()))
	}
	return nil
}

// fill puts the pending marker there, only then reads everything, writes it, and completes the marker that must still be
// there: whatever was lost between, the marker went with it. Revocations that are committed meanwhile are written by those
// who acknowledge them: since the publication they know where.
func (r *Replicated) fill(ctx context.Context, id Identity, generation int64) (int, error) {
	if err := bounded(ctx, func(ctx context.Context) error { return r.cfg.Set.Begin(ctx, id, generation) }); err != nil {
		return 0, err
	}
	entries := 0
	err := r.cfg.Ledger.Live(ctx, func(revoked []Revocation, cutOffs []CutOff) error {
		entries += len(revoked) + len(cutOffs)
		return bounded(ctx, func(ctx context.Context) error { return r.cfg.Set.Add(ctx, id, revoked, cutOffs) })
	})
	if err != nil {
		return 0, err
	}
	if err := bounded(ctx, func(ctx context.Context) error { return r.cfg.Set.Finish(ctx, id, generation) }); err != nil {
		return 0, err
	}
	complete, err := r.cfg.Ledger.Complete(ctx, id, generation)
	if err == nil && !complete {
		err = ErrIncomplete // withdrawn meanwhile
	}
	return entries, err
}

func bounded(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, chunkTimeout)
	defer cancel()
	return do(ctx)
}

const (
	keptIdentities = 16
	retryLeast     = 200 * time.Millisecond // between two rebuilds of this process' own Redis
	retryMost      = 2 * time.Second
	contendLeast   = time.Second // between two that take the trust from a Redis that only others see
	contendMost    = time.Minute
)

// tries says when the next rebuild may be. Two replicas that see different servers would otherwise take the trust from each
// other at every poll. Only the keeper uses it.
type tries struct {
	own       []Identity // what this replica's Redis was so far, latest last
	delay     time.Duration
	next      time.Time
	contended bool
	quiet     bool // it was said that Redis is away
}

// held notes that a set is trusted: no reason to be slow next time, unless the trust was taken from others a moment ago.
func (t *tries) held(id Identity) {
	t.saw(id)
	if !t.contended || time.Since(t.next) > contendMost {
		t.delay, t.next, t.contended = 0, time.Time{}, false
	}
}

func (t *tries) saw(id Identity) {
	t.quiet = false
	if !slices.Contains(t.own, id) {
		t.own = append(t.own, id)
		t.own = t.own[max(0, len(t.own)-keptIdentities):]
	}
}

// may says whether this replica, whose Redis is id, may rebuild now.
func (t *tries) may(trust Trust, id Identity) bool {
	t.saw(id)
	// What others read and this replica has never seen may well be alive.
	if trust.ReadID != "" && !slices.Contains(t.own, trust.ReadID) {
		t.contended = true
	}
	return !time.Now().Before(t.next)
}

// published sets the time of the next one, which the success of this one brings forward.
func (t *tries) published() {
	least, most := retryLeast, retryMost
	if t.contended {
		least, most = contendLeast, contendMost
	}
	t.delay = min(max(2*t.delay, least), most)
	var spread [2]byte          // so that replicas do not meet again
	_, _ = rand.Read(spread[:]) // never fails
	t.next = time.Now().Add(t.delay/2 + t.delay*time.Duration(binary.BigEndian.Uint16(spread[:]))>>16)
}

// away says once that Redis cannot be asked.
func (t *tries) away(ctx context.Context, log *slog.Logger, err error) {
	if !t.quiet {
		t.quiet = true
		log.WarnContext(ctx, "Redis does not answer", slog.String("error", err.Error()))
	}
}
