package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"path"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// migrations are numbered, the same numbers in both dialects, append-only, one transaction each. A release N may only add
// what release N-1 does not mind (expand), and remove what N-1 no longer uses (contract): replicas of both run side by side.
//
//go:embed migrations/*/*.sql
var migrations embed.FS

// versionTable is where goose notes what was applied.
const versionTable = "schema_version"

// Status is what is known of the schema.
type Status struct {
	Version int64    // the newest migration that was applied; 0: none
	Latest  int64    // the newest that this program knows
	Pending []string // file names of those to apply
	Dirty   bool     // what was applied is not 1, 2, … Version, or there are tables that no migration made
}

// Status reads the state of the schema. It changes nothing.
func (db *DB) Status(ctx context.Context) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	known, err := fs.Glob(migrations, path.Join("migrations", db.dialect.name, "*.sql"))
	if err != nil {
		return Status{}, fmt.Errorf("list migrations: %w", err)
	}
	// Asked first: when a migration by another process comes between the two questions, it is not taken for a stranger's.
	tables, err := db.tableExists(ctx, "registry_epoch")
	if err != nil {
		return Status{}, fmt.Errorf("read schema version: %w", err)
	}
	applied, err := db.applied(ctx)
	if err != nil {
		return Status{}, fmt.Errorf("read schema version: %w", err)
	}
	status := Status{Latest: int64(len(known)), Dirty: tables && len(applied) == 0}
	for i, version := range applied {
		if version != int64(i+1) {
			status.Dirty = true
		}
		status.Version = max(status.Version, version)
	}
	for i, name := range known {
		if int64(i+1) > status.Version {
			status.Pending = append(status.Pending, path.Base(name))
		}
	}
	return status, nil
}

// applied returns the versions that were applied, rising.
func (db *DB) applied(ctx context.Context) ([]int64, error) {
	exists, err := db.tableExists(ctx, versionTable)
	if err != nil || !exists {
		return nil, err
	}
	var versions []int64
	// A row with is_applied false would be a migration that was taken back; goose writes none, somebody else may have.
	err = db.write.WithContext(ctx).Raw("SELECT CASE WHEN is_applied THEN version_id ELSE -1 END FROM " + versionTable +
		" WHERE version_id > 0 ORDER BY version_id, id").Scan(&versions).Error
	return versions, err
}

func (db *DB) tableExists(ctx context.Context, table string) (bool, error) {
	query := "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
	if db.dialect.name == "postgres" {
		query = "SELECT count(to_regclass(?))"
	}
	var found int
	err := db.write.WithContext(ctx).Raw(query, table).Scan(&found).Error
	return found > 0, err
}

// CheckSchema says whether this program can work with the schema as it is: ErrSchemaOlder, ErrSchemaNewer, ErrSchemaDirty.
func (db *DB) CheckSchema(ctx context.Context) error {
	status, err := db.Status(ctx)
	if err != nil {
		return err
	}
	if err := status.usable(); err != nil {
		return err
	}
	if status.Version < status.Latest {
		return fmt.Errorf("%w (version %d, needs %d)", ErrSchemaOlder, status.Version, status.Latest)
	}
	return nil
}

// usable says whether the schema is one that this program can work with or migrate.
func (s Status) usable() error {
	if s.Dirty {
		return fmt.Errorf("%w (version %d)", ErrSchemaDirty, s.Version)
	}
	if s.Version > s.Latest {
		return fmt.Errorf("%w (version %d, knows %d)", ErrSchemaNewer, s.Version, s.Latest)
	}
	return nil
}

// Migrate applies what is pending, and returns the versions before and after. Replicas may do it at once: on PostgreSQL a
// session lock lets them in one after the other; on SQLite whoever comes second to a migration fails, and goes on after it.
func (db *DB) Migrate(ctx context.Context) (int64, int64, error) {
	return db.migrateTo(ctx, int64(1)<<62)
}

func (db *DB) migrateTo(ctx context.Context, version int64) (int64, int64, error) {
	before, err := db.Status(ctx)
	if err != nil {
		return 0, 0, err
	}
	if err := before.usable(); err != nil {
		return before.Version, before.Version, err
	}
	version = min(version, before.Latest)
	reached := before.Version
	for reached < version {
		failure := db.up(ctx, version)
		after, err := db.Status(ctx)
		if err != nil {
			return before.Version, reached, err
		}
		if failure == nil {
			return before.Version, after.Version, after.usable()
		}
		if after.Version == reached {
			return before.Version, reached, fmt.Errorf("migrate database: %w", failure)
		}
		reached = after.Version
	}
	return before.Version, reached, nil
}

// up runs goose.
func (db *DB) up(ctx context.Context, version int64) error {
	files, err := fs.Sub(migrations, path.Join("migrations", db.dialect.name))
	if err != nil {
		return err
	}
	options := []goose.ProviderOption{goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true)}
	var pool *sql.DB
	dialect := goose.DialectSQLite3
	if db.unbounded != nil {
		// One probe a second for five minutes.
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
		if err != nil {
			return err
		}
		options = append(options, goose.WithSessionLocker(locker))
		dialect = goose.DialectPostgres
		pool = db.unbounded(ctx)
		defer func() { _ = pool.Close() }()
	} else if pool, err = db.write.DB(); err != nil {
		return err
	}
	provider, err := goose.NewProvider(dialect, pool, files, options...)
	if err != nil {
		return err
	}
	_, err = provider.UpTo(ctx, version)
	return err
}
