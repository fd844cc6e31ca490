package redisstore

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-1972b8eb/signet/internal/revocations"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, c Config) *Set {
	t.Helper()
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// within is a context for one call that is expected to be answered.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func identity(t testing.TB, s *Set) revocations.Identity {
	t.Helper()
	id, err := s.Identity(within(t))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// taken is a revocation of a token that has an hour left.
func taken(jti string) revocations.Revocation {
	return revocations.Revocation{JTI: jti, ExpiresAt: time.Now().Add(time.Hour)}
}

// asked is a token that no cut-off of these tests concerns.
func asked(jti string) revocations.Token { return revocations.Token{JTI: jti, Generation: 1} }

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// filled makes a complete set of generation 1 with one token, "gone".
func filled(t testing.TB, s *Set) revocations.Identity {
	t.Helper()
	id := identity(t, s)
	must(t, s.Begin(within(t), id, 1))
	must(t, s.Add(within(t), id, []revocations.Revocation{taken("gone")}, nil))
	must(t, s.Finish(within(t), id, 1))
	wantRevoked(t, s, id, asked("gone"), true)
	wantRevoked(t, s, id, asked("alive"), false)
	return id
}

func wantRevoked(t testing.TB, s *Set, id revocations.Identity, token revocations.Token, want bool) {
	t.Helper()
	if got, err := one(s.Revoked(within(t), id, 1, []revocations.Token{token})); err != nil || got != want {
		t.Errorf("%+v: revoked %v, %v; want %v", token, got, err, want)
	}
}

// one is the answer to a question about one token.
func one(answers []bool, err error) (bool, error) {
	return err == nil && answers[0], err
}
