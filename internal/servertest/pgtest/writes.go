package pgtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Writes returns how many rows have been inserted, updated and deleted in the server's database so far, as
// PostgreSQL counts them.
func (s *Server) Writes(t testing.TB) int64 {
	t.Helper()
	return Writes(t, s.URL())
}

// Writes returns how many rows of user tables have been inserted, updated and deleted in the database so far,
// rolled back ones included. Every transaction that ended before the call is counted; for that it may wait: 1 s
// while other connections are busy, 10 s if they idle since their last write, not at all if there are none.
// It needs PostgreSQL 15.
func Writes(t testing.TB, database string) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		t.Fatalf("connect to count writes: %v", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := awaitStatistics(ctx, conn); err != nil {
		t.Fatalf("wait for the statistics: %v", err)
	}
	var rows int64
	err = conn.QueryRow(ctx, `SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint
		FROM pg_stat_user_tables`).Scan(&rows)
	if err != nil {
		t.Fatalf("count writes: %v", err)
	}
	return rows
}

// Transactions returns a number that grows by one with each transaction of the whole server that wrote anything
// (or locked a row), without waiting. Unlike Writes it counts a batch as one.
func (s *Server) Transactions(t testing.TB) int64 {
	t.Helper()
	conn, err := pgx.Connect(s.ctx, s.URL())
	if err != nil {
		t.Fatalf("connect to count transactions: %v", err)
	}
	defer func() { _ = conn.Close(s.ctx) }()
	var next int64
	const query = `SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint`
	if err := conn.QueryRow(s.ctx, query).Scan(&next); err != nil {
		t.Fatalf("count transactions: %v", err)
	}
	return next
}

// unreported counts connections whose last numbers may be missing from the statistics. A connection reports on
// becoming idle if its last report is a second old, else ten seconds later at the latest, or a while more on a busy
// machine. So all that happened before $1 has been reported by whoever became idle a second after it, or has been
// idle for twelve.
const unreported = `SELECT count(*) FROM pg_stat_activity
	WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
	AND NOT (state = 'idle' AND (state_change > $1::timestamptz + interval '1.1 s'
		OR state_change < clock_timestamp() - interval '12 s'))`

func awaitStatistics(ctx context.Context, conn *pgx.Conn) error {
	var start time.Time
	var version int
	const query = `SELECT clock_timestamp(), current_setting('server_version_num')::int`
	if err := conn.QueryRow(ctx, query).Scan(&start, &version); err != nil {
		return fmt.Errorf("read the server's clock: %w", err)
	}
	if version < 150000 {
		return fmt.Errorf("PostgreSQL %d does not report in bounded time: 15 is needed", version/10000)
	}
	for {
		var waiting int
		if err := conn.QueryRow(ctx, unreported, start).Scan(&waiting); err != nil {
			return fmt.Errorf("read pg_stat_activity: %w", err)
		}
		if waiting == 0 {
			return nil
		}
		time.Sleep(20 * time.Millisecond) //nolint:forbidigo // polls the server
	}
}
