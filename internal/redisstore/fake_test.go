package redisstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/servertest/redistest"
)

const (
	runID  = "1111111111111111111111111111111111111111"
	replID = "2222222222222222222222222222222222222222"
)

// fake answers commands as the test says, with what no Redis would answer too. Where the answer is empty it breaks the
// connection.
type fake struct {
	answers map[string]string
	broken  *atomic.Int64 // connections that it broke
}

// honest answers as a primary does that holds a complete set without entries.
func honest() fake {
	return fake{broken: new(atomic.Int64), answers: map[string]string{
		"info server":      bulk("# Server\r\nredis_version:7.0.15\r\nrun_id:" + runID + "\r\n"),
		"info replication": bulk("# Replication\r\nrole:master\r\nmaster_replid:" + replID + "\r\nmaster_replid2:0000\r\n"),
		"auth":             "+OK\r\n",
		"client setname":   "+OK\r\n",
		"client getname":   bulk(namePrefix + runID),
		"zmscore":          "*4\r\n$1\r\n1\r\n$-1\r\n$-1\r\n$-1\r\n",
	}}
}

func bulk(text string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(text), text) }

// start serves until the test ends and returns a Set that is connected to it.
func (f fake) start(t *testing.T) *Set {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			tasks.Go(func() { f.serve(conn) })
		}
	})
	t.Cleanup(func() { _ = listener.Close(); tasks.Wait() })
	return open(t, Config{URL: "redis://hunter1:hunter2@" + listener.Addr().String()}) // closed first: cleanups run backwards
}

func (f fake) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	reader := bufio.NewReader(conn)
	for {
		words, err := command(reader)
		if err != nil {
			return
		}
		name := strings.ToLower(words[0])
		if name == "info" || name == "client" {
			name += " " + strings.ToLower(words[1])
		}
		answer, known := f.answers[name]
		switch {
		case !known && name == "echo":
			answer = bulk(words[1])
		case !known:
			answer = "-ERR unknown command '" + words[0] + "', with args beginning with: '" + strings.Join(words[1:], "' '") + "'\r\n"
		}
		if answer == "" {
			f.broken.Add(1)
			return
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			return
		}
	}
}

func command(reader *bufio.Reader) ([]string, error) {
	line, err := reader.ReadString('\n')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(line[1:]))
	if err != nil {
		return nil, err
	}
	words := make([]string, n)
	for i := range words {
		if line, err = reader.ReadString('\n'); err != nil {
			return nil, err
		}
		length, err := strconv.Atoi(strings.TrimSpace(line[1:]))
		if err != nil {
			return nil, err
		}
		text := make([]byte, length+2)
		if _, err := io.ReadFull(reader, text); err != nil {
			return nil, err
		}
		words[i] = string(text[:length])
	}
	return words, nil
}

const fakeID = revocations.Identity(runID + "-" + replID + "-0")

func TestHonestFake(t *testing.T) {
	t.Parallel()
	wantRevoked(t, honest().start(t), fakeID, asked("alive"), false)
}

// TestUnprovenAnswers changes one answer of an honest server each. No answer may count.
func TestUnprovenAnswers(t *testing.T) {
	t.Parallel()
	replication := func(fields ...string) string {
		return bulk("# Replication\r\n" + strings.Join(fields, "\r\n") + "\r\n")
	}
	master, replid := "role:master", "master_replid:"+replID
	for name, tt := range map[string]struct {
		command, answer string
		want            error // nil: any
	}{
		"another run ID":            {"client getname", bulk(namePrefix + replID), revocations.ErrIdentity},
		"another replication ID":    {"info replication", replication(master, "master_replid:"+runID), revocations.ErrIdentity},
		"replica":                   {"info replication", replication("role:slave", replid), revocations.ErrIdentity},
		"no name":                   {"client getname", "$-1\r\n", nil},
		"somebody's name":           {"client getname", bulk("signet"), nil},
		"name without prefix":       {"client getname", bulk(runID), nil},
		"short run ID":              {"client getname", bulk(namePrefix + runID[1:]), nil},
		"name is a number":          {"client getname", ":1\r\n", nil},
		"name refused":              {"client getname", "-NOPERM no\r\n", nil},
		"no role":                   {"info replication", replication(replid), nil},
		"no replication ID":         {"info replication", replication(master, "master_replid2:"+replID), nil},
		"replication ID of letters": {"info replication", replication(master, "master_replid:"+strings.Repeat("x", 40)), nil},
		"two roles":                 {"info replication", replication(master, "role:slave", replid), nil},
		"two replication IDs":       {"info replication", replication(master, replid, replid), nil},
		"replication refused":       {"info replication", "-NOPERM no\r\n", nil},
		"replication is a list":     {"info replication", "*1\r\n$1\r\nx\r\n", nil},
		"echo of another question":  {"echo", bulk("0"), nil},
		"echo is a number":          {"echo", ":1\r\n", nil},
		"echo refused":              {"echo", "-NOPERM no\r\n", nil},
		"nothing after the answer":  {"info replication", "", nil},
		"no run ID":                 {"info server", bulk("redis_version:7\r\n"), nil},
		"run ID of letters":         {"info server", bulk("run_id:xyz\r\n"), nil},
		"run ID refused":            {"info server", "-NOPERM no\r\n", nil},
		"naming refused":            {"client setname", "-NOPERM no\r\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := honest()
			f.answers[tt.command] = tt.answer
			s := f.start(t)
			_, err := one(s.Revoked(within(t), fakeID, 1, []revocations.Token{asked("alive")}))
			if err == nil {
				t.Fatal("the answer counted")
			}
			if isIdentity := errors.Is(err, revocations.ErrIdentity); isIdentity != (tt.want != nil) {
				t.Errorf("error: %v, want %v", err, tt.want)
			}
			if who, err := s.Identity(within(t)); err == nil && who == fakeID {
				t.Error("it was identified nevertheless")
			}
		})
	}
}

// TestErrorsQuoteNothing asks a Redis that does not know a command, and says in its answer what it was given.
func TestErrorsQuoteNothing(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"auth", "zmscore", "info server", "client setname", "echo"} {
		f := honest()
		delete(f.answers, command)
		if command == "echo" {
			f.answers[command] = "-ERR unknown command 'echo', with args beginning with: 'alive'\r\n"
		}
		_, err := f.start(t).Revoked(within(t), fakeID, 1, []revocations.Token{asked("alive")})
		if err == nil || !strings.Contains(err.Error(), "unknown") && !errors.Is(err, errAnother) {
			t.Errorf("%s: %v", command, err)
		}
		if err != nil && (strings.Contains(err.Error(), "hunter") || strings.Contains(err.Error(), "alive")) {
			t.Errorf("%s: the error quotes what was sent: %v", command, err)
		}
	}
}

// TestMalformedAnswers proves the identity well, and answers the command itself with what it cannot mean.
func TestMalformedAnswers(t *testing.T) {
	t.Parallel()
	row := func(elements ...string) string {
		return fmt.Sprintf("*%d\r\n", len(elements)) + strings.Join(elements, "")
	}
	none, one := "$-1\r\n", bulk("1")
	for name, tt := range map[string]struct{ command, answer string }{
		"too few scores":         {"zmscore", row(one, none, none)},
		"too many scores":        {"zmscore", row(one, none, none, none, none)},
		"no list":                {"zmscore", bulk("1")},
		"no value":               {"zmscore", none},
		"no list at all":         {"zmscore", "*-1\r\n"},
		"integers":               {"zmscore", row(":1\r\n", none, none, none)},
		"no number":              {"zmscore", row(one, bulk("x"), none, none)},
		"not a number":           {"zmscore", row(one, none, bulk("nan"), none)},
		"error inside":           {"zmscore", row(one, "-ERR inside\r\n", none, none)},
		"refused":                {"zmscore", "-LOADING loading\r\n"},
		"marker of two":          {"zmscore", row(bulk("2"), none, none, none)},
		"marker of half":         {"zmscore", row(bulk("0.5"), none, none, none)},
		"added text":             {"zadd", bulk("1")},
		"removed text":           {"zremrangebyscore", bulk("1")},
		"cut-off removed text":   {"zrem", bulk("1")},
		"range of one":           {"zrangebyscore", row(one)},
		"range of three":         {"zrangebyscore", row(one, one, one)},
		"range of numbers":       {"zrangebyscore", row(one, ":1\r\n")},
		"range is no list":       {"zrangebyscore", one},
		"transaction of one":     {"exec", row(":1\r\n")},
		"transaction of three":   {"exec", row(":1\r\n", ":1\r\n", ":1\r\n")},
		"transaction failed":     {"exec", "*-1\r\n"},
		"unlink failed inside":   {"exec", row("-ERR x\r\n", ":1\r\n")},
		"zadd failed inside":     {"exec", row(":1\r\n", "-OOM x\r\n")},
		"nothing added inside":   {"exec", row(":1\r\n", ":0\r\n")},
		"page of one":            {"scan", row(bulk("0"))},
		"page without cursor":    {"scan", row(":0\r\n", row())},
		"page without list":      {"scan", row(bulk("0"), bulk("x"))},
		"page of numbers":        {"scan", row(bulk("0"), row(":1\r\n"))},
		"page with empty cursor": {"scan", row(bulk(""), row())},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := honest()
			for _, queued := range []string{"multi", "unlink"} {
				f.answers[queued] = "+QUEUED\r\n"
			}
			f.answers["zadd"], f.answers["zrem"], f.answers["zremrangebyscore"] = ":1\r\n", ":1\r\n", ":1\r\n"
			f.answers["zrangebyscore"] = row(bulk("t:x"), bulk("5"))
			f.answers["exec"], f.answers["scan"] = row(":1\r\n", ":1\r\n"), row(bulk("0"), row())
			f.answers[tt.command] = tt.answer
			s := f.start(t)
			methods := map[string]string{
				"zmscore": "revoked", "zadd": "add token", "zremrangebyscore": "sweep", "zrangebyscore": "sweep",
				"exec": "begin", "scan": "purge",
			}
			call := calls(s, fakeID)[methods[tt.command]]
			if tt.command == "zrem" {
				call = func(ctx context.Context) error { return s.sweepCutOffs(ctx, fakeID, []revocations.CutOff{byKey("k")}) }
			}
			if err := call(within(t)); err == nil {
				t.Error("it was no error")
			}
		})
	}
}

// TestNothingIsRepeated breaks the connection instead of answering.
func TestNothingIsRepeated(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"zadd", "info server", "info replication"} {
		f := honest()
		f.answers[command] = ""
		s := f.start(t)
		if err := s.Add(within(t), fakeID, []revocations.Revocation{taken("x")}, nil); err == nil {
			t.Errorf("%s: no error", command)
		}
		if n := f.broken.Load(); n != 1 {
			t.Errorf("%s was sent %d times", command, n)
		}
	}
}

// TestProofIsTheConnections has connections to two servers in one pool, of which the second holds a stale copy: each answer is
// the right server's or counts for nothing.
func TestProofIsTheConnections(t *testing.T) {
	t.Parallel()
	servers := []*redistest.Server{redistest.Start(t), redistest.Start(t)}
	for _, server := range servers {
		server.Do("ACL", "SETUSER", "signet", "on", ">secret", "~*", "+@all")
	}
	right := open(t, Config{URL: servers[0].UserURL("signet", "secret")})
	id := filled(t, right)
	servers[1].Do("ZADD", key(id), "1", marker(1))

	var mu sync.Mutex
	next := 0
	both := &Set{database: "0", log: right.log}
	turns := func(ctx context.Context, network, _ string) (net.Conn, error) {
		mu.Lock()
		addr := servers[next%2].Addr()
		next++
		mu.Unlock()
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	both.client = redis.NewClient(both.options(target{addrs: []string{"x"}, username: "signet", password: "secret"}, 8, turns))
	t.Cleanup(func() { _ = both.Close() })

	var answered, refused int
	var askers sync.WaitGroup
	for range 8 {
		askers.Go(func() {
			for range 50 {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				got, err := one(both.Revoked(ctx, id, 1, []revocations.Token{asked("gone")}))
				cancel()
				mu.Lock()
				switch {
				case err == nil && got:
					answered++
				case errors.Is(err, revocations.ErrIdentity):
					refused++
				default:
					t.Errorf("%v, %v: an answer of the other server", got, err)
				}
				mu.Unlock()
			}
		})
	}
	askers.Wait()
	if answered == 0 || refused == 0 {
		t.Errorf("%d answers and %d refusals: want both", answered, refused)
	}
}
