package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	gormsqlite "gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"modernc.org/sqlite"
)

// applicationID marks a SQLite file as Signet's: "Sgnt". With it a file that was cut to nothing, or is somebody else's, is
// told from a new one.
const applicationID = 0x53676e74

// createSQLite makes the file with its mark and nothing else.
func createSQLite(ctx context.Context, path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("create database: %w: %s", ErrExists, path)
	}
	if err != nil {
		return fmt.Errorf("create database: %w", err)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("create database: %w", err)
	}
	pool, err := sql.Open("sqlite", sqliteURL(path, toWrite))
	if err != nil {
		return fmt.Errorf("create database: %w", err)
	}
	_, err = pool.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", applicationID))
	if err := errors.Join(err, pool.Close()); err != nil {
		return fmt.Errorf("create database: %w", errors.Join(err, os.Remove(path)))
	}
	return syncDirectory(filepath.Dir(path))
}

// syncDirectory makes a new file's name durable.
func syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}

// busyTimeout is how long a statement waits for a lock that another process holds on the file: with no context of ours to end
// it, it must leave a revocation time to answer.
const busyTimeout = "busy_timeout(1000)"

// The three ways to open the file.
const (
	toCheck = iota // changes nothing in it
	toWrite
	toRead
)

// sqliteURL names the file for the driver: never created, write-ahead log, every commit flushed before it is acknowledged.
// Transactions of the writer lock at once: two that begin by reading could not both go on to write.
func sqliteURL(path string, purpose int) string {
	pragmas := []string{busyTimeout, "trusted_schema(0)", "cell_size_check(1)", "foreign_keys(1)"}
	lock := "deferred"
	switch purpose {
	case toWrite:
		lock = "immediate"
		pragmas = append(pragmas, "journal_mode(WAL)", "synchronous(FULL)", "fullfsync(1)", "checkpoint_fullfsync(1)",
			"journal_size_limit(67108864)")
	case toRead:
		pragmas = append(pragmas, "synchronous(FULL)", "query_only(1)")
	case toCheck:
		pragmas = append(pragmas, "query_only(1)")
	}
	options := url.Values{"mode": {"rw"}, "_txlock": {lock}, "_pragma": pragmas}
	// url.URL would make a host of what follows "file:" in some paths.
	return "file:" + (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath() + "?" + options.Encode()
}

// openSQLite opens one writing connection and several that read.
func openSQLite(ctx context.Context, c Config) (*DB, error) {
	if err := checkSQLite(ctx, c.Path); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db := &DB{dialect: sqliteDialect(), committed: c.Committed, confirm: c.Confirm, one: make(chan struct{}, 1), opened: time.Now()}
	var err error
	if db.write, err = sqliteHandle(c.Path, toWrite, 1); err != nil {
		return nil, err
	}
	if db.read, err = sqliteHandle(c.Path, toRead, c.MaxConns); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func sqliteHandle(path string, purpose, conns int) (*gorm.DB, error) {
	pool, err := sql.Open("sqlite", sqliteURL(path, purpose))
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	pool.SetMaxOpenConns(conns)
	pool.SetMaxIdleConns(conns)
	handle, err := gormOn(pureGo{gormsqlite.Dialector{Conn: pool}})
	if err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	return handle, nil
}

// checkSQLite makes sure that the file is there, is Signet's and is in order. It changes nothing in a file that it refuses.
func checkSQLite(ctx context.Context, path string) (err error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s", ErrMissing, path)
	} else if err != nil {
		return err
	}
	pool, err := sql.Open("sqlite", sqliteURL(path, toCheck))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	pool.SetMaxOpenConns(1)
	var id int64
	if err := pool.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id); err != nil {
		return sqliteTrouble(err)
	}
	if id != applicationID {
		return fmt.Errorf("%w: %s is not a database of Signet, or lost its beginning", ErrCorrupt, path)
	}
	var verdict string
	if err := pool.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return sqliteTrouble(err)
	}
	if verdict != "ok" {
		return fmt.Errorf("%w: %s: %s", ErrCorrupt, path, verdict)
	}
	return nil
}

// sqliteTrouble tells damage (SQLITE_CORRUPT, SQLITE_NOTADB) from other trouble. The low byte of a code is its class.
func sqliteTrouble(err error) error {
	const corrupt, notADatabase = 11, 26
	failure, ok := errors.AsType[*sqlite.Error](err)
	if ok && (failure.Code()&0xff == corrupt || failure.Code()&0xff == notADatabase) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

// pureGo is gorm's dialect of SQLite over the driver in Go: only the errors of that driver look different.
type pureGo struct{ gormsqlite.Dialector }

// Translate implements gorm.ErrorTranslator. Without it duplicates would go unnoticed.
func (pureGo) Translate(err error) error {
	const primaryKey, unique, foreignKey = 1555, 2067, 787 // SQLITE_CONSTRAINT_…
	failure, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return err
	}
	switch failure.Code() {
	case primaryKey, unique:
		return gorm.ErrDuplicatedKey
	case foreignKey:
		return gorm.ErrForeignKeyViolated
	}
	return err
}
