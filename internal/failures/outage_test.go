package failures

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/faultproxy"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

const (
	// decidedWithin bounds how long introspection and revocation may take to say that they cannot know.
	decidedWithin = 1500 * time.Millisecond
	// goneWithin bounds everything else that needs the database.
	goneWithin = 6 * time.Second
	// backWithin is how soon after the database's return everything works again.
	backWithin = 3 * time.Second
)

// outage is a server whose database goes away, and what it knew before.
type outage struct {
	*server

	cached  client // asked for a token before
	unknown client // registered, and has not asked yet
	keyed   keyedClient
	token   string // of cached
	revoked string // of cached; taken back before
}

// TestPostgresAway takes PostgreSQL away in every way that it can go, one after another, from one server process. Each time
// DESIGN.md §8 must hold to the letter, and each time all must work again by itself.
func TestPostgresAway(t *testing.T) { //nolint:tparallel // one outage after another
	t.Parallel()
	postgres := pgtest.Start(t)
	proxy := faultproxy.New(t, postgres.Addr())
	o := &outage{server: serve(t, servertest.Config{Database: proxy.URL(postgres.URL())})}
	o.cached, o.keyed = o.client(t), o.keyedClient(t)
	pid := o.PID()
	for _, fault := range []struct {
		name       string
		away, back func()
		goesOn     time.Duration // for how long the first one looks at tokens
	}{
		{"stopped", postgres.Stop, postgres.Start, 5 * time.Second},
		{"killed", postgres.Kill, postgres.Start, 0},
		{"frozen", postgres.Freeze, postgres.Thaw, 0},
		{"hung", proxy.Hang, proxy.Heal, 0},
		{"cut", proxy.Cut, proxy.Heal, 0},
	} {
		t.Run(fault.name, func(t *testing.T) {
			if fault.name != "stopped" && fault.name != "hung" {
				long(t)
			}
			o.prepare(t)
			fault.away()
			o.away(t)
			during(t, fault.goesOn, func() { o.goesOn(t) })
			fault.back()
			o.back(t)
		})
	}
	if !o.Running() || o.PID() != pid {
		t.Error("the server did not live through all of it")
	}
}

// prepare makes what the server is to know and not to know.
func (o *outage) prepare(t *testing.T) {
	t.Helper()
	o.unknown = o.client(t)
	o.caughtUp(t)
	o.token, o.revoked = o.server.token(t, o.cached), o.server.token(t, o.cached)
	o.revoke(o.cached, o.revoked).want(t)
	o.assert(t, o.keyed).want(t)
}

// away asks for everything at once, because the first callers of a database that has gone silent wait for it.
func (o *outage) away(t *testing.T) {
	t.Helper()
	var tasks sync.WaitGroup
	defer tasks.Wait()
	tasks.Go(func() { o.goesOn(t) })
	tasks.Go(func() { o.introspect(o.cached, o.token).undecided(t, "introspect", decidedWithin) })
	tasks.Go(func() { o.introspect(o.cached, o.revoked).undecided(t, "introspect a revoked token", decidedWithin) })
	tasks.Go(func() {
		// What is not ours needs no database to be known for that.
		if a := o.introspect(o.cached, o.token+"A"); !a.inactive() || a.took > decidedWithin {
			t.Errorf("introspect what is no token of ours: %d %s after %v (%v)", a.status, a.body, a.took, a.err)
		}
	})
	tasks.Go(func() { o.revoke(o.cached, o.token).undecided(t, "revoke", decidedWithin) })
	tasks.Go(func() { o.request(o.unknown).undecided(t, "token for a client not yet seen", goneWithin) })
	tasks.Go(func() {
		o.request(client{"client_00000000000000000000", o.cached.secret}).undecided(t, "token for a client that is not there", goneWithin)
	})
	tasks.Go(func() {
		// It may have been made on another replica a moment ago.
		o.request(client{o.cached.id, o.unknown.secret}).undecided(t, "token for another secret", goneWithin)
	})
	tasks.Go(func() { o.assert(t, o.keyed).undecided(t, "token for an assertion", goneWithin) })
	tasks.Go(func() { o.adminRefuses(t) })
	tasks.Go(func() {
		out, text, err := servertest.Run(t, nil, "client", "create", "--name", rand.Text(), "--grant", orders+"=orders:read", "--data-dir", o.DataDir)
		if exitCode(err) != 4 || out != "" || !strings.Contains(text, "try again") {
			t.Errorf("signet client create: %v, stdout %q, stderr %q; want exit code 4", err, out, text)
		}
	})
	tasks.Go(func() {
		eventually(t, 5*time.Second, "say that it is degraded", func() bool {
			a := o.get(pathReady)
			if a.err != nil || a.status != http.StatusOK {
				t.Errorf("readyz: %d %s (%v), want 200", a.status, a.body, a.err)
			}
			return member[string](a.body, "status") == "degraded"
		})
	})
}

// goesOn is what works without the database: tokens for known clients, documents, liveness. None of it may wait.
func (o *outage) goesOn(t *testing.T) {
	t.Helper()
	a := o.request(o.cached)
	if !a.ok() || a.took > time.Second {
		t.Errorf("token for a known client: %d %s after %v (%v)", a.status, a.body, a.took, a.err)
		return
	}
	o.verify(t, o.jwks(t), a.token())
	for _, path := range []string{pathMetadata, pathAlias, pathLive} {
		if a := o.get(path); !a.ok() || a.took > time.Second {
			t.Errorf("%s: %d %s after %v (%v)", path, a.status, a.body, a.took, a.err)
		}
	}
}

func (o *outage) adminRefuses(t *testing.T) {
	t.Helper()
	made, err := o.admin.CreateClient(t.Context(), newClient(adminapi.NewClient{}))
	problem, ok := errors.AsType[*adminapi.Problem](err)
	if !ok || problem.Status != http.StatusServiceUnavailable || problem.RetryAfter <= 0 {
		t.Errorf("create client: %+v, %v; want 503 with Retry-After", made, err)
		return
	}
	// Only problem+json is read into these.
	if problem.Detail == "" || problem.RequestID == "" || problem.Type == "" {
		t.Errorf("create client: %+v is no problem+json", problem)
	}
}

// back wants everything to work within backWithin of the database's return.
func (o *outage) back(t *testing.T) {
	t.Helper()
	var waits []string
	began := time.Now()
	for what, works := range map[string]func() bool{
		"introspect":                       func() bool { return o.introspect(o.cached, o.token).ok() },
		"give a client not yet seen":       func() bool { return o.request(o.unknown).ok() },
		"take an assertion":                func() bool { return o.assert(t, o.keyed).ok() },
		"say that it is ready":             func() bool { return member[string](o.get(pathReady).body, "status") == "ready" },
		"give a known client a token":      func() bool { return o.request(o.cached).ok() },
		"know that the token was revoked":  func() bool { return o.introspect(o.cached, o.revoked).inactive() },
		"revoke":                           func() bool { return o.revoke(o.cached, o.token).ok() },
		"change what admins have asked it": func() bool { return o.creates(t) },
	} {
		took := eventually(t, backWithin, what, works)
		waits = append(waits, fmt.Sprintf("%s: %v", what, took.Round(time.Millisecond)))
	}
	if took := time.Since(began); took > backWithin {
		t.Errorf("everything works only %v after the database's return, want %v; waited to %s", took, backWithin, strings.Join(waits, ", to "))
	} else {
		t.Logf("everything works %v after the database's return", took.Round(time.Millisecond))
	}
	// Whether the revocation that was answered 503 was done or not, the one that was answered 200 holds.
	during(t, 300*time.Millisecond, func() {
		if a := o.introspect(o.cached, o.token); !a.inactive() {
			t.Errorf("a revoked token: %d %s (%v)", a.status, a.body, a.err)
		}
	})
	a := o.request(client{o.cached.id, o.unknown.secret})
	if a.status != http.StatusUnauthorized {
		t.Errorf("a wrong secret: %d %s, want 401", a.status, a.body)
	}
}

func (o *outage) creates(t *testing.T) bool {
	t.Helper()
	_, err := o.admin.CreateClient(t.Context(), newClient(adminapi.NewClient{}))
	return err == nil
}

// keyedClient authenticates by private_key_jwt.
type keyedClient struct {
	id  string
	key *ecdsa.PrivateKey
}

func (s *server) keyedClient(t *testing.T) keyedClient {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1"}}})
	if err != nil {
		t.Fatal(err)
	}
	made := s.register(t, adminapi.NewClient{AuthMethod: "private_key_jwt", JWKS: set})
	return keyedClient{made.id, key}
}

// assert asks for a token with a fresh assertion of the client's.
func (s *server) assert(t *testing.T, c keyedClient) answer {
	t.Helper()
	return s.present(s.assertion(t, c, time.Minute))
}

// assertion makes one that lives for so long.
func (s *server) assertion(t *testing.T, c keyedClient, life time.Duration) string {
	t.Helper()
	assertion := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": c.id, "sub": c.id, "aud": s.Issuer, "jti": rand.Text(), "iat": time.Now().Unix(), "exp": time.Now().Add(life).Unix(),
	})
	assertion.Header["kid"] = "k1"
	text, err := assertion.SignedString(c.key)
	if err != nil {
		t.Errorf("sign an assertion: %v", err)
	}
	return text
}

// present asks for a token with an assertion.
func (s *server) present(assertion string) answer {
	return s.request(client{}, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion", assertion)
}
