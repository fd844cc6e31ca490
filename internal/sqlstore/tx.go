package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/registry"
	"github.com/seed-1972b8eb/signet/internal/revocations"
)

const (
	// keepEpochs is how many epochs registry_changes reaches back: at 100 changes a second, over a minute and a half of a
	// replica's absence. Whoever was away longer drops its whole cache.
	keepEpochs = 10_000
	// maxChanges is how many records one epoch names; a transaction that changed more tells everybody to drop everything.
	maxChanges = 1_000
	// bulkTimeout bounds a transaction that may concern every client, such as the deletion of an API.
	bulkTimeout = time.Minute
	// cutOffLife is how long a cut-off may be needed: the longest token, issued by a replica that went on for a minute from
	// its cache without the database (DESIGN.md §8).
	cutOffLife = apis.MaxTokenTTL + 2*time.Minute
)

// errNothing ends a transaction in which the closure found nothing to change.
var errNothing = errors.New("nothing to change")

// change is a running transaction that changes what admins registered.
type change struct {
	db  *DB
	tx  *gorm.DB
	now time.Time // the database's clock

	keysVersion int64
	keysRaised  int64 // 1 when the set of signing keys changed
	changes     []registry.Change
	cutOffs     []revocations.CutOff
}

// change runs do inside one transaction, which also raises the registry epoch, notes what changed, and writes the cut-offs
// and the event. The first statement locks the epoch's row: changes run one after the other, in the order of their epochs.
// An event without an action rolls everything back and is no error. When the commit fails or its outcome is unknown, that
// is an error, and nothing is tried again: the caller asks anew and finds out.
//
// Whatever the answer, it is given after every cut-off is confirmed, and if that fails it is not given. Where there was
// nothing to do any more, an attempt before this one may have done it, on a process that died before it had confirmed.
func (db *DB) change(ctx context.Context, timeout time.Duration, do func(*change) (audit.Event, error)) error {
	if db.one != nil { // or a change that finds nothing to do is answered before the one that did it is in memory
		select {
		case db.one <- struct{}{}:
			defer func() { <-db.one }()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	c := &change{db: db}
	var refusal error
	err := c.run(ctx, timeout, func() (audit.Event, error) {
		var event audit.Event
		event, refusal = do(c)
		return event, refusal
	})
	switch {
	case err == nil:
		if db.committed != nil { // whether or not the caller still waits
			db.committed(context.WithoutCancel(ctx), registry.Commit{Changes: c.changes, CutOffs: c.cutOffs})
		}
	case errors.Is(err, errNothing):
		err = nil
	case refusal == nil || databaseFailed(refusal):
		return err
	}
	if db.confirm != nil {
		if unconfirmed := db.confirm(ctx); unconfirmed != nil {
			return fmt.Errorf("confirm cut-offs: %w", unconfirmed)
		}
	}
	return err
}

// run is the transaction.
func (c *change) run(ctx context.Context, timeout time.Duration, do func() (audit.Event, error)) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return c.db.transact(ctx, func(tx *gorm.DB) error {
		c.tx = tx
		if err := c.begin(timeout); err != nil {
			return err
		}
		event, err := do()
		if err != nil {
			return err
		}
		if event.Action == "" {
			return errNothing
		}
		return c.finish(event)
	})
}

// databaseFailed tells the database's trouble from an answer. What it does not recognise counts as an answer, which costs
// one more question to the database.
func databaseFailed(err error) bool {
	if _, refused := errors.AsType[*pgconn.PgError](err); refused {
		return true
	}
	if _, network := errors.AsType[net.Error](err); network { // an expired context, too
		return true
	}
	return slices.ContainsFunc([]error{context.Canceled, io.ErrUnexpectedEOF, driver.ErrBadConn, sql.ErrTxDone, sql.ErrConnDone},
		func(target error) bool { return errors.Is(err, target) })
}

// begin takes the lock and reads the clock.
func (c *change) begin(timeout time.Duration) error {
	var keysVersion, now int64
	var ignored any
	row := c.tx.Raw("SELECT keys_version, "+c.db.dialect.now+", "+c.db.dialect.inTx+" FROM registry_epoch "+c.db.dialect.lock,
		milliseconds(timeout)).Row()
	if err := row.Scan(&keysVersion, &now, &ignored, &ignored); err != nil {
		return fmt.Errorf("begin change: %w", err)
	}
	c.keysVersion = keysVersion
	c.now = time.Now().UTC()
	if now != 0 {
		c.now = instant(now).time()
	}
	return nil
}

// changed notes a record for the caches.
func (c *change) changed(kind registry.Kind, id string) {
	c.changes = append(c.changes, registry.Change{Kind: kind, ID: id})
}

// cut notes a cut-off.
func (c *change) cut(kind revocations.CutOffKind, id string, generation int64) {
	expires := instantOf(c.now.Add(cutOffLife)).time() // as it will be read back
	c.cutOffs = append(c.cutOffs, revocations.CutOff{Kind: kind, ID: id, Generation: generation, ExpiresAt: expires})
}

// finish writes what every change writes.
func (c *change) finish(e audit.Event) error {
	if err := c.raiseEpoch(); err != nil {
		return err
	}
	if err := writeCutOffs(c.db.dialect, c.tx, c.cutOffs); err != nil {
		return err
	}
	return writeEvent(c.tx, e, c.now)
}

// raiseEpoch raises the epoch and notes the changes under it.
func (c *change) raiseEpoch() error {
	tooMany := flag(len(c.changes) > maxChanges)
	var epoch int64
	err := c.tx.Raw("UPDATE registry_epoch SET epoch = epoch + 1, keys_version = keys_version + ?, "+
		"floor = CASE WHEN ? = 1 THEN epoch + 1 ELSE floor END RETURNING epoch", c.keysRaised, tooMany).Row().Scan(&epoch)
	if err != nil {
		return fmt.Errorf("raise registry epoch: %w", err)
	}
	if tooMany == 1 {
		return nil
	}
	return c.noteChanges(epoch)
}

// noteChanges writes what changed beside the epoch.
func (c *change) noteChanges(epoch int64) error {
	type row struct {
		Kind string `json:"kind"`
		ID   string `json:"id"`
	}
	rows := make([]row, len(c.changes))
	for i, changed := range c.changes {
		rows[i] = row{string(changed.Kind), changed.ID}
	}
	list, err := encodeList(rows)
	if err != nil {
		return err
	}
	err = c.tx.Exec("INSERT INTO registry_changes (epoch, kind, id) SELECT DISTINCT CAST(? AS bigint), kind, id FROM "+
		c.db.dialect.given("kind text", "id text"), epoch, list).Error
	if err != nil {
		return fmt.Errorf("note changes: %w", err)
	}
	return nil
}
