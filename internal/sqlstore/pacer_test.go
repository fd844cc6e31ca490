package sqlstore_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/servertest/faultproxy"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

// asking has callers that ask each database again and again, as clients do that are refused. It returns what stops them.
func asking(t *testing.T, callers int, dbs ...*sqlstore.DB) func() {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for _, db := range dbs {
		for range callers {
			group.Go(func() {
				for ctx.Err() == nil {
					if _, err := check(ctx, db, revocations.Token{JTI: "j"}); err != nil {
						time.Sleep(10 * time.Millisecond)
					}
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
	config := sqlstore.Config{Driver: "postgres", URL: network.URL(server.URL()), MaxConns: 32}
	replicas := []*sqlstore.DB{migrated(t, config), open(t, config), open(t, config)}
	for _, db := range replicas {
		busy(t, db)
	}
	slow.SetStart(80 * time.Millisecond)
	stop := asking(t, 24, replicas...)
	before, began := network.Accepted(), time.Now()
	for range 30 {
		network.Reset()
		time.Sleep(25 * time.Millisecond)
	}
	// In 750 ms, 15 to 25 were seen, and 67 to 180 without one part of the pacer or another.
	start := time.Now()
	tried, most := network.Accepted()-before, int64(50*start.Sub(began)/(750*time.Millisecond))
	if int64(tried) > most {
		t.Errorf("tried %d connections in a storm of %v, want %d at most", tried, start.Sub(began), most)
	}
	var group sync.WaitGroup
	for _, db := range replicas {
		group.Go(func() {
			took, err := back(t, db, start)
			if t.Logf("back after %v, with %d connections tried in the storm", took.Round(time.Millisecond), tried); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	stop()
	slow.SetStart(0)
	for i, db := range replicas {
		full(t, fmt.Sprintf("replica %d", i), db, 20)
	}
}

// full wants that the pool comes to have so many connections again, under load.
func full(t *testing.T, name string, db *sqlstore.DB, conns int) {
	t.Helper()
	for deadline := time.Now().Add(backWithin); ; {
		pids, err := processes(t.Context(), db)
		if err == nil && len(pids) == conns {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %d connections after %v (%v), want %d", name, len(pids), backWithin, err, conns)
		}
	}
}

// asleep waits until so many statements sleep at the server. That a connection is in use says less: it may not have been asked.
func asleep(t *testing.T, server *pgtest.Server, statements int) {
	t.Helper()
	await(t, dial(t, sqlstore.Config{URL: server.URL()}), nil,
		fmt.Sprintf("count(*) = %d FROM pg_stat_activity WHERE wait_event = 'PgSleep'", statements))
}

// TestConnectionsNotMade has a server that takes no more connections, while the two that there are work, one of them at
// something long.
func TestConnectionsNotMade(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	closed := faultproxy.New(t, server.Addr())
	network := faultproxy.New(t, closed.Addr())
	db := migrated(t, sqlstore.Config{Driver: "postgres", URL: network.URL(server.URL()), MaxConns: 16})
	var group sync.WaitGroup
	long := func(seconds string) {
		group.Go(func() {
			if _, err := db.ReadText(t.Context(), false, "SELECT 'long' FROM pg_sleep("+seconds+")"); err != nil {
				t.Errorf("a connection that there is: %v", err)
			}
		})
	}
	long("0.2")
	long("0.2")
	group.Wait()
	long("3.5")
	asleep(t, server, 1)
	closed.SetStart(time.Minute)
	before := network.Accepted()
	stop := asking(t, 12, db)
	time.Sleep(1500 * time.Millisecond)
	first := network.Accepted() - before // all at once, because none had broken
	answered := 0
	for range 100 {
		if _, err := check(t.Context(), db, revocations.Token{JTI: "j"}); err == nil {
			answered++
		}
	}
	group.Wait()
	stop()
	// Two seconds are given to each. After the first, one at a time.
	if later := network.Accepted() - before - first; first > 13 || later < 1 || later > 4 {
		t.Errorf("tried %d connections at first and %d later, want up to 13 and then 1 to 4", first, later)
	}
	if answered < 90 {
		t.Errorf("%d of 100 were answered by the connection that works, want 90 at least", answered)
	}
	closed.SetStart(0)
	full(t, "afterwards", db, 16)
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("did not %s within 10 s", what)
		}
	}
}

// TestConnectionNotReady connects to a server that lets in and then says nothing any more.
func TestConnectionNotReady(t *testing.T) {
	t.Parallel()
	url := "postgres://nobody@" + silent(t) + "/x?sslmode=disable&connect_timeout=3"
	began := time.Now()
	fails(t, "open", 4500*time.Millisecond, func() error {
		_, err := sqlstore.Open(t.Context(), sqlstore.Config{Driver: "postgres", URL: url})
		return err
	})
	if took := time.Since(began); took < 3*time.Second {
		t.Errorf("given up after %v, want the 3 s of the URL", took)
	}
}

// silent starts a server that makes sessions and answers no statement, and returns its address.
func silent(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	t.Cleanup(group.Wait)
	t.Cleanup(func() { _ = listener.Close() })
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() { letIn(conn) })
		}
	})
	return listener.Addr().String()
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
	for name, ask := range map[string]func(*sqlstore.DB, context.Context, string) (string, error){
		"statement": func(db *sqlstore.DB, ctx context.Context, query string) (string, error) {
			return db.ReadText(ctx, false, query)
		},
		"transaction": (*sqlstore.DB).TransactText,
	} {
		db := migrated(t, sqlstore.Config{Driver: "postgres", URL: server.URL(), MaxConns: 2})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if _, err := ask(db, ctx, "SELECT 'long' FROM pg_sleep(4)"); err == nil {
				t.Errorf("%s: it had more time than it was given", name)
			}
		}()
		asleep(t, server, 1)
		before := process(t, db)
		select {
		case <-ended:
			t.Fatalf("%s: it ended before another connection was opened, which proves nothing", name)
		default:
		}
		<-ended
		if after := process(t, db); after != before {
			t.Errorf("%s: process %s was left for %s", name, before, after)
		}
	}
}

// process returns the server's process that answers.
func process(t *testing.T, db *sqlstore.DB) string {
	t.Helper()
	pid, err := db.ReadText(t.Context(), false, "SELECT pg_backend_pid()::text")
	if err != nil {
		t.Error(err)
	}
	return pid
}

// TestCallerGoesAway has a caller hang up in the middle of a transaction, which says nothing about any other connection.
func TestCallerGoesAway(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	db := migrated(t, sqlstore.Config{Driver: "postgres", URL: server.URL(), MaxConns: 2})
	before := backends(t, db)
	ctx, hangUp := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := db.TransactText(ctx, "SELECT 'long' FROM pg_sleep(4)")
		ended <- err
	}()
	asleep(t, server, 1)
	other := process(t, db)
	hangUp()
	if err := <-ended; err == nil {
		t.Error("the transaction did not notice")
	}
	if after := process(t, db); !before[other] || after != other {
		t.Errorf("process %s was left for %s", other, after)
	}
}

// TestAttemptOutlivesItsCaller makes a connection that takes longer than any caller waits.
func TestAttemptOutlivesItsCaller(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	far := faultproxy.New(t, server.Addr())
	db := migrated(t, sqlstore.Config{Driver: "postgres", URL: far.URL(server.URL()), MaxConns: 4})
	far.Reset()
	far.SetStart(700 * time.Millisecond)
	var err error
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err = db.ReadText(ctx, false, "SELECT 'short'")
		cancel()
	}
	if err != nil {
		t.Errorf("after a second and a half: %v", err)
	}
}

// TestResetInMidStatement resets connections that are all at work. A pool that went on counting them would make all of them
// anew at once.
func TestResetInMidStatement(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	slow := faultproxy.New(t, server.Addr())
	network := faultproxy.New(t, slow.Addr())
	db := migrated(t, sqlstore.Config{Driver: "postgres", URL: network.URL(server.URL()), MaxConns: 16})
	full(t, "before", db, 16)
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			if _, err := db.ReadText(t.Context(), false, "SELECT 'long' FROM pg_sleep(4)"); err == nil {
				t.Error("the statement did not notice")
			}
		})
	}
	asleep(t, server, 16)
	slow.SetStart(500 * time.Millisecond)
	before := network.Accepted()
	network.Reset()
	group.Wait()
	stop := asking(t, 16, db)
	time.Sleep(400 * time.Millisecond)
	// One is being made, and one asks the server to cancel.
	if tried := network.Accepted() - before; tried > 4 {
		t.Errorf("tried %d connections at once, want 4 at most", tried)
	}
	stop()
}

// TestWaitingIsWoken has a caller wait for a connection while none can be made and the one that there is is taken. It gets one
// as soon as they can be made again, though nobody else asks.
func TestWaitingIsWoken(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	closed := faultproxy.New(t, server.Addr())
	db := migrated(t, sqlstore.Config{Driver: "postgres", URL: closed.URL(server.URL()), MaxConns: 4})
	pool := db.Pools()["all"]
	ended := make(chan time.Time, 3)
	read := func(query string, fails bool) {
		go func() {
			if _, err := db.ReadText(t.Context(), false, query); (err != nil) != fails {
				t.Errorf("%s: %v", query, err)
			}
			ended <- time.Now()
		}()
	}
	read("SELECT 'long' FROM pg_sleep(4.5)", false)
	asleep(t, server, 1)
	closed.SetStart(time.Minute)
	// The first of the others has a connection made, which fails after two seconds, and lets the pool be no larger than that.
	read("SELECT 'first'", true)
	eventually(t, "try", func() bool { return pool.Stats().OpenConnections == 2 })
	pool.SetMaxOpenConns(2)
	read("SELECT 'second'", false)
	eventually(t, "wait", func() bool { return pool.Stats().WaitCount == 1 })
	failed := <-ended
	closed.SetStart(0)
	if waited := (<-ended).Sub(failed); waited > time.Second {
		t.Errorf("waited %v after connections could be made again", waited)
	}
	<-ended
}

// TestRefusedServerIsLeft has servers that must not be used, and sessions with them that must not stay.
func TestRefusedServerIsLeft(t *testing.T) {
	t.Parallel()
	config := fresh(t, "postgres")
	watch := open(t, config)
	config.InsecureSkipFsyncCheck = false
	config.URL += "&application_name=refused"
	for range 5 {
		if _, err := sqlstore.Open(t.Context(), config); !errors.Is(err, sqlstore.ErrNotDurable) {
			t.Fatalf("Open: %v", err)
		}
	}
	left, err := watch.ReadText(t.Context(), false, "SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'refused'")
	if err != nil || left > "2" { // which may be ending
		t.Errorf("%s of 5 sessions stayed, %v", left, err)
	}
}

// TestOthersOutliveAnAttempt has a server that lets one in and says nothing more, which says nothing about those that work.
func TestOthersOutliveAnAttempt(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	network := faultproxy.New(t, server.Addr())
	db := migrated(t, sqlstore.Config{Driver: "postgres", URL: network.URL(server.URL()) + "&connect_timeout=1", MaxConns: 4})
	before := process(t, db)
	network.Point(silent(t))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if _, err := db.ReadText(t.Context(), false, "SELECT 'long' FROM pg_sleep(2)"); err != nil {
			t.Error(err)
		}
	}()
	asleep(t, server, 1)
	if text, err := db.ReadText(t.Context(), false, "SELECT 'other'"); err == nil {
		t.Errorf("a connection was made to a server that says nothing: %s", text)
	}
	<-ended
	if after := process(t, db); after != before {
		t.Errorf("process %s was left for %s", before, after)
	}
}

// TestPauses counts what is tried while no connection can be made. One that is refused costs the server nothing.
func TestPauses(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	network := faultproxy.New(t, server.Addr())
	nowhere := faultproxy.New(t, server.Addr())
	nowhere.Cut()
	db := migrated(t, sqlstore.Config{Driver: "postgres", URL: network.URL(server.URL()), MaxConns: 4})
	tried := func() int {
		n := 0
		for deadline := time.Now().Add(4 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if _, err := check(t.Context(), db, revocations.Token{JTI: "j"}); err == nil {
				t.Fatal("a connection was made")
			} else if !strings.Contains(err.Error(), "postponed") {
				n++
			}
		}
		return n
	}
	network.Point(nowhere.Addr()) // which accepts, and then resets
	network.Reset()
	if n := tried(); n < 10 || n > 20 { // 7 when the pauses go on doubling, 80 when they never do
		t.Errorf("tried %d connections that are reset in four seconds, want 10 to 20", n)
	}
	network.Cut()
	if n := tried(); n < 30 {
		t.Errorf("tried %d connections that are refused in four seconds, want 30 at least", n)
	}
}
