package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"gorm.io/gorm"
)

// errUnreplicated is a commit that a failover may lose.
var errUnreplicated = errors.New("a commit may not have reached the synchronous standby")

// transact runs a transaction whose commit will be acknowledged to somebody. One that PostgreSQL did not replicate, though it
// should have, is an error like any other commit of unknown outcome; so are those that run beside it, which costs a retry.
func (db *DB) transact(ctx context.Context, do func(tx *gorm.DB) error) error {
	return db.acknowledged(func() error { return db.write.WithContext(ctx).Transaction(do) })
}

// acknowledged runs what commits, and fails where a commit came back meanwhile without the standby that it has to wait for.
func (db *DB) acknowledged(commit func() error) error {
	var before int64
	if db.unreplicated != nil {
		before = db.unreplicated.Load()
	}
	if err := commit(); err != nil {
		return err
	}
	if db.unreplicated != nil && db.unreplicated.Load() != before {
		return errUnreplicated
	}
	return nil
}

// durable makes the running transaction durable when it commits, bounds its statements, and returns the database's clock.
func (db *DB) durable(tx *gorm.DB, timeout time.Duration) (time.Time, error) {
	var now int64
	var ignored any
	row := tx.Raw("SELECT "+db.dialect.now+", "+db.dialect.inTx, milliseconds(timeout)).Row()
	if err := row.Scan(&now, &ignored, &ignored); err != nil {
		return time.Time{}, fmt.Errorf("begin: %w", err)
	}
	if now == 0 {
		return time.Now().UTC(), nil
	}
	return instant(now).time(), nil
}

// clock is the expression of the database's time in statements that ask what has expired, and its parameter.
func (db *DB) clock() (string, []any) {
	if db.dialect.now == "0" {
		return "CAST(? AS bigint)", []any{db.patient(time.Now()).UnixMicro()}
	}
	return db.dialect.now, nil
}

// patient is the time by which entries may be forgotten. SQLite's clock is this process' own, and what is forgotten because that
// jumped ahead would be missed once it is set right: such a clock goes no faster than the monotonic one since the database was
// opened. While a machine is suspended it stands still, which keeps entries for longer.
func (db *DB) patient(now time.Time) time.Time {
	if db.opened.IsZero() {
		return now
	}
	if steady := db.opened.Round(0).Add(time.Since(db.opened)); steady.Before(now) {
		return steady.UTC()
	}
	return now
}

// snapshot runs a reading transaction in which every statement sees the same state. It is not bounded but by ctx: what is
// read may be everything.
func (db *DB) snapshot(ctx context.Context, read func(tx *gorm.DB) error) error {
	var options []*sql.TxOptions
	if db.dialect.name == "postgres" {
		options = append(options, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	}
	return db.read.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := db.unboundTransaction(tx); err != nil {
			return err
		}
		return read(tx)
	}, options...)
}

// unboundTransaction takes PostgreSQL's time limits from the running transaction.
func (db *DB) unboundTransaction(tx *gorm.DB) error {
	if db.dialect.name != "postgres" {
		return nil
	}
	err := tx.Exec("SELECT set_config('synchronous_commit', 'on', true), set_config('statement_timeout', '0', true), " +
		"set_config('idle_in_transaction_session_timeout', '0', true)").Error
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	return nil
}

// endFrozen has the server end the running transaction when this process reads no more of it, and lets it go on at any pace
// otherwise. There are two ways to be stuck: the server has sent everything and idles, or waits for room to send the rest. For
// the latter no limit of PostgreSQL's own counts, only that of its kernel, and that not on a Unix socket.
func (db *DB) endFrozen(tx *gorm.DB) error {
	if db.dialect.name != "postgres" {
		return nil
	}
	err := tx.Exec("SELECT set_config('idle_in_transaction_session_timeout', ?, true), set_config('tcp_user_timeout', ?, true)",
		milliseconds(db.frozen), milliseconds(db.frozen)).Error
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	return nil
}

// readRows reads every row of a query.
func readRows[R, D any](query *gorm.DB, convert func(R) D) ([]D, error) {
	var rows []R
	if err := query.Scan(&rows).Error; err != nil {
		return nil, err
	}
	out := make([]D, len(rows))
	for i, row := range rows {
		out[i] = convert(row)
	}
	return out, nil
}

// sweep deletes at most limit rows of a table that expired longer than retention ago, by the database's clock, oldest first.
func (db *DB) sweep(ctx context.Context, table, key string, retention time.Duration, limit int) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	now, args := db.clock()
	args = append(args, retention.Microseconds(), limit)
	result := db.write.WithContext(ctx).Exec("DELETE FROM "+table+" WHERE ("+key+") IN (SELECT "+key+" FROM "+table+
		" WHERE expires_at < "+now+" - ? ORDER BY expires_at LIMIT ?)", args...)
	if result.Error != nil {
		return 0, fmt.Errorf("sweep %s: %w", table, result.Error)
	}
	return int(result.RowsAffected), nil
}

// milliseconds is how PostgreSQL's settings take a duration.
func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
