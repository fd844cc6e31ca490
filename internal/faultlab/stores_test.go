package faultlab

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest/faultproxy"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/internal/servertest/redistest"
	_ "github.com/seed-1972b8eb/signet/internal/sqlstore" // registers the driver of PostgreSQL
)

// stores are the servers that the replicas share, with one line to each for each replica.
type stores struct {
	postgres *pgtest.Server
	direct   *sql.DB // to PostgreSQL, past all proxies
	redis    [2]*redistest.Server
	primary  atomic.Int32 // the Redis that clients are led to; the other one is the standby
	lines    []*line
}

// line is how one replica reaches the stores.
type line struct {
	postgres, redis *faultproxy.Proxy
	relay           *relay // behind the proxy of Redis
}

// startStores starts all of it; settings are PostgreSQL's.
func startStores(t testing.TB, replicas int, settings ...string) *stores {
	t.Helper()
	// One call in place of one for each file makes PostgreSQL's recovery six times faster, and no less safe.
	s := &stores{postgres: pgtest.Start(t, append([]string{"recovery_init_sync_method=syncfs"}, settings...)...)}
	for i := range s.redis {
		s.redis[i] = redistest.Start(t, redisSettings()...)
	}
	for range replicas {
		r := newRelay(t, s.redis[0].Addr())
		s.lines = append(s.lines, &line{
			postgres: faultproxy.New(t, s.postgres.Addr()), redis: faultproxy.New(t, r.addr()), relay: r,
		})
	}
	s.direct = openPostgres(t, s.postgres.URL())
	s.direct.SetMaxIdleConns(0) // one that is kept may have been killed since
	return s
}

// startSlowly has PostgreSQL take a while for each connection of a replica, one after the other.
func (s *stores) startSlowly(t testing.TB, each time.Duration) {
	t.Helper()
	slow := faultproxy.New(t, s.postgres.Addr())
	slow.SetStart(each)
	for _, line := range s.lines {
		line.postgres.Point(slow.Addr())
	}
}

func openPostgres(t testing.TB, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// redisURL is what a server is told; the address in it is replaced by that of its line.
func redisURL(addr string) string {
	return fmt.Sprintf("redis://%s:%s@%s/0", redisUser, redisPassword, addr)
}

// master and standby are the addresses of the servers in these roles.
func (s *stores) master() string  { return s.primaryRedis().Addr() }
func (s *stores) standby() string { return s.redis[1-s.primary.Load()].Addr() }

func (s *stores) primaryRedis() *redistest.Server { return s.redis[s.primary.Load()] }

// exec runs a statement past all proxies.
func (s *stores) exec(ctx context.Context, statement string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := s.direct.ExecContext(ctx, statement, args...)
	return err
}

// row shows the first row that a query returns, or why there is none.
func (s *stores) row(ctx context.Context, query string, args ...any) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var text string
	// One query shows any table, whatever its columns.
	if err := s.direct.QueryRowContext(ctx, "SELECT row_to_json(x)::text FROM ("+query+" LIMIT 1) x", args...).Scan(&text); err != nil {
		return "? " + err.Error()
	}
	return text
}

// describeRedis shows who a Redis is and what it knows of members of the sets in it.
func describeRedis(addr string, members ...string) string {
	answers, err := askRedis(addr, []string{"INFO"}, []string{"KEYS", "signet:rev:*"})
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "role %s, run_id %s, replid %s, up %s s", infoField(answers[0], "role"), infoField(answers[0], "run_id"),
		infoField(answers[0], "master_replid"), infoField(answers[0], "uptime_in_seconds"))
	keys, _ := answers[1].([]any)
	for _, key := range keys {
		name, _ := key.(string)
		commands := [][]string{{"ZCARD", name}, {"ZRANGEBYSCORE", name, "0", "1", "WITHSCORES"}}
		for _, member := range members {
			commands = append(commands, []string{"ZSCORE", name, member})
		}
		found, err := askRedis(addr, commands...)
		if err != nil {
			fmt.Fprintf(&b, "\n  %s: %v", name, err)
			continue
		}
		fmt.Fprintf(&b, "\n  %s: %v members, markers %v", name, found[0], found[1])
		for i, member := range members {
			fmt.Fprintf(&b, ", %s %v", member, found[i+2])
		}
	}
	return b.String()
}
