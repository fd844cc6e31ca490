package failures

import (
	"database/sql"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/internal/servertest/redistest"
	"github.com/seed-1972b8eb/signet/internal/servertest/stepproxy"
)

// TestKilledAtEachStep kills a replica with SIGKILL at each request to PostgreSQL and to Redis that an operation takes: the
// store has done it, and the replica never hears of it. What was acknowledged is so. What was not is done or not done, as a
// whole. Tried again it is acknowledged, and counts at the other replica, which has been there all the time, at once.
func TestKilledAtEachStep(t *testing.T) {
	t.Parallel()
	long(t)
	for name, operations := range map[string][]operation{
		"tokens":      {issuing(), asserting(), revoking()},
		"clients":     {disabling(), cuttingOff()},
		"secrets":     {rotating24h(), rotatingNow()},
		"rotated key": {rotatingKey()},
		"revoked key": {revokingKey()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newStepped(t)
			for _, o := range operations {
				t.Run(o.name, func(t *testing.T) { p.killedAtEachStep(t, o) })
			}
		})
	}
}

// operation is what a replica is killed in the middle of.
type operation struct {
	name string
	// change is part of the statement that changes something, or of the transaction that does. Empty: nothing does.
	change string
	// steps are parts of requests at which it must have been killed, beside the change.
	steps []string
	begin func(t *testing.T, p *stepped) attempt
}

// attempt is one operation on a subject of its own. Its functions are called while the replica they ask is alive.
type attempt struct {
	do     func() bool     // does it at the replica that is killed, and says whether that was acknowledged
	done   func() bool     // asks the database whether it is done, and fails the test where it is by half
	alone  func()          // nil, or what must hold after the kill at the other replica, before the killed one is back
	again  func(done bool) // nil for do: what is done after a kill to have it acknowledged
	holds  func()          // nil, or what must hold once it is acknowledged
	dead   string          // a token that counts nowhere from then on
	cutOff string          // its member of Redis' set, if it cuts something off: the other replica may know of that without asking Redis
}

// stepped is two replicas on PostgreSQL and Redis.
type stepped struct {
	a, b     *server // a is killed
	restart  func()  // of a, which lives on until the whole test ends
	proxy    *stepproxy.Proxy
	database *sql.DB
	redis    *redistest.Server
	watch    client
}

func newStepped(t *testing.T) *stepped {
	t.Helper()
	const maxAge = "keys:\n  jwks_max_age: 1s\n"
	postgres := pgtest.Start(t)
	database, err := sql.Open("pgx", postgres.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = database.Close() })
	redis, proxy := redistest.Start(t), stepproxy.New(t, idle)
	b := serve(t, servertest.Config{Database: postgres.URL(), Redis: redis.URL(), ExtraYAML: maxAge})
	a := replica(t, b, servertest.Config{Through: proxy.Postgres, RedisThrough: proxy.Redis, ExtraYAML: maxAge})
	return &stepped{a: a, b: b, restart: func() { a.Again(t) }, proxy: proxy, database: database, redis: redis, watch: b.client(t)}
}

// idle are requests that no operation makes: the poll, the look at the marker, the first one of each connection.
func idle(request string) bool {
	return slices.ContainsFunc([]string{"SELECT e.epoch, e.floor", "SELECT pg_is_in_recovery()", "zmscore"},
		func(begins string) bool { return strings.HasPrefix(request, begins) })
}

// calmWithin is how long that may take which is no promise: these tests fill the machine with servers that start, and one that
// cannot make a standby tries again after 30 seconds.
const calmWithin = time.Minute

// mostSteps is more than any operation takes: a proxy that strikes again and again would never let a test end.
const mostSteps = 100

func (p *stepped) killedAtEachStep(t *testing.T, o operation) {
	t.Helper()
	p.proxy.Forget()
	wanted := slices.Clone(o.steps)
	if o.change != "" {
		wanted = append(wanted, o.change)
	}
	var steps []string
	undone, unknown := 0, 0
	for more := 5; ; {
		p.ready(t)
		one := o.begin(t, p)
		p.proxy.Arm(p.a.Kill)
		acknowledged := one.do()
		step, delivered := p.proxy.Disarm()
		done := slices.ContainsFunc(delivered, o.commits)
		if one.done() != done {
			t.Errorf("killed at %s: its change was committed: %v, but it is done: %v", short(step), done, !done)
		}
		if acknowledged && one.dead != "" { // perhaps just before it was killed
			p.dead(t, p.b, one.dead)
		}
		if step == "" {
			if !acknowledged {
				t.Fatal("refused by a replica that nobody killed")
			}
			p.counts(t, one)
			if more--; more > 0 && !includes(steps, wanted) {
				continue // the other replica, on a busy machine, has confirmed what this one was to confirm
			}
			break
		}
		if steps = append(steps, step); len(steps) > mostSteps {
			t.Fatalf("still at it after %d steps: %s", mostSteps, short(step))
		}
		switch {
		case !done:
			undone++
		case !acknowledged:
			unknown++
		}
		p.abandoned(t, one, done, o.change == cutOffStep)
		p.restart()
		if one.again != nil {
			one.again(done)
		} else {
			eventually(t, calmWithin, "acknowledge it when tried again", one.do)
		}
		p.counts(t, one)
		if t.Failed() {
			t.Fatalf("killed at %s", step)
		}
	}
	t.Logf("killed at %d steps: not done after %d, done and not acknowledged after %d", len(steps), undone, unknown)
	if o.change != "" && (undone == 0 || unknown == 0) {
		t.Error("never killed before the change, or never after it")
	}
	killedAt(t, steps, wanted...)
}

// killedAt wants that these were among the steps.
func killedAt(t *testing.T, steps []string, wanted ...string) {
	t.Helper()
	for _, step := range steps {
		t.Log(short(step))
	}
	for _, want := range wanted {
		if !includes(steps, []string{want}) {
			t.Errorf("never killed at %s", want)
		}
	}
}

// includes says whether each of the wanted is part of one of the steps.
func includes(steps, wanted []string) bool {
	return !slices.ContainsFunc(wanted, func(want string) bool {
		return !slices.ContainsFunc(steps, func(step string) bool { return strings.Contains(last(step), want) })
	})
}

// commits says whether a request makes the change durable.
func (o operation) commits(request string) bool {
	return o.change != "" && strings.Contains(request, o.change) && (last(request) == "commit" || !strings.HasPrefix(request, "begin"))
}

// ready returns when the replica that is not killed answers from Redis.
func (p *stepped) ready(t *testing.T) {
	t.Helper()
	p.b.trusts(t, p.watch, p.live(t))
}

// live returns a token that counts, also just after a key was revoked.
func (p *stepped) live(t *testing.T) string {
	t.Helper()
	var token string
	eventually(t, calmWithin, "issue a token that counts", func() bool {
		token = p.b.request(p.watch).token()
		return p.b.introspect(p.watch, token).active()
	})
	return token
}

// abandoned looks at what the killed replica has left behind: the other one confirms every cut-off that is committed, and what
// is confirmed counts.
func (p *stepped) abandoned(t *testing.T, one attempt, done, cutOff bool) {
	t.Helper()
	eventually(t, calmWithin, "confirm what a killed replica has cut off", func() bool {
		return p.count(t, "SELECT count(*) FROM cut_offs WHERE confirmed = 0") == 0
	})
	if one.dead != "" && done && cutOff {
		p.dead(t, p.b, one.dead)
	}
	if one.dead != "" && !done {
		if a := p.b.introspect(p.watch, one.dead); !a.active() {
			t.Errorf("a token that nobody took back: %d %s (%v)", a.status, a.body, a.err)
		}
	}
	if one.alone != nil {
		one.alone()
	}
}

// counts wants that what was acknowledged is never called active at the other replica from the first moment, and is in Redis.
func (p *stepped) counts(t *testing.T, one attempt) {
	t.Helper()
	if one.dead != "" {
		p.dead(t, p.b, one.dead)
	}
	if one.cutOff != "" {
		p.inRedis(t, one.cutOff)
	}
	if one.dead != "" && one.cutOff == "" {
		eventually(t, calmWithin, "answer from Redis", func() bool {
			before := p.b.readFrom(t)["redis"]
			p.dead(t, p.b, one.dead)
			return p.b.readFrom(t)["redis"] > before
		})
	}
	if one.holds != nil {
		one.holds()
	}
}

// dead wants that tokens do not count at a replica.
func (p *stepped) dead(t *testing.T, at *server, tokens ...string) {
	t.Helper()
	for _, token := range tokens {
		if a := at.decided(t, backWithin, p.watch, token); !a.inactive() {
			t.Fatalf("a token that was taken back: %d %s (%v)", a.status, a.body, a.err)
		}
	}
}

// inRedis waits until a cut-off is in the set, which another replica may be rebuilding.
func (p *stepped) inRedis(t *testing.T, member string) {
	t.Helper()
	eventually(t, calmWithin, "find "+member+" in Redis", func() bool {
		score, err := p.redis.Try("ZSCORE", p.redis.Do("KEYS", "signet:rev:*"), member)
		return err == nil && strings.HasPrefix(score, "-")
	})
}

// count asks the database for a number.
func (p *stepped) count(t *testing.T, query string, args ...any) int {
	t.Helper()
	var n int
	if err := p.database.QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// last is the request itself, without those before it in its transaction.
func last(step string) string { return step[strings.LastIndex(step, "\n")+1:] }

// short is a request for a log.
func short(step string) string {
	const enough = 90
	text := last(step)
	return text[:min(len(text), enough)]
}
