package oauth_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/oauth"
	"github.com/seed-1972b8eb/signet/internal/tokens"
)

const inactive = "{\"active\":false}\n"

func TestIntrospectActive(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.add(&clients.Client{
		ID: "client_ClaimsClaimsClaims00", Generation: 3, Claims: map[string]any{"tier": "gold", "active": "no", "token_type": "x"},
		Grants: []clients.Grant{{API: ordersAPI, Scopes: []string{"orders:read"}}},
	})
	token := b.issue(t, c.ID)
	var want map[string]any
	payload, err := jwt.NewParser().DecodeSegment(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(payload, &want); err != nil {
		t.Fatal(err)
	}
	want["active"], want["token_type"] = true, "Bearer" // INT-01, INT-02: the token's claims and these two
	for _, caller := range []string{c.ID, introspectID} {
		a := b.introspect(t, caller, token)
		if diff := cmp.Diff(want, a.json); a.status != http.StatusOK || diff != "" {
			t.Errorf("%s: %d %s", caller, a.status, diff)
		}
	}
}

// TestIntrospectTokenOfUnknownClient is about the time after a restore: a client that was made after the backup is unknown
// and has no cut-off, but its tokens are still out there.
func TestIntrospectTokenOfUnknownClient(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.issue(t, basicID)
	if a := b.introspect(t, introspectID, token); a.json["active"] != true {
		t.Fatalf("before: %s", a.body)
	}
	b.registry.mu.Lock()
	delete(b.registry.clients, basicID)
	b.registry.mu.Unlock()
	if a := b.introspect(t, introspectID, token); a.body != inactive {
		t.Errorf("after: %s", a.body)
	}
}

// TestIntrospectTokenOfExpiredClient: no token outlives its client, also when the client's expiry was brought forward after
// the token was issued.
func TestIntrospectTokenOfExpiredClient(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.issue(t, basicID)
	shortened := *b.registry.clients[basicID]
	shortened.ExpiresAt = time.Now()
	b.registry.set(&shortened)
	if a := b.introspect(t, introspectID, token); a.body != inactive {
		t.Errorf("after the client has expired: %s", a.body)
	}
}

func TestIntrospectInactive(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.add(&clients.Client{ID: "client_SvcSvcSvcSvcSvcSvc00", Grants: []clients.Grant{{API: svcAPI, Scopes: []string{"jobs:run"}}}})
	token, foreign := b.issue(t, basicID), b.issue(t, c.ID)
	parts := strings.Split(token, ".")
	for name, test := range map[string]struct {
		caller, token string
	}{
		"J1 another client":               {otherID, token},
		"INT-09 not in the aud":           {introspectID, foreign},
		"INT-03 garbage":                  {basicID, "garbage"},
		"INT-12 signature":                {basicID, parts[0] + "." + parts[1] + "." + "AAAA" + parts[2][4:]},
		"REV-12 other spelling":           {basicID, parts[0] + "." + parts[1] + "." + nonCanonical(parts[2])},
		"A1 JSON serialisation":           {basicID, `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`},
		"H1 dots":                         {basicID, strings.Repeat(".", 60_000)},
		"H5 five parts":                   {basicID, "a.b.c.d.e"},
		"GEN-09 large":                    {basicID, strings.Repeat("W", 60_000)},
		"J9 an assertion":                 {basicID, ecSigner().sign(t, change(), nil)},
		"an API token of nobody":          {basicID, "signet_at_" + strings.Repeat("a", 61)},
		"a client secret":                 {basicID, b.secrets[basicID]},
		"a space before":                  {basicID, " " + token},
		"the caller has no rights at all": {c.ID, token},
	} {
		a := b.introspect(t, test.caller, test.token)
		if a.status != http.StatusOK || a.body != inactive {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

// The reason why a token is inactive is for metrics, and not in the answer.
func TestIntrospectionJSON(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(&oauth.Introspection{Caller: basicID, Reason: oauth.ReasonTokenRevoked, Claims: tokens.Claims{Subject: "x"}})
	if err != nil || string(text) != `{"active":false}` {
		t.Errorf("%s %v", text, err)
	}
}

func TestIntrospectEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		token := b.issue(t, basicID)
		claims, err := b.tokens.Parse(token, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(claims.ExpiresAt) - time.Millisecond)
		if a := b.introspect(t, basicID, token); a.json["active"] != true {
			t.Errorf("before exp: %s", a.body)
		}
		time.Sleep(time.Millisecond)
		if a := b.introspect(t, basicID, token); a.body != inactive { // ATTACKS I15
			t.Errorf("at exp: %s", a.body)
		}
	})
}

// REV-15: a cut-off ends tokens of lower generations, and only those.
func TestIntrospectCutOff(t *testing.T) {
	t.Parallel()
	b := setup(t)
	before := b.issue(t, basicID)
	b.revoked.cutOffs = map[string]int64{basicID: 2}
	if a := b.introspect(t, basicID, before); a.body != inactive {
		t.Errorf("before the cut-off: %s", a.body)
	}
	raised := *b.registry.clients[basicID]
	raised.Generation = 2
	b.registry.set(&raised)
	if a := b.introspect(t, basicID, b.issue(t, basicID)); a.json["active"] != true {
		t.Errorf("after the cut-off: %s", a.body)
	}
}

// TestIntrospectGenerationOfAnEndedCutOff: a cut-off is kept for as long as tokens live by one clock; a token whose issuer was
// ahead lives longer, and the generation of its client ends it.
func TestIntrospectGenerationOfAnEndedCutOff(t *testing.T) {
	t.Parallel()
	b := setup(t)
	before := b.issue(t, basicID)
	raised := *b.registry.clients[basicID]
	raised.Generation++
	b.registry.set(&raised)
	for _, caller := range []string{basicID, introspectID} {
		if a := b.introspect(t, caller, before); a.body != inactive {
			t.Errorf("%s is told: %s", caller, a.body)
		}
		if a := b.introspect(t, caller, b.issue(t, basicID)); a.json["active"] != true {
			t.Errorf("%s is told of one from after the cut-off: %s", caller, a.body)
		}
	}
}

func TestIntrospectRefuses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.issue(t, basicID)
	form := url.Values{"token": {token}}
	tests := map[string]struct {
		r      request
		status int
		code   string
		reason oauth.Reason
	}{
		"INT-04 nobody":           {request{form: form}, 401, "invalid_client", oauth.ReasonNoCredentials},
		"INT-05 wrong secret":     {request{basic: [2]string{basicID, b.secrets[otherID]}, form: form}, 401, "invalid_client", oauth.ReasonSecretMismatch},
		"INT-07 Bearer":           {request{headers: header("Bearer " + token), form: form}, 401, "invalid_client", oauth.ReasonAuthScheme},
		"INT-08 access_token":     {request{query: "?access_token=" + token, form: form}, 401, "invalid_client", oauth.ReasonNoCredentials},
		"INT-08 in the form":      {request{form: url.Values{"token": {token}, "access_token": {token}}}, 401, "invalid_client", oauth.ReasonNoCredentials},
		"INT-10 no token":         {request{basic: b.basic(basicID), body: "x=y"}, 400, "invalid_request", oauth.ReasonParamMissing},
		"N7 token in the query":   {request{basic: b.basic(basicID), query: "?token=" + token, body: "x=y"}, 400, "invalid_request", oauth.ReasonParamInQuery},
		"token twice":             {request{basic: b.basic(basicID), form: url.Values{"token": {token, token}}}, 400, "invalid_request", oauth.ReasonParamRepeated},
		"GEN-02 GET":              {request{method: http.MethodGet, basic: b.basic(basicID)}, 405, "invalid_request", oauth.ReasonMethod},
		"GEN-03 JSON":             {typed("application/json", `{"token":"x"}`), 415, "invalid_request", oauth.ReasonContentType},
		"GEN-08 a very large one": {request{basic: b.basic(basicID), body: "token=" + strings.Repeat("a", oauth.MaxBody)}, 413, "invalid_request", oauth.ReasonBodyTooLarge},
	}
	for name, test := range tests {
		for _, path := range []string{introspectPath, revokePath} {
			t.Run(name+path, func(t *testing.T) {
				t.Parallel()
				r := test.r
				r.path = path
				wantError(t, b.send(t, r), test.status, test.code, test.reason)
			})
		}
	}
}

// INT-13: not active:false, which would be a guess.
func TestIntrospectOutage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.issue(t, basicID)
	b.revoked.down = errors.New("dial: refused")
	a := b.introspect(t, basicID, token)
	wantError(t, a, 503, "temporarily_unavailable", oauth.ReasonUnavailable)
	if _, said := a.json["active"]; said {
		t.Errorf("a guess: %s", a.body)
	}
	// What needs no store is still known.
	if a := b.introspect(t, basicID, "garbage"); a.body != inactive {
		t.Errorf("%d %s", a.status, a.body)
	}
}
