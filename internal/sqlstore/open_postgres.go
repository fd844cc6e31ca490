package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// connectTimeout bounds the making of a connection, unless the URL says otherwise.
const connectTimeout = 2 * time.Second

// openPostgres opens the pool. Statements are prepared once per connection by pgx; behind a pooler that cannot carry them,
// the URL says default_query_exec_mode=exec.
func openPostgres(ctx context.Context, c Config) (*DB, error) {
	config, err := pgx.ParseConfig(c.URL) // its errors hide the password
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	pool, health := postgresPool(ctx, config, c, changeTimeout)
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	if err := pool.PingContext(ctx); err != nil {
		_ = pool.Close()
		return nil, fmt.Errorf("open database: %w", err)
	}
	handle, err := gormOn(postgres.New(postgres.Config{Conn: pool}))
	if err != nil {
		_ = pool.Close()
		return nil, err
	}
	return &DB{
		dialect: postgresDialect(), write: handle, read: handle, committed: c.Committed, unreplicated: &health.unreplicated, confirm: c.Confirm,
		frozen: frozenTimeout, maxConns: c.MaxConns,
		unbounded: func(ctx context.Context) *sql.DB {
			pool, _ := postgresPool(ctx, config, c, 0)
			return pool
		},
	}, nil
}

// gormOn returns gorm without what this package does not want: a transaction around each statement, logging of statements
// and of their parameters.
func gormOn(dialector gorm.Dialector) (*gorm.DB, error) {
	handle, err := gorm.Open(dialector, &gorm.Config{
		SkipDefaultTransaction: true,
		TranslateError:         true,
		Logger:                 logger.Discard,
	})
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return handle, nil
}

// postgresPool returns a pool whose connections keep what they acknowledge, with a health and a pace of its own.
// statementTimeout 0 means none.
func postgresPool(ctx context.Context, config *pgx.ConnConfig, c Config, statementTimeout time.Duration) (*sql.DB, *poolHealth) {
	config = config.Copy()
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "signet"
	}
	// A peer that vanished without a word is noticed after 8 s even by a connection that only waits.
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 5 * time.Second, Interval: time.Second, Count: 3,
	}}
	// Each host of the URL has the timeout for itself, and then the session.
	pacer := newPacer(ctx, c.MaxConns, time.Duration(2+len(config.Fallbacks))*config.ConnectTimeout)
	health := &poolHealth{log: c.Log, base: time.Now(), pacer: pacer}
	config.DialFunc = pacer.dial(dialer)
	config.Tracer = health
	config.OnNotice = health.notice
	pool := pacer.open(stdlib.GetConnector(*config,
		stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
			health.opened(conn)
			ctx, cancel := context.WithTimeout(ctx, config.ConnectTimeout)
			defer cancel()
			err := prepareSession(ctx, conn, c.InsecureSkipFsyncCheck, statementTimeout)
			if err != nil {
				_ = conn.Close(ctx) // stdlib does not
			}
			return err
		}),
		stdlib.OptionShouldPing(func(context.Context, stdlib.ShouldPingParams) bool { return false }),
		stdlib.OptionResetSession(health.reset)))
	pool.SetConnMaxLifetime(connLifetime)
	return pool, health
}

// prepareSession sets what every connection must have, whatever the role's and the database's defaults are, and refuses a
// server that does not keep its word. It runs for each new connection, because behind the same address there may be another
// server by then.
//
// A transaction that idles is ended by the server: a replica that is frozen in the middle of one would stop all others. No
// statement is worth compiling: of tables that it has no statistics of yet, PostgreSQL may think otherwise, and take a third
// of a second for the poll that has to be done five times in one.
func prepareSession(ctx context.Context, conn *pgx.Conn, skipFsync bool, statementTimeout time.Duration) error {
	var recovering bool
	var fsync string
	var ignored string
	err := conn.QueryRow(ctx, `SELECT pg_is_in_recovery(), current_setting('fsync'),
		set_config('synchronous_commit', 'on', false), set_config('statement_timeout', $1, false),
		set_config('idle_in_transaction_session_timeout', $1, false), set_config('jit', 'off', false)`,
		pgx.QueryExecModeExec, milliseconds(statementTimeout)).Scan(&recovering, &fsync, &ignored, &ignored, &ignored, &ignored)
	if err != nil {
		return fmt.Errorf("prepare connection: %w", err)
	}
	if recovering {
		return ErrRecovery
	}
	if fsync != "on" && !skipFsync {
		return fmt.Errorf("%w: fsync is %s", ErrNotDurable, fsync)
	}
	return nil
}
