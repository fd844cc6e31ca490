package oauth_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/oauth"
)

const bothID = "client_BothBothBothBoth0000"

// withBoth adds a client that is granted scopes of two APIs, one scope name of which is in both.
func withBoth(t *testing.T) *bundle {
	t.Helper()
	b := setup(t)
	b.add(&clients.Client{ID: bothID, Grants: []clients.Grant{
		{API: ordersAPI, Scopes: []string{"orders:read", "orders:write"}, Defaults: []string{"orders:read"}},
		{API: svcAPI, Scopes: []string{"jobs:run", "orders:read"}},
	}})
	return b
}

func TestPolicyGrants(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		client string
		form   url.Values
		aud    string
		scope  string
	}{
		"CC-15 the only API":            {basicID, ccForm(), ordersAPI, "orders:read orders:write"},
		"CC-09 resource":                {basicID, ccForm("resource", ordersAPI), ordersAPI, "orders:read orders:write"},
		"audience":                      {bothID, ccForm("audience", svcAPI), svcAPI, "jobs:run orders:read"},
		"resource and audience agree":   {bothID, ccForm("audience", svcAPI, "resource", svcAPI), svcAPI, "jobs:run orders:read"},
		"empty resource counts as none": {basicID, ccForm("resource", ""), ordersAPI, "orders:read orders:write"},
		"CC-04 default scopes":          {bothID, ccForm("resource", ordersAPI), ordersAPI, "orders:read"},
		"scopes name the API":           {bothID, ccForm("scope", "jobs:run"), svcAPI, "jobs:run"},
		"one API fits all scopes":       {bothID, ccForm("scope", "orders:read jobs:run"), svcAPI, "orders:read jobs:run"},
		"scope twice is once":           {basicID, ccForm("scope", "orders:write orders:read orders:write"), ordersAPI, "orders:write orders:read"},
		"same scope, chosen resource":   {bothID, ccForm("scope", "orders:read", "resource", svcAPI), svcAPI, "orders:read"},
	}
	b := withBoth(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := b.send(t, request{basic: b.basic(test.client), form: test.form})
			if a.status != http.StatusOK {
				t.Fatalf("got %d %s", a.status, a.body)
			}
			claims, err := b.tokens.Parse(a.token(), time.Now())
			if err != nil || claims.Audience != test.aud || claims.Scope != test.scope || a.json["scope"] != test.scope {
				t.Errorf("aud %q scope %q (%v)", claims.Audience, claims.Scope, err)
			}
		})
	}
}

func TestPolicyRefuses(t *testing.T) {
	t.Parallel()
	scope := func(text string) url.Values { return ccForm("scope", text) }
	tests := map[string]struct {
		client string
		form   url.Values
		code   string
		reason oauth.Reason
	}{
		"TOK-12 no grants":             {introspectID, ccForm(), "unauthorized_client", oauth.ReasonNoGrants},
		"CC-05 not granted":            {basicID, scope("orders:delete"), "invalid_scope", oauth.ReasonScopeNotGranted},
		"CC-05 one of two":             {basicID, scope("orders:read jobs:run"), "invalid_scope", oauth.ReasonScopeNotGranted},
		"CC-02 offline_access":         {basicID, scope("offline_access"), "invalid_scope", oauth.ReasonScopeNotGranted},
		"CC-06 case":                   {basicID, scope("ORDERS:READ"), "invalid_scope", oauth.ReasonScopeNotGranted},
		"K2 prefix":                    {basicID, scope("orders"), "invalid_scope", oauth.ReasonScopeNotGranted},
		"K2 extension":                 {basicID, scope("orders:read.all"), "invalid_scope", oauth.ReasonScopeNotGranted},
		"CC-07 quote":                  {basicID, scope(`orders:read"`), "invalid_scope", oauth.ReasonScopeMalformed},
		"CC-07 backslash":              {basicID, scope(`orders\read`), "invalid_scope", oauth.ReasonScopeMalformed},
		"CC-07 tab":                    {basicID, scope("orders:read\torders:write"), "invalid_scope", oauth.ReasonScopeMalformed},
		"CC-07 non-ASCII":              {basicID, scope("orders:réad"), "invalid_scope", oauth.ReasonScopeMalformed},
		"CC-07 double space":           {basicID, scope("orders:read  orders:write"), "invalid_scope", oauth.ReasonScopeMalformed},
		"CC-07 leading space":          {basicID, scope(" orders:read"), "invalid_scope", oauth.ReasonScopeMalformed},
		"CC-07 only a space":           {basicID, scope(" "), "invalid_scope", oauth.ReasonScopeMalformed},
		"CC-08 wildcard":               {basicID, scope("orders:*"), "invalid_scope", oauth.ReasonScopeMalformed},
		"CC-08 star":                   {basicID, scope("*"), "invalid_scope", oauth.ReasonScopeMalformed},
		"a very long scope":            {basicID, scope(strings.TrimSpace(strings.Repeat("abcd ", 12_000))), "invalid_scope", oauth.ReasonScopeNotGranted},
		"granted nowhere":              {bothID, scope("nowhere"), "invalid_scope", oauth.ReasonScopeNotGranted},
		"granted for the other API":    {bothID, ccForm("scope", "jobs:run", "resource", ordersAPI), "invalid_scope", oauth.ReasonScopeNotGranted},
		"CC-16 scopes of several APIs": {bothID, scope("orders:write jobs:run"), "invalid_target", oauth.ReasonTargetAmbiguous},
		"CC-16 scope of both APIs":     {bothID, scope("orders:read"), "invalid_target", oauth.ReasonTargetAmbiguous},
		"no scope, two APIs":           {bothID, ccForm(), "invalid_target", oauth.ReasonTargetAmbiguous},
		"CC-10 relative":               {basicID, ccForm("resource", "/orders"), "invalid_target", oauth.ReasonTargetMalformed},
		"CC-10 fragment":               {basicID, ccForm("resource", ordersAPI+"#x"), "invalid_target", oauth.ReasonTargetMalformed},
		"CC-10 empty fragment":         {basicID, ccForm("resource", ordersAPI+"#"), "invalid_target", oauth.ReasonTargetMalformed},
		"CC-10 not a URI":              {basicID, ccForm("resource", "https://[::1"), "invalid_target", oauth.ReasonTargetMalformed},
		"CC-11 not granted":            {basicID, ccForm("resource", svcAPI), "invalid_target", oauth.ReasonTargetNotGrant},
		"CC-11 unknown":                {basicID, ccForm("resource", "https://nobody.test"), "invalid_target", oauth.ReasonTargetNotGrant},
		"CC-12 two resources":          {bothID, ccForm("resource", ordersAPI, "resource", svcAPI), "invalid_target", oauth.ReasonTargetSeveral},
		"CC-12 one resource twice":     {bothID, ccForm("resource", svcAPI, "resource", svcAPI), "invalid_target", oauth.ReasonTargetSeveral},
		"CC-12 two audiences":          {bothID, ccForm("audience", ordersAPI, "audience", svcAPI), "invalid_target", oauth.ReasonTargetSeveral},
		"resource is not audience":     {bothID, ccForm("audience", ordersAPI, "resource", svcAPI), "invalid_target", oauth.ReasonTargetSeveral},
		"CC-13 below":                  {basicID, ccForm("resource", ordersAPI+"/x"), "invalid_target", oauth.ReasonTargetNotGrant},
		"CC-13 dots":                   {basicID, ccForm("resource", ordersAPI+"/../admin"), "invalid_target", oauth.ReasonTargetNotGrant},
		"CC-13 user":                   {basicID, ccForm("resource", "https://u@api.test/orders"), "invalid_target", oauth.ReasonTargetNotGrant},
		"CC-13 query":                  {basicID, ccForm("resource", ordersAPI+"?x"), "invalid_target", oauth.ReasonTargetNotGrant},
		"CC-13 slash":                  {basicID, ccForm("resource", ordersAPI+"/"), "invalid_target", oauth.ReasonTargetNotGrant},
		"CC-13 case":                   {basicID, ccForm("resource", "HTTPS://api.test/orders"), "invalid_target", oauth.ReasonTargetNotGrant},
		"CC-14 other URN":              {bothID, ccForm("resource", "urn:svc:b"), "invalid_target", oauth.ReasonTargetNotGrant},
		"audience is one, not a list":  {bothID, ccForm("audience", ordersAPI+" "+svcAPI), "invalid_target", oauth.ReasonTargetNotGrant},
		"expires_in 0":                 {basicID, ccForm("expires_in", "0"), "invalid_request", oauth.ReasonParamInvalid},
		"expires_in negative":          {basicID, ccForm("expires_in", "-1"), "invalid_request", oauth.ReasonParamInvalid},
		"expires_in fraction":          {basicID, ccForm("expires_in", "1.5"), "invalid_request", oauth.ReasonParamInvalid},
		"expires_in duration":          {basicID, ccForm("expires_in", "60s"), "invalid_request", oauth.ReasonParamInvalid},
		"expires_in plus":              {basicID, ccForm("expires_in", "+60"), "invalid_request", oauth.ReasonParamInvalid},
	}
	b := withBoth(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := b.send(t, request{basic: b.basic(test.client), form: test.form})
			wantError(t, a, http.StatusBadRequest, test.code, test.reason)
			if a.err.ClientID != test.client {
				t.Errorf("client %q", a.err.ClientID)
			}
		})
	}
}

// TestPolicyTooMuchScope has a client that is granted more than a token can hold: it is told so, and can ask for less.
func TestPolicyTooMuchScope(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const id = "client_WideWideWideWide0000"
	names := make([]string, 100)
	for i := range names {
		names[i] = fmt.Sprintf("%s%03d", strings.Repeat("s", 120), i)
	}
	b.add(&clients.Client{ID: id, Grants: []clients.Grant{{API: ordersAPI, Scopes: names}}})
	a := b.send(t, request{basic: b.basic(id), form: ccForm()})
	wantError(t, a, http.StatusBadRequest, "invalid_scope", oauth.ReasonScopeTooMuch)
	if a = b.send(t, request{basic: b.basic(id), form: ccForm("scope", names[7])}); a.status != http.StatusOK {
		t.Errorf("one of them: %d %s", a.status, a.body)
	}
}

// USERS 16: after authentication the answer says what to change.
func TestPolicyTellsWhatToChange(t *testing.T) {
	t.Parallel()
	b := withBoth(t)
	for want, r := range map[string]request{
		"scope 'orders:delete' is not granted to this client for https://api.test/orders; granted: orders:read orders:write": {
			basic: b.basic(basicID), form: ccForm("scope", "orders:delete"),
		},
		"several APIs have these scopes: choose one with resource=https://api.test/orders, urn:svc:a": {
			basic: b.basic(bothID), form: ccForm("scope", "orders:read"),
		},
		"granted: https://api.test/orders, urn:svc:a": {basic: b.basic(bothID), form: ccForm("resource", "urn:svc:b")},
	} {
		if a := b.send(t, r); !strings.HasSuffix(a.err.Description, want) {
			t.Errorf("got  %s\nwant %s", a.err.Description, want)
		}
	}
}

func TestPolicyDisabledAPI(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.addAPI(&apis.API{Identifier: ordersAPI, Disabled: true})
	a := b.send(t, request{basic: b.basic(basicID), form: ccForm()})
	wantError(t, a, 400, "invalid_target", oauth.ReasonAPIDisabled) // ATTACKS I10
	delete(b.registry.apis, ordersAPI)
	a = b.send(t, request{basic: b.basic(basicID), form: ccForm()})
	wantError(t, a, 400, "invalid_target", oauth.ReasonAPIDisabled)
}

func TestPolicyLifetime(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		api, client time.Duration
		clientEnds  time.Duration // from now; 0 never
		asked       string
		want        float64 // seconds; 0: refused
	}{
		"the API's":                  {api: 10 * time.Minute, want: 600},
		"the client's is smaller":    {api: 10 * time.Minute, client: time.Minute, want: 60},
		"the client's is larger":     {api: time.Minute, client: time.Hour, want: 60},
		"asked for less":             {api: 10 * time.Minute, asked: "30", want: 30},
		"the least":                  {api: 10 * time.Minute, asked: "1", want: 1},
		"leading zeros":              {api: 10 * time.Minute, asked: "0030", want: 30},
		"asked for more":             {api: 10 * time.Minute, asked: "601", want: 600},
		"asked for very much more":   {api: 10 * time.Minute, asked: strings.Repeat("9", 400), want: 600},
		"the ceiling":                {api: 48 * time.Hour, want: 86400},
		"the client ends before":     {api: 10 * time.Minute, clientEnds: 90*time.Second + 300*time.Millisecond, want: 90},
		"the client ends after":      {api: time.Minute, clientEnds: time.Hour, want: 60},
		"the client ends at once":    {api: time.Minute, clientEnds: 300 * time.Millisecond, want: 0},
		"less than the client's end": {api: 10 * time.Minute, clientEnds: time.Minute, asked: "5", want: 5},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.addAPI(&apis.API{Identifier: ordersAPI, TokenTTL: test.api})
				c := &clients.Client{
					ID: "client_LifeLifeLifeLife0000", TokenTTL: test.client,
					Grants: []clients.Grant{{API: ordersAPI, Scopes: []string{"orders:read"}}},
				}
				if test.clientEnds > 0 {
					c.ExpiresAt = time.Now().Add(test.clientEnds)
				}
				b.add(c)
				a := b.send(t, request{basic: b.basic(c.ID), form: ccForm("expires_in", test.asked)})
				if test.want == 0 {
					wantError(t, a, 400, "unauthorized_client", oauth.ReasonClientExpired)
					return
				}
				if a.status != 200 || a.json["expires_in"] != test.want {
					t.Fatalf("got %d %v, want %v", a.status, a.json["expires_in"], test.want)
				}
				claims, err := b.tokens.Parse(a.token(), time.Now())
				if err != nil || (!c.ExpiresAt.IsZero() && claims.ExpiresAt.After(c.ExpiresAt)) {
					t.Errorf("exp %s, client ends %s (%v)", claims.ExpiresAt, c.ExpiresAt, err)
				}
			})
		})
	}
}

func TestPolicyNetwork(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.add(&clients.Client{
		ID: "client_CIDRCIDRCIDRCIDR0000", Grants: []clients.Grant{{API: ordersAPI, Scopes: []string{"orders:read"}}},
		AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/32")},
	})
	for _, path := range []string{tokenPath, introspectPath, revokePath} {
		for from, allowed := range map[string]bool{
			"198.51.100.7": true, "::ffff:198.51.100.7": true, "2001:db8::1": true,
			"198.51.101.7": false, "::ffff:198.51.101.7": false, "2001:db9::1": false, "127.0.0.1": false, "nowhere": false,
		} {
			form := ccForm("token", "x")
			a := b.send(t, request{path: path, basic: b.basic(c.ID), form: form, from: from})
			if allowed && a.status != http.StatusOK {
				t.Errorf("%s from %s: %d %s", path, from, a.status, a.body)
			}
			if !allowed {
				wantError(t, a, 400, "unauthorized_client", oauth.ReasonNotAllowedFrom)
			}
			// From outside, wrong credentials are told nothing of the allowlist.
			a = b.send(t, request{path: path, basic: [2]string{c.ID, b.secrets[otherID]}, form: form, from: from})
			wantError(t, a, 401, "invalid_client", oauth.ReasonSecretMismatch)
		}
	}
}
