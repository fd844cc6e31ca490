package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"gorm.io/gorm"
)

const (
	// restoreTimeout bounds the raising of every generation.
	restoreTimeout = 10 * time.Minute
	// loadBatch is how many rows one statement inserts.
	loadBatch = 200
	// epochLeap is added to a restored epoch, so that no replica that still runs takes it for one that it has seen.
	epochLeap = 1 << 20
)

// Row is one row of a dump.
type Row struct {
	Table  string
	Values map[string]any // string, int64, json.Number or nil
}

// Load fills an empty database with a dump of the given schema version, all of it or nothing, and then migrates it to the
// version of this program. The database may have no schema yet. ErrNotEmpty when anything is in it, ErrSchemaNewer when the
// dump is of a later program. An error among the rows ends it.
func (db *DB) Load(ctx context.Context, version int64, rows iter.Seq2[Row, error]) error {
	status, err := db.Status(ctx)
	if err != nil {
		return err
	}
	switch {
	case version < 1:
		return fmt.Errorf("load: %d is no schema version", version)
	case version > status.Latest:
		return fmt.Errorf("load: %w (dump has version %d, program knows %d)", ErrSchemaNewer, version, status.Latest)
	case status.Version > version:
		return fmt.Errorf("load: %w: its schema has version %d, the dump %d", ErrNotEmpty, status.Version, version)
	}
	if _, _, err := db.migrateTo(ctx, version); err != nil {
		return err
	}
	if err := db.loadRows(ctx, rows); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	_, _, err = db.Migrate(ctx)
	return err
}

func (db *DB) loadRows(ctx context.Context, rows iter.Seq2[Row, error]) error {
	return db.write.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := db.unboundTransaction(tx); err != nil {
			return err
		}
		l := &loader{tx: tx, columns: map[string][]string{}}
		if err := l.start(); err != nil {
			return err
		}
		for row, err := range rows {
			if err != nil {
				return fmt.Errorf("read dump: %w", err)
			}
			if err := l.add(row); err != nil {
				return err
			}
		}
		return l.finish(db.dialect)
	})
}

// loader inserts rows in batches of one table.
type loader struct {
	tx      *gorm.DB
	columns map[string][]string // of each table that a dump may have
	table   string
	batch   []map[string]any
}

// start learns the tables, and makes sure that they are empty but for the row that the migration puts in.
func (l *loader) start() error {
	if err := l.tx.Exec("DELETE FROM registry_epoch WHERE epoch = 0").Error; err != nil {
		return err
	}
	for _, t := range dumped() {
		rows, err := l.tx.Raw("SELECT * FROM " + t.table + " LIMIT 1").Rows()
		if err != nil {
			return err
		}
		columns, err := rows.Columns()
		occupied := rows.Next()
		if err := errors.Join(err, rows.Err(), rows.Close()); err != nil {
			return err
		}
		if occupied {
			return fmt.Errorf("%w: there are rows in %s", ErrNotEmpty, t.table)
		}
		l.columns[t.table] = columns
	}
	return nil
}

func (l *loader) add(row Row) error {
	columns, known := l.columns[row.Table]
	if !known {
		return fmt.Errorf("dump has an unknown table %q", row.Table)
	}
	values := make(map[string]any, len(row.Values))
	for column, value := range row.Values {
		if !slices.Contains(columns, column) {
			return fmt.Errorf("dump has an unknown column %q in %s", column, row.Table)
		}
		value, err := neutral(value)
		if err != nil {
			return fmt.Errorf("column %s of %s: %w", column, row.Table, err)
		}
		values[column] = value
	}
	if row.Table != l.table || len(l.batch) == loadBatch {
		if err := l.flush(); err != nil {
			return err
		}
	}
	l.table = row.Table
	l.batch = append(l.batch, values)
	return nil
}

func (l *loader) flush() error {
	if len(l.batch) == 0 {
		return nil
	}
	if err := l.tx.Table(l.table).Create(&l.batch).Error; err != nil {
		return fmt.Errorf("insert into %s: %w", l.table, err)
	}
	l.batch = nil
	return nil
}

// finish makes the loaded database fit to be used: caches of replicas that still run must not trust the epoch, and new
// audit events come after the loaded ones.
func (l *loader) finish(d dialect) error {
	if err := l.flush(); err != nil {
		return err
	}
	result := l.tx.Exec("UPDATE registry_epoch SET epoch = epoch + ?, floor = epoch + ?", epochLeap, epochLeap)
	if result.Error != nil {
		return result.Error
	}
	if result.RowsAffected != 1 {
		return errors.New("dump is not whole: the registry epoch is missing")
	}
	if d.name != "postgres" { // SQLite's AUTOINCREMENT has seen the inserted IDs
		return nil
	}
	return l.tx.Exec("SELECT setval(pg_get_serial_sequence('audit_events', 'id'), " +
		"greatest((SELECT max(id) FROM audit_events), 1), (SELECT count(*) > 0 FROM audit_events))").Error
}
