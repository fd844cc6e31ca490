package sqlstore

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/registry"
	"github.com/seed-1972b8eb/signet/internal/revocations"
)

// dumped lists the tables of a dump with the order of their rows; a table comes after those that it refers to.
// registry_changes and redis_trust are left out: what they are for, the caches of running replicas, does not outlive a
// restore.
func dumped() []struct{ table, order string } {
	return []struct{ table, order string }{
		{"meta", "key"},
		{"registry_epoch", "one"},
		{"apis", "identifier"},
		{"api_scopes", "api, name"},
		{"clients", "id"},
		{"client_secrets", "client_id, position"},
		{"client_grants", "client_id, api, scope"},
		{"client_introspects", "client_id, api"},
		{"signing_keys", "kid"},
		{"revocations", "jti"},
		{"cut_offs", "kind, id"},
		{"audit_events", "id"},
		{"assertion_uses", "client_id, jti_hash"},
		{"last_used", "subject"},
		{"usage_daily", "client_id, day, api"},
	}
}

// Dump calls fn with every row of every table, from one consistent read. Values are string, int64 or nil, the same from
// both databases; Load of the same schema version takes them back. The map belongs to fn. A dump holds digests of secrets
// and sealed signing keys: useless without the pepper and the master key, and still not for everybody.
func (db *DB) Dump(ctx context.Context, fn func(table string, row map[string]any) error) error {
	if err := db.CheckSchema(ctx); err != nil {
		return err
	}
	return db.snapshot(ctx, func(tx *gorm.DB) error {
		for _, t := range dumped() {
			if err := dumpTable(tx, t.table, t.order, fn); err != nil {
				return fmt.Errorf("dump %s: %w", t.table, err)
			}
		}
		return nil
	})
}

func dumpTable(tx *gorm.DB, table, order string, fn func(table string, row map[string]any) error) error {
	rows, err := tx.Raw("SELECT * FROM " + table + " ORDER BY " + order).Rows()
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	for rows.Next() {
		values := make([]any, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		row := make(map[string]any, len(columns))
		for i, column := range columns {
			if row[column], err = neutral(values[i]); err != nil {
				return fmt.Errorf("column %s: %w", column, err)
			}
		}
		if err := fn(table, row); err != nil {
			return err
		}
	}
	return rows.Err()
}

// neutral brings a value of either driver, or of a decoded dump, to string, int64 or nil. A float64 is refused: it has
// lost the low digits of a large number; decode JSON with UseNumber.
func neutral(value any) (any, error) {
	switch v := value.(type) {
	case nil, string, int64:
		return v, nil
	case []byte:
		return string(v), nil
	case int32:
		return int64(v), nil
	case interface{ Int64() (int64, error) }: // json.Number
		return v.Int64()
	}
	return nil, fmt.Errorf("value is a %T", value)
}

// FinishRestore makes a loaded database one that a server of this issuer starts on, in one transaction. Unless nothing was
// lost, it also cuts off every token that any client holds: what was revoked after the backup was made is not in it.
func (db *DB) FinishRestore(ctx context.Context, issuer string, nothingLost bool, by audit.Event) error {
	return db.change(ctx, restoreTimeout, func(c *change) (audit.Event, error) {
		if !nothingLost {
			if err := c.raiseAll(); err != nil {
				return by, err
			}
		}
		if err := c.distrust(); err != nil {
			return by, err
		}
		return by, setMeta(c.tx, "issuer", issuer)
	})
}

// distrust makes sure that no lease and no set in Redis from the time of the lost database counts with this one: its
// generation is one that the other never reached. Replicas may be running all the time.
func (c *change) distrust() error {
	err := c.tx.Exec("UPDATE redis_trust SET write_id = '', read_id = '', settled = 0, generation = "+
		c.db.dialect.greatest+"(generation + 1, ?)", c.now.Unix()).Error
	if err != nil {
		return fmt.Errorf("withdraw trust in Redis: %w", err)
	}
	return nil
}

// raiseAll raises the generation of every client. It becomes the time in seconds, unless it is higher: one more would not do,
// because the database that was lost may have counted further than the backup, and a backup can be restored twice.
func (c *change) raiseAll() error {
	var rows []struct {
		ID         string
		Generation int64
	}
	err := c.tx.Raw("UPDATE clients SET generation = "+c.db.dialect.greatest+"(generation + 1, ?) RETURNING id, generation",
		c.now.Unix()).Scan(&rows).Error
	if err != nil {
		return fmt.Errorf("raise generations: %w", err)
	}
	for _, row := range rows {
		c.changed(registry.ClientChanged, row.ID)
		c.cut(revocations.ByClient, row.ID, row.Generation)
	}
	return nil
}
