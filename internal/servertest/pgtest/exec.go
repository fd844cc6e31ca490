package pgtest

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Exec runs one statement in the database and returns how many rows it touched. It is for tests that move a time which
// they cannot wait for.
func Exec(t testing.TB, database, statement string, args ...any) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	tag, err := conn.Exec(ctx, statement, args...)
	if err != nil {
		t.Fatalf("run %q: %v", statement, err)
	}
	return tag.RowsAffected()
}
