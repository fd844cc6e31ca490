package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// poolHealth drops pooled connections that are as old as one that has just failed: after an outage in which connections
// went half-open, each of them would otherwise cost some caller a timeout.
type poolHealth struct {
	log    *slog.Logger
	base   time.Time    // moments are counted from here, on the monotonic clock
	failed atomic.Int64 // when a connection last failed, in nanoseconds; 0: never

	unreplicated atomic.Int64 // commits that PostgreSQL has acknowledged and perhaps not replicated
}

// notice counts commits that waited for the synchronous standby and were told to wait no longer. PostgreSQL calls them a
// success, with a warning. Its words depend on the server's language; the name of the function it comes from does not.
func (h *poolHealth) notice(_ *pgconn.PgConn, notice *pgconn.Notice) {
	if notice.Routine == "SyncRepWaitForLSN" {
		h.unreplicated.Add(1)
	}
}

// logEvery keeps an outage from filling the log.
const logEvery = 10 * time.Second

// openedAt is the key under which a connection carries when it was opened.
const openedAt = "signet.opened_at"

func (h *poolHealth) opened(conn *pgx.Conn) {
	conn.PgConn().CustomData()[openedAt] = int64(time.Since(h.base))
}

// TraceQueryStart implements pgx.QueryTracer.
func (h *poolHealth) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer. A caller that went away says nothing about the server.
func (h *poolHealth) TraceQueryEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryEndData) {
	if data.Err != nil && conn.IsClosed() && !errors.Is(data.Err, context.Canceled) {
		now := int64(time.Since(h.base))
		before := h.failed.Swap(now)
		if before == 0 || time.Duration(now-before) > logEvery {
			h.log.LogAttrs(ctx, slog.LevelWarn, "database connection failed", slog.String("error", data.Err.Error()))
		}
	}
}

// reset runs before a pooled connection is used again. It costs no round trip: CheckConn reads what the kernel has.
func (h *poolHealth) reset(_ context.Context, conn *pgx.Conn) error {
	opened, _ := conn.PgConn().CustomData()[openedAt].(int64)
	//nolint:staticcheck // what it recommends instead costs a round trip; what this misses, the statement finds
	if opened <= h.failed.Load() || conn.PgConn().CheckConn() != nil {
		return driver.ErrBadConn
	}
	return nil
}
