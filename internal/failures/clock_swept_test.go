package failures

import (
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/clock"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// sweptWithin is how often a server deletes what has expired, and a margin.
const sweptWithin = 70 * time.Second

// TestSweptByAWrongClock: a server on SQLite whose clock jumps two days ahead does not forget what was taken back: the tokens live
// when the clock is right again.
func TestSweptByAWrongClock(t *testing.T) {
	t.Parallel()
	long(t)
	c := clock.New(t)
	s := serve(t, servertest.Config{Clock: c})
	_, err := s.admin.CreateAPI(t.Context(), adminapi.NewAPI{
		Identifier: "https://long.test", Name: "Long", TokenTTL: 3600, Scopes: []adminapi.NewScope{{Name: "long:read"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	register := func() client {
		return s.register(t, adminapi.NewClient{Grants: []adminapi.Grant{{API: "https://long.test", Scopes: []string{"long:read"}}}})
	}
	watch, cut, keyed := register(), register(), s.keyedClient(t)
	taken, spared, cutOff := s.token(t, watch), s.token(t, watch), s.token(t, cut)
	s.revoke(watch, taken).want(t)
	if _, err := s.admin.CutOff(t.Context(), adminapi.NewCutOff{Client: cut.id}); err != nil {
		t.Fatal(err)
	}
	used := s.assertion(t, keyed, 5*time.Minute)
	s.present(used).want(t)

	c.Set(48 * time.Hour)
	s.settled(t, watch)
	during(t, sweptWithin, func() {
		if a := s.introspect(watch, taken); !a.inactive() {
			t.Errorf("by the clock that is ahead: %d %s (%v)", a.status, a.body, a.err)
		}
	})
	c.Set(0)
	s.settled(t, watch)
	for what, a := range map[string]answer{"a revoked token": s.introspect(watch, taken), "a token that was cut off": s.introspect(cut, cutOff)} {
		if !a.inactive() {
			t.Errorf("%s, after the clock was set right: %d %s (%v)", what, a.status, a.body, a.err)
		}
	}
	if a := s.present(used); a.ok() {
		t.Errorf("an assertion that was used: %d %s (%v), want 401", a.status, a.body, a.err)
	}
	if a := s.introspect(watch, spared); !a.active() {
		t.Errorf("a token that nobody took back: %d %s (%v)", a.status, a.body, a.err)
	}
}
