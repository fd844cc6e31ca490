package oauth_test

import (
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/oauth"
)

// A revoked key ends every token under it, whatever the client's generation: the store is told the key.
func TestIntrospectRevokedKey(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.issue(t, basicID)
	claims, err := b.tokens.Parse(token, time.Now())
	if err != nil || claims.KID == "" {
		t.Fatalf("%+v (%v)", claims, err)
	}
	b.revoked.keys = map[string]bool{claims.KID: true}
	if a := b.introspect(t, introspectID, token); a.body != inactive {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestIntrospectClientInDoubt: where only the token's client cannot be looked up, nobody knows whether there still is one.
func TestIntrospectClientInDoubt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.issue(t, basicID)
	b.registry.lost = basicID
	a := b.introspect(t, introspectID, token)
	wantError(t, a, 503, "temporarily_unavailable", oauth.ReasonUnavailable)
	if _, said := a.json["active"]; said {
		t.Errorf("a guess: %s", a.body)
	}
}
