package faultlab

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/clock"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

const (
	replicaCount = 3
	workerCount  = 12
	victimCount  = 3
	// tokenTTL is long, so that tokens are asked about for long.
	tokenTTL = 2 * time.Hour
	// orders is the API of all tokens.
	orders = "https://orders.test"
)

// options are those that a laboratory needs otherwise: keys ripen soon, so that one can be revoked, and a client that was
// disabled a moment ago is not taken for an attacker.
const options = `
keys:
  jwks_max_age: 1s
limits:
  failures_burst: 1000000
log:
  level: info
`

// cluster is several replicas of the real server, with clients of theirs. It is the system that the promise is about.
type cluster struct {
	stores  *stores
	members []*member
	watch   client // introspects everything
	workers []client
	victims []client // whose tokens are cut off now and then
	slow    slowest
	moved   *clock.Clock // of the last member; nil: no clock is moved

	mu   sync.Mutex
	kids map[string]bool // keys that somebody asked to revoke
}

// client is a registered client.
type client struct{ id, secret string }

// member is one replica: a process that is killed, frozen and started again.
type member struct {
	t      testing.TB
	server *servertest.Server
	http   *http.Client
	admin  *adminapi.Client

	mu      sync.Mutex
	process *servertest.Process
	down    bool      // killed, and not yet started again
	frozen  bool      // by us
	resumed time.Time // when it was thawed last
	revived int       // starts of a process that had ended by itself
}

// startCluster starts the replicas and registers the clients. The clocks of the last replica are those, if any.
func startCluster(t testing.TB, s *stores, moved *clock.Clock) *cluster {
	t.Helper()
	c := &cluster{stores: s, kids: map[string]bool{}, moved: moved}
	for i, line := range s.lines {
		config := servertest.Config{
			ExtraYAML: options, Through: line.postgres.URL, Redis: redisURL(s.master()), RedisThrough: line.redis.URL,
		}
		if i == 0 {
			config.Database = s.postgres.URL()
		} else {
			config.ReplicaOf = c.members[0].server
		}
		if i == len(s.lines)-1 {
			config.Clock = moved
		}
		server := servertest.Serve(t, config)
		c.members = append(c.members, &member{
			t: t, server: server, process: server.Process, admin: adminapi.NewUnix(server.AdminSocket), http: servertest.Client(t),
		})
	}
	c.register(t)
	return c
}

func (c *cluster) register(t testing.TB) {
	t.Helper()
	admin := c.members[0].admin
	if _, err := admin.CreateAPI(t.Context(), adminapi.NewAPI{
		Identifier: orders, Name: "Orders", TokenTTL: int64(tokenTTL.Seconds()), Scopes: []adminapi.NewScope{{Name: "orders:read"}},
	}); err != nil {
		t.Fatalf("create API: %v", err)
	}
	create := func() client {
		made, err := admin.CreateClient(t.Context(), adminapi.NewClient{
			Name: rand.Text(), Grants: []adminapi.Grant{{API: orders, Scopes: []string{"orders:read"}}}, Introspects: []string{orders},
		})
		if err != nil {
			t.Fatalf("create client: %v", err)
		}
		return client{made.ClientID, made.ClientSecret}
	}
	c.watch = create()
	for range workerCount {
		c.workers = append(c.workers, create())
	}
	for range victimCount {
		c.victims = append(c.victims, create())
	}
}

// kill is SIGKILL.
func (m *member) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = true
	m.process.Kill()
}

// start starts the process and does not wait for it: it may need what is broken at the moment.
func (m *member) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = false
	m.process = servertest.Start(m.t, m.server.Env, "serve", "--config", m.server.File)
}

// tend starts a process that has ended by itself, as the supervisor of a machine does, and returns its log.
func (m *member) tend() string {
	m.mu.Lock()
	ended := !m.down && !m.process.Running()
	if ended {
		m.revived++
	}
	log := m.process.Log
	m.mu.Unlock()
	if !ended {
		return ""
	}
	m.start()
	return log()
}

func (m *member) freeze() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.frozen = true
	m.process.Signal(syscall.SIGSTOP)
}

func (m *member) thaw() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.process.Signal(syscall.SIGCONT)
	m.frozen, m.resumed = false, time.Now()
}

// stoodStill says whether the process was frozen at any moment since then.
func (m *member) stoodStill(since time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.frozen || m.resumed.After(since)
}

var leaseMetric = regexp.MustCompile(`(?m)^signet_revocation_lease(?:\{[^}]*\})? (\S+)$`)

// trusts says whether the replica answers from Redis now.
func (m *member) trusts(ctx context.Context) bool {
	body, err := m.metrics(ctx)
	found := leaseMetric.FindStringSubmatch(body)
	if err != nil || found == nil {
		return false
	}
	value, err := strconv.ParseFloat(found[1], 64)
	return err == nil && value == 1
}

func (m *member) metrics(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.server.AdminURL+"/metrics", http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := m.http.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// revocationMetrics are the lines that speak of revocations.
func (m *member) revocationMetrics(ctx context.Context) string {
	body, err := m.metrics(ctx)
	if err != nil {
		return err.Error()
	}
	var lines []string
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "signet_revocation") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, ", ")
}

// evidence is what everybody says of a token.
func (c *cluster) evidence(ctx context.Context, t token) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	var b strings.Builder
	fmt.Fprintf(&b, "trust row: %s\n", c.stores.row(ctx, "SELECT * FROM redis_trust"))
	fmt.Fprintf(&b, "revocation: %s\n", c.stores.row(ctx, "SELECT * FROM revocations WHERE jti = $1", t.jti))
	fmt.Fprintf(&b, "cut-off of the client: %s\n", c.stores.row(ctx, "SELECT * FROM cut_offs WHERE id = $1", t.client))
	fmt.Fprintf(&b, "cut-off of the key: %s\n", c.stores.row(ctx, "SELECT * FROM cut_offs WHERE id = $1", t.kid))
	fmt.Fprintf(&b, "client: %s\n", c.stores.row(ctx, "SELECT id, generation, disabled FROM clients WHERE id = $1", t.client))
	for i, redis := range c.stores.redis {
		fmt.Fprintf(&b, "Redis %d (primary is %d): %s\n", i, c.stores.primary.Load(),
			describeRedis(redis.Addr(), "t:"+t.jti, "c:"+t.client, "k:"+t.kid))
	}
	for i, m := range c.members {
		fmt.Fprintf(&b, "replica %d: %s\n", i, m.revocationMetrics(ctx))
		fmt.Fprintf(&b, "  its log:\n%s\n", indent(indent(lastLines(m.log(), 15))))
	}
	return b.String()
}

func (m *member) log() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.process.Log()
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// trust notes which replicas answer from Redis now.
func (c *cluster) trust(ctx context.Context, seen []bool) {
	for i, m := range c.members {
		seen[i] = seen[i] || m.trusts(ctx)
	}
}
