package stepproxy_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/internal/servertest/redistest"
	"github.com/seed-1972b8eb/signet/internal/servertest/stepproxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestPostgres strikes at each request of a transaction once: the database has done it, and the client never hears of it.
func TestPostgres(t *testing.T) {
	t.Parallel()
	database := pgtest.Open(t)
	pgtest.Exec(t, database, "CREATE TABLE done (n bigint)")
	proxy := stepproxy.New(t, func(request string) bool { return request == "SELECT 1" })
	through := proxy.Postgres(database)
	var steps []string
	for n := range 10 {
		var strikes atomic.Int32
		proxy.Arm(func() { strikes.Add(1) })
		err := transaction(t.Context(), through, n)
		step, delivered := proxy.Disarm()
		if step == "" {
			if err != nil || strikes.Load() != 0 {
				t.Errorf("not struck: %v, %d strikes", err, strikes.Load())
			}
			break
		}
		if err == nil || strikes.Load() != 1 || delivered[len(delivered)-1] != step {
			t.Errorf("struck at %q of %q: %v, %d strikes", step, delivered, err, strikes.Load())
		}
		steps = append(steps, step)
		committed := int64(strings.Count(step, "commit"))
		if rows := pgtest.Exec(t, database, "DELETE FROM done WHERE n = $1", n); rows != committed {
			t.Errorf("struck at %q: %d rows, want %d", step, rows, committed)
		}
	}
	const insert = "begin\nINSERT INTO done VALUES ($1)"
	if want := []string{"begin", insert, insert + "\ncommit", "DELETE FROM done"}; !slices.Equal(steps, want) {
		t.Errorf("struck at %q, want %q", steps, want)
	}
}

// transaction makes requests by the simple and by the extended protocol.
func transaction(ctx context.Context, database string, n int) error {
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "SELECT 1"); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "INSERT INTO done\n VALUES ($1)", n); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "DELETE FROM done", pgx.QueryExecModeSimpleProtocol)
	return err
}

// TestRedis strikes at a pipeline as a whole, and after Forget again.
func TestRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := stepproxy.New(t, func(string) bool { return false })
	through := proxy.Redis(server.URL())
	for _, want := range []string{"zadd gt; del", "", "zadd gt; del"} {
		if want != "" {
			proxy.Forget()
		}
		server.Do("FLUSHALL")
		proxy.Arm(func() {})
		answer := pipeline(t, through, "AUTH "+password(t, through), "ZADD signet:1 gt 1 t:member", "del signet:2", "ECHO 1")
		if step, _ := proxy.Disarm(); step != want {
			t.Errorf("struck at %q, want %q", step, want)
		}
		if (answer == "") != (want != "") {
			t.Errorf("struck at %q: the client heard %q", want, answer)
		}
		if members := server.Do("ZCARD", "signet:1"); members != "1" {
			t.Errorf("struck at %q: %s members, want 1", want, members)
		}
	}
}

func password(t *testing.T, server string) string {
	t.Helper()
	parsed, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := parsed.User.Password()
	return text
}

// pipeline sends commands in one write and returns what comes first.
func pipeline(t *testing.T, server string, commands ...string) string {
	t.Helper()
	parsed, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", parsed.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	var all strings.Builder
	for _, command := range commands {
		words := strings.Fields(command)
		_, _ = fmt.Fprintf(&all, "*%d\r\n", len(words))
		for _, word := range words {
			_, _ = fmt.Fprintf(&all, "$%d\r\n%s\r\n", len(word), word)
		}
	}
	if _, err := conn.Write([]byte(all.String())); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 1024)
	n, _ := conn.Read(answer) // nothing where the connection ends
	return string(answer[:n])
}
