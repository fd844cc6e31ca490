package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"gorm.io/gorm"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/registry"
	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/usage"
)

// Config says which database to open, and how.
type Config struct {
	Driver   string       // "postgres" or "sqlite"
	URL      string       // of PostgreSQL: "postgres://…"; may hold a password and is never printed
	Path     string       // of the SQLite file
	MaxConns int          // most connections to PostgreSQL, most readers of SQLite; 0 means 10
	Log      *slog.Logger // of connections that fail; nil discards

	// Committed is called after each commit that changed the registry or cut something off, before the store returns; may be
	// nil. Its context does not end with the caller's.
	Committed func(ctx context.Context, c registry.Commit)
	// Confirm is called, after Committed, before a change is answered: with success, with nothing to do, or with a refusal of
	// the domain. It returns when every cut-off that is committed counts everywhere; its error is the answer instead. Nil
	// where one process owns the data.
	Confirm func(ctx context.Context) error

	// InsecureSkipFsyncCheck takes a PostgreSQL server with fsync=off. What it acknowledged can be gone after a crash of its
	// machine, revocations too: for tests on servers whose data is worth nothing.
	InsecureSkipFsyncCheck bool
}

// Errors that callers tell apart.
var (
	ErrMissing       = errors.New("database does not exist")
	ErrExists        = errors.New("database exists already")
	ErrCorrupt       = errors.New("database is damaged")
	ErrRecovery      = errors.New("PostgreSQL server is in recovery: it is a standby, and may miss what the primary acknowledged")
	ErrNotDurable    = errors.New("PostgreSQL server does not keep what it acknowledges")
	ErrSchemaOlder   = errors.New("database schema is older than this program: run signet migrate")
	ErrSchemaNewer   = errors.New("database schema is newer than this program")
	ErrSchemaDirty   = errors.New("database schema is not one that this program made")
	ErrNotEmpty      = errors.New("database is not empty")
	errUnknownDriver = errors.New(`database driver must be "postgres" or "sqlite"`)
)

// Times that bound each call. A server that is frozen or unreachable gives an error, never a hang.
const (
	readTimeout   = 2 * time.Second // of one reading statement, and of waiting for a connection for it
	answerTimeout = time.Second     // of what /oauth2/revoke and /oauth2/introspect wait for: they answer within 1.5 s
	changeTimeout = 5 * time.Second // of one transaction, and statement_timeout of PostgreSQL
	defaultConns  = 10
	connLifetime  = 30 * time.Minute
)

// DB is an open database. Safe for concurrent use.
type DB struct {
	dialect   dialect
	write     *gorm.DB // PostgreSQL: the pool. SQLite: the one connection that writes.
	read      *gorm.DB // PostgreSQL: the same pool. SQLite: the readers.
	committed func(ctx context.Context, c registry.Commit)
	confirm   func(ctx context.Context) error

	unreplicated *atomic.Int64 // see poolHealth; nil for SQLite
	frozen       time.Duration // frozenTimeout, but for tests; of PostgreSQL
	maxConns     int           // of PostgreSQL
	opened       time.Time     // see patient; zero for PostgreSQL

	// one holds the one change that runs, from before its transaction until committed was told. nil for PostgreSQL, where confirm
	// stands between a change and its acknowledgement.
	one chan struct{}

	// unbounded opens a pool of PostgreSQL without timeouts, for migrations; nil for SQLite, which has none.
	unbounded func(ctx context.Context) *sql.DB
}

// Open opens a database that is there: it creates nothing and migrates nothing (see Create and Migrate), and refuses one
// that cannot keep Signet's promises. PostgreSQL with fsync=off is ErrNotDurable, a standby is ErrRecovery; a SQLite file
// that is missing is ErrMissing, one that is damaged or not Signet's is ErrCorrupt.
func Open(ctx context.Context, c Config) (*DB, error) {
	if c.MaxConns == 0 {
		c.MaxConns = defaultConns
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch c.Driver {
	case "postgres":
		return openPostgres(ctx, c)
	case "sqlite":
		return openSQLite(ctx, c)
	}
	return nil, fmt.Errorf("open database: %w, not %q", errUnknownDriver, c.Driver)
}

// Create makes the SQLite file, empty, for its owner alone, and refuses one that exists (ErrExists). A PostgreSQL database
// is made by its administrator; for it Create checks that Open would take it. The schema is Migrate's.
func Create(ctx context.Context, c Config) error {
	if c.Driver == "sqlite" {
		return createSQLite(ctx, c.Path)
	}
	db, err := Open(ctx, c)
	if err != nil {
		return err
	}
	return db.Close()
}

// Ping says whether the database answers.
func (db *DB) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var one int
	if err := db.read.WithContext(ctx).Raw("SELECT 1").Scan(&one).Error; err != nil {
		return fmt.Errorf("ping database: %w", err)
	}
	return nil
}

// Pools returns the connection pools by what they are for, for metrics.
func (db *DB) Pools() map[string]*sql.DB {
	pools := map[string]*sql.DB{}
	for name, handle := range map[string]*gorm.DB{"write": db.write, "read": db.read} {
		if db.read == db.write {
			name = "all"
		}
		if pool, err := handle.DB(); err == nil {
			pools[name] = pool
		}
	}
	return pools
}

// Close closes every connection. Calls that are running fail.
func (db *DB) Close() error {
	var errs []error
	pools := map[*sql.DB]bool{}
	for _, handle := range []*gorm.DB{db.read, db.write} {
		if handle == nil {
			continue
		}
		pool, err := handle.DB()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		pools[pool] = true
	}
	for pool := range pools {
		errs = append(errs, pool.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}

// Clients returns the store of clients.
func (db *DB) Clients() clients.Store { return clientStore{db} }

// APIs returns the store of APIs.
func (db *DB) APIs() apis.Store { return apiStore{db} }

// Keys returns the store of signing keys.
func (db *DB) Keys() keys.Store { return keyStore{db} }

// Revocations returns the durable store of revocations and cut-offs.
func (db *DB) Revocations() revocations.Truth { return revocationStore{db} }

// Ledger returns the same store with what replicas need that share it. Nil with SQLite, which belongs to one process.
func (db *DB) Ledger() revocations.Ledger {
	if db.dialect.name != "postgres" {
		return nil
	}
	return revocationStore{db}
}

// Trail returns the audit trail.
func (db *DB) Trail() audit.Trail { return trail{db} }

// Source returns what the registry's cache reads from.
func (db *DB) Source() registry.Source { return source{db} }

// Assertions returns the memory of client assertions that were used.
func (db *DB) Assertions() *Assertions { return &Assertions{db} }

// Usage returns the store of usage counts.
func (db *DB) Usage() usage.Store { return usageStore{db} }
