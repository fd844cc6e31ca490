package failures

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
	"github.com/seed-1972b8eb/signet/internal/servertest/redistest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// These tests wait for processes most of the time.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	// With the race detector servers are several times slower than they promise to be. It watches those of package faultlab; here
	// the binary that is there without it serves, and its clocks are right where no test moves them.
	if plain := os.Getenv("SIGNET_TEST_CLOCK_BINARY"); servertest.Race && plain != "" {
		if err := os.Setenv("SIGNET_TEST_BINARY", plain); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	servertest.CleanUp()
	os.Exit(code)
}

// orders is the API that every server of these tests has.
const orders = "https://orders.test"

// slowed says whether the servers have the race detector, too: see TestMain.
func slowed() bool { return servertest.Race && os.Getenv("SIGNET_TEST_CLOCK_BINARY") == "" }

// long is for tests that take more than some ten seconds.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		daemon.Lack(t, "takes long")
	}
}

// eachStore runs a test on PostgreSQL alone and beside Redis, whose URL it is given.
func eachStore(t *testing.T, run func(t *testing.T, redis string)) {
	t.Helper()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		run(t, "")
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		run(t, redistest.Start(t).URL())
	})
}

// server is a server with ways to talk to it.
type server struct {
	*servertest.Server

	base  string // what paths are put behind: the server's own address, whatever the issuer
	http  *http.Client
	admin *adminapi.Client
}

// serve makes and runs a server that has the API.
func serve(t *testing.T, c servertest.Config) *server {
	t.Helper()
	s := adopt(t, servertest.Serve(t, c))
	eventually(t, calmWithin, "create the API", func() bool {
		_, err := s.admin.CreateAPI(t.Context(), adminapi.NewAPI{
			Identifier: orders, Name: "Orders", Scopes: []adminapi.NewScope{{Name: "orders:read"}, {Name: "orders:write"}},
		})
		var p *adminapi.Problem
		if errors.As(err, &p) && (p.Status == http.StatusServiceUnavailable || p.Status == http.StatusConflict) {
			return p.Status == http.StatusConflict // one that was 503 on a busy machine may have been done
		}
		if err != nil {
			t.Fatalf("create API: %v", err)
		}
		return true
	})
	return s
}

// replica runs one more server on the database of another.
func replica(t *testing.T, of *server, c servertest.Config) *server {
	t.Helper()
	c.ReplicaOf = of.Server
	return adopt(t, servertest.Serve(t, c))
}

func adopt(t *testing.T, s *servertest.Server) *server {
	t.Helper()
	return &server{Server: s, base: "http://" + s.Address, http: servertest.Client(t), admin: adminapi.NewUnix(s.AdminSocket)}
}

// client is a registered client with a secret.
type client struct{ id, secret string }

// client registers one that may have both scopes of the API, and introspect its tokens.
func (s *server) client(t *testing.T) client {
	t.Helper()
	return s.register(t, adminapi.NewClient{})
}

func (s *server) register(t *testing.T, n adminapi.NewClient) client {
	t.Helper()
	made, err := s.admin.CreateClient(t.Context(), newClient(n))
	if err != nil {
		t.Fatalf("create client: %v", err)
	}
	return client{made.ClientID, made.ClientSecret}
}

// newClient fills what is not said.
func newClient(n adminapi.NewClient) adminapi.NewClient {
	n.Name = rand.Text()
	if n.Grants == nil {
		n.Grants = []adminapi.Grant{{API: orders, Scopes: []string{"orders:read", "orders:write"}}}
	}
	n.Introspects = []string{orders}
	return n
}

var staleness = regexp.MustCompile(`(?m)^signet_registry_staleness_seconds (\S+)$`)

// caughtUp returns when the server has seen every change that was made before: a client that it serves from now on stays
// known to it. Without this, it may forget what it has read already when it hears of the change that it has read.
func (s *server) caughtUp(t *testing.T) {
	t.Helper()
	changed := time.Now()
	eventually(t, 10*time.Second, "see all changes", func() bool {
		elapsed := time.Since(changed).Seconds() // before the question, so that the answer cannot look too good
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.AdminURL+"/metrics", http.NoBody)
		found := staleness.FindStringSubmatch(s.exchange(request, err).body)
		if found == nil {
			return false
		}
		seconds, err := strconv.ParseFloat(found[1], 64)
		return err == nil && elapsed > seconds
	})
}

// eventually polls for as long as is given, and returns how long it took.
func eventually(t *testing.T, within time.Duration, what string, done func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("did not %s in %v", what, within)
		case <-tick.C:
		}
	}
	return time.Since(began)
}

// during calls check again and again for that long, and at least once.
func during(t *testing.T, period time.Duration, check func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), period)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		check()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// member reads one member of a JSON object.
func member[T any](text, name string) T {
	var object map[string]any
	_ = json.Unmarshal([]byte(text), &object) // what is no object has no members
	value, _ := object[name].(T)
	return value
}
