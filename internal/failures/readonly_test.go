package failures

import (
	"net/http"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
)

// TestPostgresReadOnly lets PostgreSQL refuse every write under a running server, as hosted ones do whose disk is nearly full.
// What only reads goes on, what writes says that it cannot, and all of it works again by itself.
func TestPostgresReadOnly(t *testing.T) {
	t.Parallel()
	postgres := pgtest.Start(t)
	o := &outage{server: serve(t, servertest.Config{Database: postgres.URL()})}
	o.cached, o.keyed = o.client(t), o.keyedClient(t)
	o.prepare(t)
	pgtest.Exec(t, postgres.URL(), "ALTER SYSTEM SET default_transaction_read_only = on")
	pgtest.Exec(t, postgres.URL(), "SELECT pg_reload_conf()")
	var taken []string
	eventually(t, 5*time.Second, "refuse to write", func() bool {
		token := o.server.token(t, o.cached)
		a := o.revoke(o.cached, token)
		if a.ok() { // PostgreSQL has not heard of it yet
			taken = append(taken, token)
		}
		return !a.ok()
	})
	o.revoke(o.cached, o.token).undecided(t, "revoke", decidedWithin)
	o.assert(t, o.keyed).undecided(t, "token for an assertion", goneWithin)
	o.adminRefuses(t)
	o.goesOn(t)
	o.request(o.unknown).want(t)
	if a := o.introspect(o.cached, o.token); !a.active() {
		t.Errorf("a token whose revocation was answered 503: %d %s (%v)", a.status, a.body, a.err)
	}
	for _, token := range append(taken, o.revoked) {
		if a := o.introspect(o.cached, token); !a.inactive() {
			t.Errorf("a revoked token: %d %s (%v)", a.status, a.body, a.err)
		}
	}
	if a := o.request(client{o.cached.id, o.unknown.secret}); a.status != http.StatusUnauthorized {
		t.Errorf("a wrong secret: %d %s (%v), want 401", a.status, a.body, a.err)
	}
	// To get out of it is no write for PostgreSQL.
	pgtest.Exec(t, postgres.URL(), "ALTER SYSTEM RESET default_transaction_read_only")
	pgtest.Exec(t, postgres.URL(), "SELECT pg_reload_conf()")
	o.back(t)
}
