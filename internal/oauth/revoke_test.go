package oauth_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/oauth"
	"github.com/seed-1972b8eb/signet/internal/tokens"
)

func (b *bundle) revoke(tb testing.TB, id, token string, more ...string) answer {
	tb.Helper()
	form := url.Values{"token": {token}}
	for i := 0; i+1 < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return b.send(tb, request{path: revokePath, basic: b.basic(id), form: form})
}

func (b *bundle) introspect(tb testing.TB, id, token string, more ...string) answer {
	tb.Helper()
	form := url.Values{"token": {token}}
	for i := 0; i+1 < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return b.send(tb, request{path: introspectPath, basic: b.basic(id), form: form})
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.issue(t, basicID)
	claims, err := b.tokens.Parse(token, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if a := b.revoke(t, basicID, token); a.status != http.StatusOK || a.body != "" { // REV-01
		t.Fatalf("got %d %s", a.status, a.body)
	}
	if a := b.introspect(t, basicID, token); a.body != "{\"active\":false}\n" { // REV-02
		t.Errorf("after revocation: %s", a.body)
	}
	if len(b.revoked.list) != 1 || b.revoked.list[0].JTI != claims.ID || !b.revoked.list[0].ExpiresAt.Equal(claims.ExpiresAt) {
		t.Errorf("written: %+v", b.revoked.list)
	}
	event := b.revoked.events[0]
	if event.Action != "token.revoke" || event.Subject != claims.ID || event.ClientID != basicID || event.Time.IsZero() {
		t.Errorf("event: %+v", event)
	}
	if diff := cmp.Diff(audit.Actor{ID: basicID, RequestID: "req-1", Source: "192.0.2.1"}, event.Actor); diff != "" {
		t.Error(diff)
	}
	// REV-03, and the promise is made anew: the store is told again.
	if a := b.revoke(t, basicID, token); a.status != http.StatusOK || len(b.revoked.list) != 2 {
		t.Errorf("again: %d, %d writes", a.status, len(b.revoked.list))
	}
	for _, hint := range []string{"nonsense", "refresh_token", "access_token"} { // REV-08, REV-09
		token := b.issue(t, basicID)
		if a := b.revoke(t, basicID, token, "token_type_hint", hint); a.status != 200 {
			t.Errorf("hint %s: %d", hint, a.status)
		}
		if a := b.introspect(t, basicID, token, "token_type_hint", hint); a.json["active"] != false {
			t.Errorf("hint %s: still active", hint)
		}
	}
}

func TestRevokeNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.issue(t, otherID)
	parts := strings.Split(token, ".")
	for name, text := range map[string]string{
		"garbage":    "garbage",
		"no key":     "eyJhbGciOiJub25lIn0.e30.",
		"tampered":   parts[0] + "." + parts[1] + "." + nonCanonical(parts[2]),
		"truncated":  token[:len(token)-1],
		"very large": strings.Repeat("a", 60_000),
		"dots":       strings.Repeat(".", 60_000),
		"API token":  "signet_at_" + strings.Repeat("a", 61),
	} {
		if a := b.revoke(t, basicID, text); a.status != http.StatusOK || a.body != "" { // REV-03
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if len(b.revoked.list) != 0 {
		t.Errorf("written: %+v", b.revoked.list)
	}
}

// TestRevokeExpired: what has expired by this clock may live by another one, or by this one once it is set right.
func TestRevokeExpired(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		token := b.issue(t, basicID)
		for n, wait := range []time.Duration{5*time.Minute + 59*time.Second, 2 * time.Second, 48 * time.Hour} {
			time.Sleep(wait)
			if a := b.revoke(t, basicID, token); a.status != 200 || len(b.revoked.list) != n+1 {
				t.Errorf("expired: %d, %d writes, want %d", a.status, len(b.revoked.list), n+1)
			}
		}
	})
}

// TestKeyMadeElsewhere is about a token under a key that another replica has made since this one last read the keys: a 200 to
// its revocation must mean that it was taken back.
func TestKeyMadeElsewhere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other := keys.NewRing(b.store, b.sealer, keys.DefaultPlan())
	if err := b.manager.Ensure(t.Context(), audit.System(), apis.EdDSA); err != nil {
		t.Fatal(err)
	}
	if err := other.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	token, claims, err := tokens.NewIssuer(issuer, other).Issue(time.Now(), tokens.Claims{
		Subject: basicID, ClientID: basicID, Audience: ordersAPI, Scope: "orders:read", Generation: 1, ExpiresAt: time.Now().Add(time.Minute),
	}, apis.EdDSA, apis.TypAccessToken)
	if err != nil {
		t.Fatal(err)
	}
	b.store.Fail(errors.New("connection refused"))
	wantError(t, b.introspect(t, basicID, token), 503, "temporarily_unavailable", oauth.ReasonUnavailable)
	wantError(t, b.revoke(t, basicID, token), 503, "temporarily_unavailable", oauth.ReasonUnavailable)
	b.store.Fail(nil)
	if a := b.introspect(t, basicID, token); a.json["active"] != true {
		t.Errorf("introspected: %d %s", a.status, a.body)
	}
	if a := b.revoke(t, basicID, token); a.status != http.StatusOK || len(b.revoked.list) != 1 || b.revoked.list[0].JTI != claims.ID {
		t.Errorf("revoked: %d %s, written %+v", a.status, a.body, b.revoked.list)
	}
}

func TestRevokeRefuses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.issue(t, basicID)
	for _, missing := range []url.Values{{}, {"token": {""}}, {"access_token": {token}}} { // REV-04
		a := b.send(t, request{path: revokePath, basic: b.basic(basicID), form: missing})
		wantError(t, a, 400, "invalid_request", oauth.ReasonParamMissing)
	}
	a := b.revoke(t, otherID, token) // REV-05
	wantError(t, a, 400, "unauthorized_client", oauth.ReasonForeignToken)
	if a.err.ClientID != otherID {
		t.Errorf("the refusal is recorded of %q", a.err.ClientID)
	}
	// Who may introspect a token may not take it back.
	wantError(t, b.revoke(t, introspectID, token), 400, "unauthorized_client", oauth.ReasonForeignToken)
	// REV-06, E5
	form := url.Values{"token": {token}}
	wantError(t, b.send(t, request{path: revokePath, form: form}), 401, "invalid_client", oauth.ReasonNoCredentials)
	a = b.send(t, request{path: revokePath, basic: [2]string{basicID, b.secrets[otherID]}, form: form})
	wantError(t, a, 401, "invalid_client", oauth.ReasonSecretMismatch)
	wantError(t, b.send(t, request{path: revokePath, headers: header("Bearer " + token), form: form}), 401, "invalid_client", oauth.ReasonAuthScheme)
	a = b.send(t, request{path: revokePath, query: "?token=" + token, basic: b.basic(basicID), form: form})
	wantError(t, a, 400, "invalid_request", oauth.ReasonParamInQuery)
	if a := b.introspect(t, basicID, token); a.json["active"] != true || len(b.revoked.list) != 0 {
		t.Errorf("the token was taken back by somebody who may not: %s", a.body)
	}
}

// REV-07, ATTACKS I1: when nobody knows whether it was written, the answer is 503 and not 200.
func TestRevokeOutage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.issue(t, basicID)
	b.revoked.down = errors.New("commit: connection reset")
	wantError(t, b.revoke(t, basicID, token), 503, "temporarily_unavailable", oauth.ReasonUnavailable)
	b.revoked.down = nil
	if a := b.introspect(t, basicID, token); a.json["active"] != true {
		t.Errorf("got %s", a.body)
	}
	if a := b.revoke(t, basicID, token); a.status != 200 {
		t.Errorf("after recovery: %d", a.status)
	}
	b.registry.down = errors.New("down")
	wantError(t, b.revoke(t, basicID, token), 503, "temporarily_unavailable", oauth.ReasonUnavailable)
}

// TestRevokeUnderAnUnknownKey: the key may have been revoked a moment ago, by a replica that has not brought it to all others
// yet. That nothing is left to revoke is said when it has, and is 503 when nobody knows.
func TestRevokeUnderAnUnknownKey(t *testing.T) {
	t.Parallel()
	b := setup(t)
	foreign := setup(t).issue(t, basicID)
	if a := b.revoke(t, basicID, foreign); a.status != http.StatusOK || b.revoked.confirmed != 1 || len(b.revoked.list) != 0 {
		t.Errorf("%d %s after %d confirmations", a.status, a.body, b.revoked.confirmed)
	}
	b.revoked.down = errors.New("no connection")
	wantError(t, b.revoke(t, basicID, foreign), 503, "temporarily_unavailable", oauth.ReasonUnavailable)
	b.revoked.down = nil
	if a := b.revoke(t, basicID, "garbage"); a.status != http.StatusOK || b.revoked.confirmed != 2 {
		t.Errorf("garbage: %d after %d confirmations; there is no key to confirm", a.status, b.revoked.confirmed)
	}
}
