package tokens_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/tokens"
)

// TestParseFreshBesideAnUnusableKey holds that a key which cannot be unsealed makes the tokens under it unknowable, and no
// others: garbage with a kid of nobody stays invalid for however long the operator leaves that key as it is.
func TestParseFreshBesideAnUnusableKey(t *testing.T) {
	t.Parallel()
	issuer, d := newIssuer(t, apis.ES256)
	now := time.Now()
	signed := func() string {
		token, _, err := issuer.Issue(now, someClaims(now), apis.ES256, apis.TypAccessToken)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	under := signed()
	d.rotate(t)
	over := signed()
	elsewhere, _ := newIssuer(t, apis.ES256)
	foreign, _, err := elsewhere.Issue(now, someClaims(now), apis.ES256, apis.TypAccessToken)
	if err != nil {
		t.Fatal(err)
	}
	err = d.store.UpdateKeySet(t.Context(), func(set *keys.Set) (audit.Event, error) {
		i := slices.IndexFunc(set.Keys, func(r keys.Record) bool { return r.State == keys.Retiring })
		set.Keys[i].Sealed = []byte("damaged")
		return audit.Event{Time: now, Action: "test.damage"}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	restarted := tokens.NewIssuer(issuerName, keys.NewRing(d.store, d.sealer, keys.DefaultPlan()))
	for range 2 { // the second time the ring has been read before
		if _, err := restarted.ParseFresh(t.Context(), foreign, now); !errors.Is(err, tokens.ErrInvalid) {
			t.Errorf("a kid of nobody: %v, want ErrInvalid", err)
		}
		if _, err := restarted.ParseFresh(t.Context(), under, now); err == nil || errors.Is(err, tokens.ErrInvalid) {
			t.Errorf("under the damaged key: %v, want that it cannot be known", err)
		}
		if _, err := restarted.ParseFresh(t.Context(), over, now); err != nil {
			t.Errorf("under a sound key: %v", err)
		}
	}
	d.store.Fail(errors.New("connection refused"))
	if _, err := restarted.ParseFresh(t.Context(), foreign, now); err == nil || errors.Is(err, tokens.ErrInvalid) {
		t.Errorf("a kid of nobody in an outage: %v, want that it cannot be known", err)
	}
}
