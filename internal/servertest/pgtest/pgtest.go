// Package pgtest gives tests real PostgreSQL servers: Open a fresh database on a shared server, Start a private
// server that the test may kill, stop, freeze or fill. Processes and directories are package daemon's business.
package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
)

// joined is this process's share in the shared server. It is package state because the server's life is the
// process's life, not that of one test.
//
//nolint:gochecknoglobals // see above
var joined struct {
	sync.Mutex

	member *daemon.Member
	err    error
}

// Open returns the URL of a fresh, empty database, which is dropped when the test ends. The server is the one that
// TEST_POSTGRES_URL names, or else one that all test processes of this user share, without fsync; it disappears a
// few seconds after the last of them. Leave the server alone: tests that harm theirs use Start.
func Open(t testing.TB) string {
	t.Helper()
	server := os.Getenv("TEST_POSTGRES_URL")
	if server == "" {
		server = sharedURL(t)
	}
	name := "signet_test_" + strings.ToLower(rand.Text())
	database, err := withDatabase(server, name)
	if err != nil {
		t.Fatalf("TEST_POSTGRES_URL: %v", err)
	}
	ctx := context.WithoutCancel(t.Context()) // which is over when cleanups run
	// template0, because nobody can be connected to it; that would make CREATE DATABASE fail.
	if err := execute(ctx, server, "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		t.Fatalf("create a database for the test: %v", err)
	}
	t.Cleanup(func() {
		if err := execute(ctx, server, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop the database of the test: %v", err)
		}
	})
	return database
}

func sharedURL(t testing.TB) string {
	t.Helper()
	postgres := program().Require(t)
	ctx := context.WithoutCancel(t.Context())
	joined.Lock()
	defer joined.Unlock()
	if joined.member == nil && joined.err == nil {
		joined.member, joined.err = join(ctx, postgres)
	}
	if joined.err != nil {
		t.Fatalf("start the shared PostgreSQL: %v", joined.err)
	}
	return joined.member.URL
}

func join(ctx context.Context, postgres string) (*daemon.Member, error) {
	c, err := openCluster(ctx, postgres)
	if err != nil {
		return nil, err
	}
	return daemon.Shared{
		Key:   "postgres-" + c.version + "-" + layout,
		Stop:  syscall.SIGQUIT, // immediate shutdown: what it holds is worth nothing
		Users: users(),
		Alive: func(server string) error { return execute(ctx, server, "") },
		Start: func(home *daemon.Home) (string, error) {
			if err := c.populate(home); err != nil {
				return "", err
			}
			started, err := c.start(ctx, home, []string{
				"fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off",
				"max_wal_size=256MB", // it may live in memory
			})
			if err != nil {
				return "", err
			}
			return started.url, nil
		},
	}.Join()
}

// withDatabase returns the URL of another database of the same server.
func withDatabase(server, name string) (string, error) {
	parsed, err := url.Parse(server)
	if err != nil || parsed.Scheme == "" {
		return "", fmt.Errorf("not a postgres:// URL: %w", err)
	}
	parsed.Path = "/" + name
	return parsed.String(), nil
}

// execute connects, runs one statement and disconnects.
func execute(ctx context.Context, server, statement string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, statement); err != nil {
		return fmt.Errorf("run %q: %w", statement, err)
	}
	return nil
}
