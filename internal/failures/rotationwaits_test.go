package failures

import (
	"strings"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
)

const (
	// rotatedWithin is how long after the database's return a rotation that is due may take: servers look every 30 seconds,
	// and make a key for each algorithm.
	rotatedWithin = 45 * time.Second

	lockWaits = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'signet' AND wait_event_type = 'Lock'"
)

// TestRotationWaits kills PostgreSQL in the middle of a rotation that the schedule has begun. The key that was to be replaced
// goes on signing for as long as it takes, and is replaced afterwards without anybody's doing.
func TestRotationWaits(t *testing.T) {
	t.Parallel()
	long(t)
	postgres := pgtest.Start(t)
	s := serve(t, servertest.Config{Database: postgres.URL()})
	c := s.client(t)
	first := s.token(t, c)
	if err := s.Stop(); err != nil {
		t.Fatalf("stop: %v", err)
	}
	const month = int64(31 * 24 * time.Hour / time.Microsecond)
	pgtest.Exec(t, postgres.URL(), "UPDATE signing_keys SET activated_at = activated_at - $1, published_at = published_at - $1", month)
	holder := session(t, postgres.URL())
	do(t, holder, "BEGIN")
	do(t, holder, "SELECT 1 FROM registry_epoch FOR UPDATE") // with which every change begins
	s.Again(t)                                               // it looks after its keys at once
	look := session(t, postgres.URL())
	eventually(t, 10*time.Second, "begin to rotate", func() bool { return number(t, look, lockWaits) > 0 })
	s.token(t, c)
	postgres.Kill()
	eventually(t, 10*time.Second, "say that it could not", func() bool {
		return strings.Contains(s.Log(), `"work":"look after the signing keys"`)
	})
	during(t, time.Second, func() {
		token := s.token(t, c)
		s.verify(t, s.jwks(t), token)
		if kid(token) != kid(first) {
			t.Error("signed with another key, and nobody can know whether it is published")
		}
	})
	postgres.Start()
	took := eventually(t, rotatedWithin, "rotate", func() bool { return kid(s.token(t, c)) != kid(first) })
	t.Logf("rotated %v after the database's return", took.Round(time.Second))
	set := s.jwks(t)
	for what, token := range map[string]string{"before": first, "after": s.token(t, c)} {
		s.verify(t, set, token)
		if a := s.introspect(c, token); !a.active() {
			t.Errorf("a token of the key %s: %d %s (%v)", what, a.status, a.body, a.err)
		}
	}
}
