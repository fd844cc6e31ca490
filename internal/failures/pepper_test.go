package failures

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/rootkeys"
	"github.com/seed-1972b8eb/signet/internal/servertest"
)

// TestPepperVersionMissing takes a version of the pepper away that secrets were made under. Whether such a secret is right
// cannot be known, so nobody is told that it is wrong; the others work, and these do again as soon as the version is back.
func TestPepperVersionMissing(t *testing.T) {
	t.Parallel()
	s := serve(t, servertest.Config{})
	file := filepath.Join(s.DataDir, "keys", "pepper.key")
	restart := func(content []byte) {
		if err := s.Stop(); err != nil {
			t.Fatalf("stop: %v", err)
		}
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		s.Again(t)
	}
	first, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	set, err := rootkeys.Parse(first)
	if err != nil {
		t.Fatal(err)
	}
	both := set.Add().Reveal()
	before := s.client(t)
	restart(both)
	after := s.client(t)
	token := s.token(t, after)
	s.token(t, before)

	restart(first)
	for what, a := range map[string]answer{
		"the right secret":      s.request(after),
		"introspect":            s.introspect(after, token),
		"revoke":                s.revoke(after, token),
		"introspect what isn't": s.introspect(after, "x"),
	} {
		a.undecided(t, what+" of a client whose secret is under the missing version", decidedWithin)
	}
	s.token(t, before)
	if a := s.introspect(before, token); !a.active() {
		t.Errorf("a token of that client: %d %s (%v), want it active", a.status, a.body, a.err)
	}
	// A secret names itself, and neither has the other's: that is known without any pepper.
	for what, c := range map[string]client{"is there": {before.id, after.secret}, "is missing": {after.id, before.secret}} {
		if a := s.request(c); a.status != http.StatusUnauthorized {
			t.Errorf("a wrong secret of a client whose version %s: %d %s (%v), want 401", what, a.status, a.body, a.err)
		}
	}
	s.token(t, s.client(t)) // made under the version that is left

	restart(both)
	s.token(t, before)
	s.revoke(after, token).want(t)
	if a := s.introspect(before, token); !a.inactive() {
		t.Errorf("a revoked token: %d %s (%v)", a.status, a.body, a.err)
	}
}
