package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// poolHealth drops pooled connections that were there already when a statement began whose connection failed: after an
// outage in which connections went half-open, each of them would otherwise cost some caller a timeout. What was opened since
// has shown that it works. New ones are made at the pacer's pace.
type poolHealth struct {
	log    *slog.Logger
	pacer  *pacer
	base   time.Time    // moments are counted from here, on the monotonic clock
	failed atomic.Int64 // when the last statement began whose connection failed, in nanoseconds; 0: none has

	mu     sync.Mutex
	logged time.Time // when a failure last was

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

// Keys under which a connection carries when it was opened, and when its last statement began.
const (
	openedAt = "signet.opened_at"
	begunAt  = "signet.begun_at"
)

func (h *poolHealth) opened(conn *pgx.Conn) {
	conn.PgConn().CustomData()[openedAt] = int64(time.Since(h.base))
}

// TraceQueryStart implements pgx.QueryTracer.
func (h *poolHealth) TraceQueryStart(ctx context.Context, conn *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	conn.PgConn().CustomData()[begunAt] = int64(time.Since(h.base))
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer. A caller that went away says nothing about the server. What is asked of a connection
// that is closed already, such as to roll back, says nothing new, and one that is being made nothing about those that there are.
func (h *poolHealth) TraceQueryEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryEndData) {
	if data.Err == nil || !conn.IsClosed() || ctx.Value(connectKey{}) != nil ||
		errors.Is(data.Err, context.Canceled) || errors.Is(data.Err, pgconn.ErrConnClosed) {
		return
	}
	h.pacer.lost()
	begun, _ := conn.PgConn().CustomData()[begunAt].(int64)
	if h.noteFailure(begun) {
		h.log.LogAttrs(ctx, slog.LevelWarn, "database connection failed", slog.String("error", data.Err.Error()))
	}
}

// noteFailure notes when the statement began whose connection failed, and says whether the log should hear of it.
func (h *poolHealth) noteFailure(begun int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed.Store(max(h.failed.Load(), begun))
	quiet := !h.logged.IsZero() && time.Since(h.logged) < logEvery
	if !quiet {
		h.logged = time.Now()
	}
	return !quiet
}

// reset runs before a pooled connection is used again. It costs no round trip: CheckConn reads what the kernel has.
func (h *poolHealth) reset(_ context.Context, conn *pgx.Conn) error {
	opened, _ := conn.PgConn().CustomData()[openedAt].(int64)
	//nolint:staticcheck // what it recommends instead costs a round trip; what this misses, the statement finds
	if opened <= h.failed.Load() || conn.PgConn().CheckConn() != nil {
		h.pacer.lost() // before database/sql makes another in its place
		return driver.ErrBadConn
	}
	return nil
}
