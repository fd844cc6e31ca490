package faultlab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
)

// TestRolling restarts three replicas one after the other, behind a balancer, while clients get tokens, introspect and revoke
// them without a pause. Every answer but the right one is a failure, and so is every error of the network. ROLLING is how many
// restarts; then the same is done wrongly in two ways, and the clients must notice each.
func TestRolling(t *testing.T) {
	restarts := ordered(t, "ROLLING", 6)
	l := &lab{t: t, rng: newRNG(seedOf(t), "rolling"), stores: startStores(t, replicaCount), history: &history{}}
	l.cluster = startCluster(t, l.stores, nil)
	for i := range l.cluster.members {
		l.ready(t, i, time.Now())
	}
	t.Run("rolling", func(t *testing.T) {
		d := l.traffic(t, startBalancer(t, l.cluster, false))
		defer d.end()
		began := time.Now()
		for i := range restarts {
			if d.restart(t, i%replicaCount); t.Failed() || d.failed.Load() >= mostReported {
				break
			}
			if (i+1)%10 == 0 {
				t.Logf("%v: %s", time.Since(began).Round(time.Second), d.line())
			}
		}
		d.end()
		t.Logf("%v: %s", time.Since(began).Round(time.Second), d.line())
		for _, text := range d.failures() {
			t.Errorf("%s", text)
		}
		if d.restarts != restarts || d.tokens.Load() == 0 || d.introspections.Load() == 0 || d.revocations.Load() == 0 {
			t.Errorf("%d of %d restarts, and the run shows nothing: %s", d.restarts, restarts, d.line())
		}
	})
	t.Run("control: a balancer that does not look", func(t *testing.T) {
		d := l.traffic(t, startBalancer(t, l.cluster, true))
		defer d.end()
		d.restart(t, 0)
		d.caught(t)
	})
	t.Run("control: killed", func(t *testing.T) {
		d := l.traffic(t, startBalancer(t, l.cluster, false))
		defer d.end()
		for i := range 20 {
			m := l.cluster.members[i%replicaCount]
			l.wait(2 * checkEvery)
			m.kill()
			l.wait(checkEvery)
			began := time.Now()
			m.start()
			if l.ready(t, i%replicaCount, began); d.failed.Load() > 0 {
				break
			}
		}
		d.caught(t)
	})
}

// ordered is how many times the environment wants something to be done.
func ordered(t testing.TB, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" && testing.Short() {
		return otherwise / 2
	}
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s: %q is not a number of times", name, text)
	}
	return n
}

// stop is SIGTERM, and waits for the end.
func (m *member) stop() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = true
	return m.process.Stop()
}

// ready waits until a replica is ready and answers from Redis, and returns how long after that moment it was.
func (l *lab) ready(t testing.TB, replica int, began time.Time) time.Duration {
	t.Helper()
	m := l.cluster.members[replica]
	probe := &backend{addr: m.server.Address}
	if !l.until(func() bool { return probe.check(t.Context(), m.http) && m.trusts(t.Context()) }) {
		t.Fatalf("replica %d is not ready in %v\n%s", replica, recoverWithin, lastLines(m.log(), 15))
	}
	return time.Since(began)
}

// traffic is what clients do through a balancer, and how it went.
type traffic struct {
	lab      *lab
	balancer *balancer
	cancel   context.CancelFunc
	tasks    sync.WaitGroup

	tokens, introspections, revocations, failed atomic.Int64

	mu      sync.Mutex
	texts   []string // of the first failures
	phase   string
	spots   []spot        // how the test itself fares with PostgreSQL, newest last
	slowest time.Duration // of the spots

	// The rest is the test's goroutine's.
	restarts     int
	drain, ready time.Duration // longest times from SIGTERM to the end, and from the start until Redis is trusted
}

const shoppers = 6

// traffic lets clients work until it is ended.
func (l *lab) traffic(t testing.TB, b *balancer) *traffic {
	t.Helper()
	d := &traffic{lab: l, balancer: b}
	ctx, cancel := context.WithCancel(t.Context())
	d.cancel = cancel
	if !b.blind {
		l.until(func() bool {
			return b.backends[0].ready.Load() && b.backends[1].ready.Load() && b.backends[2].ready.Load()
		})
	}
	d.tasks.Go(func() { d.spotChecks(ctx) })
	for i := range shoppers {
		// A request that has begun is always brought to its end: the context ends the loop alone.
		s := &shopper{traffic: d, ctx: context.WithoutCancel(ctx), http: servertest.Client(t), who: l.cluster.workers[i]}
		rng := newRNG(uint64(i), "shopper")
		d.tasks.Go(func() {
			for ctx.Err() == nil {
				s.shop()
				pause(ctx, rng, ms(20))
			}
		})
	}
	if !l.until(func() bool { return d.revocations.Load() >= shoppers || d.failed.Load() > 0 }) {
		t.Fatal("the clients do nothing")
	}
	return d
}

func pause(ctx context.Context, rng *rand.Rand, most time.Duration) {
	timer := time.NewTimer(time.Duration(rng.Int64N(int64(most))))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (d *traffic) end() {
	d.cancel()
	d.tasks.Wait()
}

// restart ends a replica as it is meant to be ended, starts it again, and waits until it works as before.
func (d *traffic) restart(t testing.TB, replica int) {
	t.Helper()
	m, began := d.lab.cluster.members[replica], time.Now()
	d.enter("replica %d ends", replica)
	if err := m.stop(); err != nil {
		t.Errorf("replica %d ended with %v\n%s", replica, err, lastLines(m.log(), 15))
	}
	d.drain = max(d.drain, time.Since(began))
	began = time.Now()
	d.enter("replica %d starts", replica)
	m.start()
	d.ready = max(d.ready, d.lab.ready(t, replica, began))
	d.restarts++
	d.enter("replica %d works again", replica)
	if !d.balancer.blind && !d.lab.until(d.balancer.backends[replica].ready.Load) {
		t.Errorf("the balancer does not see that replica %d is ready", replica)
	}
}

// caught wants that the clients have noticed something.
func (d *traffic) caught(t testing.TB) {
	t.Helper()
	d.end()
	if d.failed.Load() == 0 {
		t.Fatalf("nobody noticed: %s", d.line())
	}
	t.Logf("caught: %s; first: %s", d.line(), d.failures()[0])
}

func (d *traffic) line() string {
	d.mu.Lock()
	slowest := d.slowest
	d.mu.Unlock()
	return fmt.Sprintf("restarts=%d requests=%d (tokens=%d introspections=%d revocations=%d) failures=%d connections=%d refused_connections=%d "+
		"drain_max=%v ready_max=%v own_commit_max=%v", d.restarts, d.tokens.Load()+d.introspections.Load()+d.revocations.Load(), d.tokens.Load(),
		d.introspections.Load(), d.revocations.Load(), d.failed.Load(), d.balancer.opened.Load(), d.balancer.refused.Load(),
		d.drain.Round(time.Millisecond), d.ready.Round(time.Millisecond), slowest.Round(time.Millisecond))
}

func (d *traffic) failures() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.texts
}

// shopper is one client.
type shopper struct {
	*traffic

	ctx  context.Context
	http *http.Client
	who  client
}

// shop gets a token, looks at it, revokes it and looks again, and stops at what fails.
func (s *shopper) shop() {
	body, ok := s.ask(&s.tokens, "/oauth2/token", s.who, servertest.Form("grant_type", "client_credentials"), `"access_token"`)
	if !ok {
		return
	}
	t, err := tokenIn(body)
	if err != nil {
		s.fail("%v", err)
		return
	}
	watch, form := s.lab.cluster.watch, servertest.Form("token", t.text)
	if _, ok := s.ask(&s.introspections, "/oauth2/introspect", watch, form, `"active":true`); !ok {
		return
	}
	if _, ok := s.ask(&s.revocations, "/oauth2/revoke", s.who, form, ""); !ok {
		return
	}
	s.ask(&s.introspections, "/oauth2/introspect", watch, form, `{"active":false}`)
}

// tokenIn reads the token of an answer.
func tokenIn(body string) (token, error) {
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return token{}, fmt.Errorf("read the answer: %w", err)
	}
	return readToken(answer.AccessToken)
}

// ask sends one request through the balancer. It counts, whatever comes; what is not 200 with these words is a failure.
func (s *shopper) ask(count *atomic.Int64, path string, by client, form url.Values, words string) (string, bool) {
	began := time.Now()
	count.Add(1)
	status, from, body, err := s.post(path, by, form)
	if err != nil || status != http.StatusOK || !strings.Contains(body, words) {
		s.fail("%s %s at %q, asked at %s, after %v: %d %s (%v)", stamp(time.Now()), path, from, stamp(began),
			time.Since(began).Round(time.Millisecond), status, body, err)
		return "", false
	}
	return body, true
}

func (s *shopper) post(path string, by client, form url.Values) (int, string, string, error) {
	request, err := http.NewRequestWithContext(s.ctx, http.MethodPost, s.balancer.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, "", "", err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(by.id, by.secret)
	response, err := s.http.Do(request)
	if err != nil {
		return 0, "", "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, response.Header.Get("X-Replica"), string(text), err
}

func (d *traffic) fail(format string, args ...any) {
	d.failed.Add(1)
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.texts) < mostReported {
		d.texts = append(d.texts, fmt.Sprintf(format, args...)+"; "+d.circumstances())
	}
}

// spot is one commit of the test's own, past all proxies and servers: how long PostgreSQL and the machine take without them.
type spot struct {
	at       time.Time
	took     time.Duration // of the commit, with a connection for it
	overdue  time.Duration // how late a timer of 200 ms was
	happened error
}

// spotChecks commit something now and then. They tell a server that fails from a machine that is too slow for anybody.
func (d *traffic) spotChecks(ctx context.Context) {
	const every = 200 * time.Millisecond
	for ctx.Err() == nil {
		asleep := time.Now()
		d.lab.wait(every)
		one := spot{at: time.Now(), overdue: time.Since(asleep) - every}
		one.happened = d.lab.stores.exec(context.WithoutCancel(ctx), "SELECT pg_logical_emit_message(true, 'faultlab', 'spot')")
		one.took = time.Since(one.at)
		d.mu.Lock()
		d.spots = append(d.spots, one)
		d.slowest = max(d.slowest, one.took)
		d.mu.Unlock()
	}
}

// circumstances is what went on in the last three seconds; d.mu is held.
func (d *traffic) circumstances() string {
	var worst spot
	newest := time.Duration(-1)
	for _, one := range d.spots {
		if time.Since(one.at) < 3*time.Second {
			worst.took, worst.overdue = max(worst.took, one.took), max(worst.overdue, one.overdue)
		}
		newest = time.Since(one.at)
	}
	return fmt.Sprintf("%s; a commit of the test's own took up to %v, its timer was up to %v late, last seen %v ago", d.phase,
		worst.took.Round(time.Millisecond), worst.overdue.Round(time.Millisecond), newest.Round(time.Millisecond))
}

func (d *traffic) enter(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.phase = stamp(time.Now()) + " " + fmt.Sprintf(format, args...)
}
