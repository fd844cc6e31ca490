package pgtest

import (
	"context"
	"fmt"
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

// says asks the server a question of yes or no.
func (s *Server) says(query string) (bool, error) {
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		return false, fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var yes bool
	if err := conn.QueryRow(ctx, query).Scan(&yes); err != nil {
		return false, fmt.Errorf("ask %q: %w", query, err)
	}
	return yes, nil
}
