package sqlstore

import (
	"context"
	"database/sql"
	"fmt"

	"gorm.io/gorm"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/registry"
)

// source is what the registry's cache reads from.
type source struct{ db *DB }

// Client implements registry.Source.
func (s source) Client(ctx context.Context, id string) (*clients.Client, error) {
	return clientStore(s).Client(ctx, id)
}

// APIs implements registry.Source.
func (s source) APIs(ctx context.Context) ([]*apis.API, error) { return apiStore(s).APIs(ctx) }

// Poll implements registry.Source: one statement, so that all of it belongs to the same snapshot. When nothing changed, it
// reads the one row of each table that has no more.
func (s source) Poll(ctx context.Context, since int64) (registry.Poll, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	d := s.db.dialect
	rows, err := s.db.read.WithContext(ctx).Raw("SELECT e.epoch, e.floor, "+d.server+", "+d.now+", c.kind, c.id, "+d.trust+" FROM registry_epoch e "+d.beside+
		" LEFT JOIN registry_changes c ON c.epoch > ? AND e.floor <= ? WHERE e.one = 1", since, since).Rows()
	if err != nil {
		return registry.Poll{}, fmt.Errorf("read registry epoch: %w", err)
	}
	defer func() { _ = rows.Close() }()
	poll, floor, unconfirmed, now := registry.Poll{}, int64(-1), int64(0), int64(0)
	var trust trustRow
	for rows.Next() {
		var kind, id sql.NullString
		if err := rows.Scan(append([]any{&poll.Epoch, &floor, &poll.Server, &now, &kind, &id}, append(trust.columns(), &unconfirmed)...)...); err != nil {
			return registry.Poll{}, fmt.Errorf("read registry epoch: %w", err)
		}
		if kind.Valid {
			poll.Changes = append(poll.Changes, registry.Change{Kind: registry.Kind(kind.String), ID: id.String})
		}
	}
	if err := rows.Err(); err != nil {
		return registry.Poll{}, fmt.Errorf("read registry epoch: %w", err)
	}
	if floor < 0 {
		return registry.Poll{}, fmt.Errorf("read registry epoch: %w: its row or the trust row is missing", ErrCorrupt)
	}
	if now != 0 {
		poll.Now = instant(now).time()
	}
	// A since from the future is another database's, such as the one before a restore.
	poll.Complete = floor <= since && since <= poll.Epoch
	poll.Trust, poll.Unconfirmed = trust.trust(), unconfirmed == 1
	return poll, nil
}

// SweepChanges deletes the oldest of the changes that are kept for caches, as far as they are more than keepEpochs old, and
// says how many. It deletes whole epochs, and stops at the one in which it reaches the limit.
func (db *DB) SweepChanges(ctx context.Context, limit int) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	var deleted int64
	err := db.write.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var epoch, floor int64
		if err := tx.Raw("SELECT epoch, floor FROM registry_epoch "+db.dialect.lock).Row().Scan(&epoch, &floor); err != nil {
			return err
		}
		var last int64
		err := tx.Raw(`SELECT coalesce(max(epoch), 0) FROM (SELECT epoch FROM registry_changes WHERE epoch <= ?
			ORDER BY epoch LIMIT ?) AS oldest`, max(floor, epoch-keepEpochs), limit).Row().Scan(&last)
		if err != nil || last == 0 {
			return err
		}
		if err := tx.Exec("UPDATE registry_epoch SET floor = ? WHERE floor < ?", last, last).Error; err != nil {
			return err
		}
		result := tx.Exec("DELETE FROM registry_changes WHERE epoch <= ?", last)
		deleted = result.RowsAffected
		return result.Error
	})
	if err != nil {
		return 0, fmt.Errorf("sweep registry changes: %w", err)
	}
	return int(deleted), nil
}
