package tokens_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/tokens"
)

// decode returns header, claims and signature of a token, as plain JSON and bytes, read without this package.
func decode(t *testing.T, token string) (map[string]any, map[string]any, []byte) {
	t.Helper()
	var header, claims map[string]any
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%d segments", len(parts))
	}
	for i, into := range []any{&header, &claims} {
		text, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatal(err)
		}
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	return header, claims, signature
}

// AT-01 to AT-08, AT-13: what stands in a token, and that nothing else does.
func TestIssue(t *testing.T) {
	t.Parallel()
	issuer, d := newIssuer(t, apis.ES256, apis.EdDSA, apis.RS256)
	now := time.Date(2026, 3, 1, 12, 0, 0, 987654321, time.FixedZone("", 3600))
	for _, alg := range []apis.Alg{apis.ES256, apis.EdDSA, apis.RS256} {
		for _, typ := range []apis.Typ{apis.TypAccessToken, apis.TypJWT} {
			c := someClaims(now)
			c.Generation = 7
			c.Extra = map[string]any{"team": "blue <&>", "limits": map[string]any{"rps": 5}, "tags": []string{"a", "b"}}
			token, issued, err := issuer.Issue(now, c, alg, typ)
			if err != nil {
				t.Fatal(err)
			}
			active, err := d.ring.Sign(alg)
			if err != nil {
				t.Fatal(err)
			}
			header, claims, signature := decode(t, token)
			if diff := cmp.Diff(map[string]any{"alg": string(alg), "kid": active.KID, "typ": string(typ)}, header); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
			want := map[string]any{
				"iss": issuerName, "sub": clientID, "client_id": clientID, "aud": "https://api.test/orders",
				"scope": "orders:read orders:write", "iat": 1772362800.0, "exp": 1772363100.0, "jti": issued.ID, "gen": 7.0,
				"team": "blue <&>", "limits": map[string]any{"rps": 5.0}, "tags": []any{"a", "b"},
			}
			if diff := cmp.Diff(want, claims); diff != "" {
				t.Errorf("claims (-want +got):\n%s", diff)
			}
			if wantSize := map[apis.Alg]int{apis.ES256: 64, apis.EdDSA: 64, apis.RS256: 256}[alg]; len(signature) != wantSize {
				t.Errorf("%s: the signature has %d bytes, want %d", alg, len(signature), wantSize)
			}
			if id, err := base64.RawURLEncoding.DecodeString(issued.ID); err != nil || len(id) != 16 {
				t.Errorf("jti has %d bytes, want 16 (%v)", len(id), err)
			}
			checkBack(t, issuer, token, issued, now)
		}
	}
}

// checkBack parses what was issued and compares it with what Issue said.
func checkBack(t *testing.T, issuer *tokens.Issuer, token string, issued tokens.Claims, now time.Time) {
	t.Helper()
	parsed, err := issuer.Parse(token, now)
	if err != nil {
		t.Fatal(err)
	}
	viaJSON := func(extra map[string]any) string {
		text, err := json.Marshal(extra)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if got, want := viaJSON(parsed.Extra), viaJSON(issued.Extra); got != want {
		t.Errorf("static claims are %s, want %s", got, want)
	}
	parsed.Extra, issued.Extra = nil, nil
	if diff := cmp.Diff(issued, parsed); diff != "" {
		t.Errorf("claims (-issued +parsed):\n%s", diff)
	}
}

// AT-12: the default token is small.
func TestIssueIsSmall(t *testing.T) {
	t.Parallel()
	issuer, _ := newIssuer(t, apis.ES256)
	token, _, err := issuer.Issue(time.Now(), someClaims(time.Now()), apis.ES256, apis.TypAccessToken)
	if err != nil || len(token) > 1024 {
		t.Errorf("%d bytes, want at most 1 KiB (%v)", len(token), err)
	}
}

// AT-10.
func TestIDsNeverRepeat(t *testing.T) {
	t.Parallel()
	issuer, _ := newIssuer(t, apis.EdDSA)
	seen := map[string]bool{}
	const n = 2000
	for range n {
		_, c, err := issuer.Issue(time.Now(), someClaims(time.Now()), apis.EdDSA, apis.TypAccessToken)
		if err != nil {
			t.Fatal(err)
		}
		seen[c.ID] = true
	}
	if len(seen) != n {
		t.Errorf("%d of %d are different", len(seen), n)
	}
}

func TestIssueEscapes(t *testing.T) {
	t.Parallel()
	issuer, _ := newIssuer(t, apis.EdDSA)
	now := time.Now()
	c := someClaims(now)
	c.Scope, c.Audience = `a","sub":"client_admin`, "https://api.test/\u2028\x01\"\\"
	c.Extra = map[string]any{`x","sub":"client_admin`: `"},{"`}
	token, issued, err := issuer.Issue(now, c, apis.EdDSA, apis.TypAccessToken)
	if err != nil {
		t.Fatal(err)
	}
	if _, claims, _ := decode(t, token); claims["sub"] != clientID || claims["scope"] != c.Scope || claims["aud"] != c.Audience || len(claims) != 10 {
		t.Errorf("claims are %v", claims)
	}
	checkBack(t, issuer, token, issued, now)
}

func TestIssueRefuses(t *testing.T) {
	t.Parallel()
	issuer, _ := newIssuer(t, apis.EdDSA)
	now := time.Now()
	deep := any("x")
	for range 40 {
		deep = []any{deep}
	}
	for name, change := range map[string]func(*tokens.Claims){
		"no subject":        func(c *tokens.Claims) { c.Subject = "" },
		"no client":         func(c *tokens.Claims) { c.ClientID = "" },
		"no audience":       func(c *tokens.Claims) { c.Audience = "" },
		"no scope":          func(c *tokens.Claims) { c.Scope = "" },
		"invalid UTF-8":     func(c *tokens.Claims) { c.Scope = "a\xff" },
		"no expiry":         func(c *tokens.Claims) { c.ExpiresAt = time.Time{} },
		"expired":           func(c *tokens.Claims) { c.ExpiresAt = now.Add(-time.Second) },
		"expires now":       func(c *tokens.Claims) { c.ExpiresAt = now },
		"above the ceiling": func(c *tokens.Claims) { c.ExpiresAt = now.Add(apis.MaxTokenTTL + 2*time.Second) },
		"generation 0":      func(c *tokens.Claims) { c.Generation = 0 },
		"reserved claim":    func(c *tokens.Claims) { c.Extra = map[string]any{"sub": "client_other"} },
		"reserved, folded":  func(c *tokens.Claims) { c.Extra = map[string]any{"Sub": "client_other"} },
		"nameless claim":    func(c *tokens.Claims) { c.Extra = map[string]any{"": 1} },
		"name not UTF-8":    func(c *tokens.Claims) { c.Extra = map[string]any{"a\xff": 1} },
		"not JSON":          func(c *tokens.Claims) { c.Extra = map[string]any{"x": math.Inf(1)} },
		"duplicates inside": func(c *tokens.Claims) { c.Extra = map[string]any{"x": json.RawMessage(`{"a":1,"a":2}`)} },
		"nested too deeply": func(c *tokens.Claims) { c.Extra = map[string]any{"x": deep} },
		"too long":          func(c *tokens.Claims) { c.Extra = map[string]any{"x": strings.Repeat("x", tokens.MaxSize)} },
	} {
		c := someClaims(now)
		change(&c)
		if token, _, err := issuer.Issue(now, c, apis.EdDSA, apis.TypAccessToken); err == nil || token != "" {
			t.Errorf("%s: a token was issued", name)
		}
	}
	wide := someClaims(now)
	wide.Scope = strings.Repeat("s", tokens.MaxSize)
	if _, _, err := issuer.Issue(now, wide, apis.EdDSA, apis.TypAccessToken); !errors.Is(err, tokens.ErrTooLarge) {
		t.Errorf("Issue with too much scope = %v, want ErrTooLarge", err)
	}
	if _, _, err := issuer.Issue(now, someClaims(now), apis.EdDSA, "id+jwt"); err == nil {
		t.Error("a token of another type was issued")
	}
	if _, _, err := issuer.Issue(now, someClaims(now), apis.RS256, apis.TypAccessToken); !errors.Is(err, keys.ErrNoActiveKey) {
		t.Errorf("Issue without a key = %v, want ErrNoActiveKey", err)
	}
}

// What is registered as a static claim can be signed, so the check at registration must not be laxer than Issue.
func TestCheckStatic(t *testing.T) {
	t.Parallel()
	nested := func(n int) any { return json.RawMessage(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	for name, test := range map[string]struct {
		claims map[string]any
		ok     bool
	}{
		"none":              {nil, true},
		"plain":             {map[string]any{"tenant": "x", "roles": []string{"a"}, "n": 1.5}, true},
		"31 deep":           {map[string]any{"x": nested(31)}, true},
		"32 deep":           {map[string]any{"x": nested(32)}, false},
		"duplicates inside": {map[string]any{"x": json.RawMessage(`{"a":1,"a":2}`)}, false},
		"not JSON":          {map[string]any{"x": math.Inf(1)}, false},
	} {
		if err := tokens.CheckStatic(test.claims); (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
		issuer, _ := newIssuer(t, apis.EdDSA)
		c := someClaims(time.Now())
		c.Extra = test.claims
		if _, _, err := issuer.Issue(time.Now(), c, apis.EdDSA, apis.TypAccessToken); (err == nil) != test.ok {
			t.Errorf("%s: Issue says %v", name, err)
		}
	}
}

// AT-11: no static claim can look like one of the server's, in any spelling.
func TestIsReserved(t *testing.T) {
	t.Parallel()
	issuer, _ := newIssuer(t, apis.EdDSA)
	token, _, err := issuer.Issue(time.Now(), someClaims(time.Now()), apis.EdDSA, apis.TypAccessToken)
	if err != nil {
		t.Fatal(err)
	}
	header, claims, _ := decode(t, token)
	names := []string{"nbf", "cnf", "act", "may_act", "status", "bind", "auth_time", "acr", "amr", "SUB", "Client_Id"}
	for name := range claims {
		names = append(names, name)
	}
	for name := range header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if !tokens.IsReserved(name) {
			t.Errorf("%s is not reserved", name)
		}
	}
	for _, name := range []string{"", "team", "subject", "tenant", "https://as.test/claim", "groups"} {
		if tokens.IsReserved(name) {
			t.Errorf("%s is reserved", name)
		}
	}
}

// TestIDIsNoFlag keeps `signet token revoke JTI` from reading a jti as a flag.
func TestIDIsNoFlag(t *testing.T) {
	t.Parallel()
	i, _ := newIssuer(t, apis.EdDSA)
	now := time.Now()
	for range 1000 { // one in 64 began with "-"
		_, c, err := i.Issue(now, someClaims(now), apis.EdDSA, apis.TypAccessToken)
		if err != nil || c.ID[0] == '-' || len(c.ID) != 22 {
			t.Fatalf("jti %q, %v", c.ID, err)
		}
	}
}
