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

// Epoch reads the epoch and the changes after since in one statement, so that both belong to the same snapshot. When
// nothing changed, it reads one row. The third value is false when changes after since are no longer kept.
func (s source) Epoch(ctx context.Context, since int64) (int64, []registry.Change, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	rows, err := s.db.read.WithContext(ctx).Raw(`SELECT e.epoch, e.floor, c.kind, c.id
		FROM registry_epoch e LEFT JOIN registry_changes c ON c.epoch > ? AND e.floor <= ?`, since, since).Rows()
	if err != nil {
		return 0, nil, false, fmt.Errorf("read registry epoch: %w", err)
	}
	defer func() { _ = rows.Close() }()
	epoch, floor := int64(0), int64(-1)
	var changes []registry.Change
	for rows.Next() {
		var kind, id sql.NullString
		if err := rows.Scan(&epoch, &floor, &kind, &id); err != nil {
			return 0, nil, false, fmt.Errorf("read registry epoch: %w", err)
		}
		if kind.Valid {
			changes = append(changes, registry.Change{Kind: registry.Kind(kind.String), ID: id.String})
		}
	}
	if err := rows.Err(); err != nil {
		return 0, nil, false, fmt.Errorf("read registry epoch: %w", err)
	}
	if floor < 0 {
		return 0, nil, false, fmt.Errorf("read registry epoch: %w: its row is missing", ErrCorrupt)
	}
	// A since from the future is another database's, such as the one before a restore.
	return epoch, changes, floor <= since && since <= epoch, nil
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
