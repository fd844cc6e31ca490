package sqlstore

import (
	"context"
	"fmt"

	"gorm.io/gorm"
)

// Meta returns the one-row settings, such as "issuer": what was set once, and must match on every replica.
func (db *DB) Meta(ctx context.Context) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var rows []struct{ Key, Value string }
	if err := db.read.WithContext(ctx).Raw("SELECT key, value FROM meta").Scan(&rows).Error; err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	settings := make(map[string]string, len(rows))
	for _, row := range rows {
		settings[row.Key] = row.Value
	}
	return settings, nil
}

// SetMeta sets one of them, and replaces what it was.
func (db *DB) SetMeta(ctx context.Context, key, value string) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	return setMeta(db.write.WithContext(ctx), key, value)
}

func setMeta(tx *gorm.DB, key, value string) error {
	err := tx.Exec("INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", key, value).Error
	if err != nil {
		return fmt.Errorf("write setting %q: %w", key, err)
	}
	return nil
}
