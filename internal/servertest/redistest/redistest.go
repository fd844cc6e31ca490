// Package redistest gives tests real Redis servers: Open an empty database of a shared server, Start a private
// server that the test may kill, stop, freeze or fill. Processes and directories are package daemon's business.
package redistest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

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

// Open returns the URL of an empty database, which is the test's alone until it ends and is emptied then. The
// server is the one that TEST_REDIS_URL names, or else one that all test processes of this user share; it
// disappears a few seconds after the last of them. Keys are separate; channels of PUBLISH, CONFIG, FLUSHALL and
// scripts are not: tests of these use Start.
func Open(t testing.TB) string {
	t.Helper()
	server := os.Getenv("TEST_REDIS_URL")
	if server == "" {
		server = sharedURL(t)
	}
	conn, err := dial(server)
	if err != nil {
		t.Fatalf("connect to the Redis of all tests: %v", err)
	}
	defer conn.close()
	number, err := claim(conn)
	if err != nil {
		t.Fatalf("find an empty Redis database: %v", err)
	}
	t.Cleanup(func() {
		if err := release(server, number); err != nil {
			t.Errorf("empty the Redis database of the test: %v", err)
		}
	})
	parsed, err := url.Parse(server)
	if err != nil {
		t.Fatalf("parse Redis URL: %v", err)
	}
	parsed.Path = "/" + strconv.Itoa(number)
	return parsed.String()
}

func sharedURL(t testing.TB) string {
	t.Helper()
	redis := program().Require(t)
	joined.Lock()
	defer joined.Unlock()
	if joined.member == nil && joined.err == nil {
		joined.member, joined.err = daemon.Shared{
			Key:   "redis",
			Stop:  syscall.SIGKILL, // what it holds is worth nothing
			Users: users(),
			Alive: ping,
			Start: func(home *daemon.Home) (string, error) {
				started, err := start(redis, home, plain(rand.Text(), nil))
				if err != nil {
					return "", err
				}
				return started.url, nil
			},
		}.Join()
	}
	if joined.err != nil {
		t.Fatalf("start the shared Redis: %v", joined.err)
	}
	return joined.member.URL
}

// Database 0 holds one key for each database in use. The keys expire, so that killed tests do not use up the 16
// databases of an ordinary server.
const (
	claimPrefix  = "signet-test:database:"
	claimSeconds = "7200"
)

// claim returns a database that was empty and is now nobody else's; it waits while all are in use.
func claim(c *client) (int, error) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		for number := 1; ; number++ {
			free, err := claimOne(c, number)
			if err != nil && strings.Contains(err.Error(), "out of range") {
				break
			}
			if err != nil {
				return 0, err
			}
			if free {
				return number, nil
			}
		}
		time.Sleep(50 * time.Millisecond) //nolint:forbidigo // polls the server
	}
	return 0, errors.New("all databases have been in use for a minute")
}

func claimOne(c *client, number int) (bool, error) {
	key := claimPrefix + strconv.Itoa(number)
	if _, err := c.do("SELECT", strconv.Itoa(number)); err != nil {
		return false, err
	}
	size, err := c.do("DBSIZE")
	if err != nil {
		return false, err
	}
	if _, err := c.do("SELECT", "0"); err != nil {
		return false, err
	}
	if size != "0" { // in use, or somebody's data
		return false, nil
	}
	_, err = c.do("SET", key, strconv.Itoa(os.Getpid()), "NX", "EX", claimSeconds)
	if errors.Is(err, errNil) {
		return false, nil
	}
	return err == nil, err
}

func release(server string, number int) error {
	c, err := dial(server)
	if err != nil {
		return err
	}
	defer c.close()
	for _, command := range [][]string{
		{"SELECT", strconv.Itoa(number)},
		{"FLUSHDB"},
		{"SELECT", "0"},
		{"DEL", claimPrefix + strconv.Itoa(number)},
	} {
		if _, err := c.do(command...); err != nil {
			return fmt.Errorf("release database %d: %w", number, err)
		}
	}
	return nil
}
