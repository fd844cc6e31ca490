package sqlstore_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/servertest/faultproxy"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

// asking has callers that ask each database again and again. It returns what stops them.
func asking(t *testing.T, callers int, dbs ...*sqlstore.DB) func() {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for _, db := range dbs {
		for range callers {
			group.Go(func() {
				for ctx.Err() == nil {
					_, _ = check(ctx, db, revocations.Token{JTI: "j"})
				}
			})
		}
	}
	return func() {
		cancel()
		group.Wait()
	}
}

// TestResetStorm resets all connections of three replicas again and again, in front of a server that starts twelve sessions
// a second. What the replicas try meanwhile waits in its queue, and must not be more than it gets rid of in time.
func TestResetStorm(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	slow := faultproxy.New(t, server.Addr())
	network := faultproxy.New(t, slow.Addr())
	config := sqlstore.Config{Driver: "postgres", URL: network.URL(server.URL()), MaxConns: 16}
	replicas := []*sqlstore.DB{migrated(t, config), open(t, config), open(t, config)}
	for _, db := range replicas {
		busy(t, db)
	}
	slow.SetStart(80 * time.Millisecond)
	before := slow.Accepted()
	defer func() { t.Logf("%d connections", slow.Accepted()-before) }()
	defer asking(t, 12, replicas...)()
	for range 30 {
		network.Reset()
		time.Sleep(25 * time.Millisecond)
	}
	start := time.Now()
	for _, db := range replicas {
		recovers(t, db, start)
	}
}

// TestConnectionsNotMade has a server that takes no more connections, while the one that there is works.
func TestConnectionsNotMade(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	full := faultproxy.New(t, server.Addr())
	network := faultproxy.New(t, full.Addr())
	db := migrated(t, sqlstore.Config{Driver: "postgres", URL: network.URL(server.URL()), MaxConns: 16})
	full.SetStart(time.Minute)
	var group sync.WaitGroup
	group.Go(func() {
		if _, err := db.ReadText(t.Context(), false, "SELECT 'long' FROM pg_sleep(3.5)"); err != nil {
			t.Errorf("the connection that there is: %v", err)
		}
	})
	for db.Pools()["all"].Stats().InUse == 0 {
	}
	before := network.Accepted()
	stop := asking(t, 12, db)
	group.Wait()
	stop()
	// Twelve at first, and then one a second, which is how long each is waited for.
	if tried := network.Accepted() - before; tried < 12 || tried > 18 {
		t.Errorf("tried %d connections in three seconds and a half, want 12 to 18", tried)
	}
}

// TestConnectionNotReady connects to a server that lets in and then says nothing any more.
func TestConnectionNotReady(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	defer group.Wait()
	defer func() { _ = listener.Close() }()
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() { letIn(conn) })
		}
	})
	fails(t, "open", 3*time.Second, func() error {
		_, err := sqlstore.Open(t.Context(), sqlstore.Config{
			Driver: "postgres", URL: "postgres://nobody@" + listener.Addr().String() + "/x?sslmode=disable&connect_timeout=1",
		})
		return err
	})
}

// letIn makes a session and answers no statement.
func letIn(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	backend := pgproto3.NewBackend(conn, conn)
	if message, err := backend.ReceiveStartupMessage(); err != nil {
		return
	} else if _, session := message.(*pgproto3.StartupMessage); !session {
		return
	}
	backend.Send(&pgproto3.AuthenticationOk{})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	if backend.Flush() != nil {
		return
	}
	for {
		message, err := backend.Receive()
		if _, bye := message.(*pgproto3.Terminate); bye || err != nil {
			return
		}
	}
}

// TestOpenedSince has a connection fail that waited for a statement while another was opened, which has shown that it works.
func TestOpenedSince(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	config := sqlstore.Config{Driver: "postgres", URL: server.URL(), MaxConns: 2}
	db, beside := migrated(t, config), open(t, config)
	read := func(db *sqlstore.DB, query string) string {
		text, err := db.ReadText(t.Context(), false, query)
		if err != nil {
			t.Error(err)
		}
		return text
	}
	var group sync.WaitGroup
	group.Go(func() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := db.ReadText(ctx, false, "SELECT 'long' FROM pg_sleep(4)"); err == nil {
			t.Error("the statement had more time than it was given")
		}
	})
	for read(beside, "SELECT count(*)::text FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT ''long''%'") == "0" {
	}
	before := read(db, "SELECT pg_backend_pid()::text")
	group.Wait()
	if after := read(db, "SELECT pg_backend_pid()::text"); after != before {
		t.Errorf("process %s was left for %s", before, after)
	}
}
