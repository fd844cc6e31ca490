package sqlstore

import (
	"context"
	"time"

	"gorm.io/gorm"
)

// Limits, for tests that go beyond them.
const (
	KeepEpochs   = keepEpochs
	MaxChanges   = maxChanges
	LiveBatch    = liveBatch
	ConfirmBatch = confirmBatch
)

// MigrateTo gives a database the schema of an earlier program.
func (db *DB) MigrateTo(ctx context.Context, version int64) error {
	_, _, err := db.migrateTo(ctx, version)
	return err
}

// Exec runs SQL behind the stores' backs: what an operator, a later program or damage would do.
func (db *DB) Exec(ctx context.Context, statement string, args ...any) error {
	return db.write.WithContext(ctx).Exec(statement, args...).Error
}

// ReadText reads one value as text, through the writing handle or through the reading one.
func (db *DB) ReadText(ctx context.Context, write bool, query string, args ...any) (string, error) {
	handle := db.read
	if write {
		handle = db.write
	}
	var text string
	err := handle.WithContext(ctx).Raw(query, args...).Row().Scan(&text)
	return text, err
}

// TransactText reads one value as text in a transaction.
func (db *DB) TransactText(ctx context.Context, query string) (string, error) {
	var text string
	err := db.transact(ctx, func(tx *gorm.DB) error { return tx.Raw(query).Row().Scan(&text) })
	return text, err
}

// ExecReading runs a statement through the handle that only reads.
func (db *DB) ExecReading(ctx context.Context, statement string) error {
	return db.read.WithContext(ctx).Exec(statement).Error
}

// EndFrozen sets how long a process that is frozen in a rebuild holds things up.
func (db *DB) EndFrozen(after time.Duration) { db.frozen = after }
