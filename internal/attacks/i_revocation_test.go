package attacks

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/faultproxy"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func revocationRows() []row {
	return []row{
		{"I1", revokeWithoutDatabase},
		{"I3", revokeOthers},
		{"I4", cutOffsTogether},
		{"I5", func(a *attempt) { a.deactivate("disable") }},
		{"I6", func(a *attempt) { a.deactivate("delete") }},
		{"I7", disabledParent},
		{"I9", noRenewal},
		{"I10", disabledParent},
		{"I11", everyMethodRevokes},
		{"I12", revocationSurvivesKill},
		{"I15", expiryNeedsNobody},
		{"I16", secretsExpireOnTime},
		{"I17", takenGrants},
		{"I21", revokedAdminTokens},
		{"I22", otherPaths},
		{"I23", cutTokens},
		{"I24", negativeControl},
	}
}

// I1: a revocation that could not be written is not a revocation. PostgreSQL goes away in the middle.
func revokeWithoutDatabase(a *attempt) {
	database := pgtest.Start(a).URL() // one of its own: it must keep what it acknowledges
	parsed, err := url.Parse(database)
	if err != nil {
		a.Fatal(err)
	}
	line := faultproxy.New(a, parsed.Host)
	s := servertest.Serve(a, servertest.Config{Database: line.URL(database)})
	admin := adminapi.NewUnix(s.AdminSocket)
	if _, err := admin.CreateAPI(a.Context(), adminapi.NewAPI{Identifier: ordersAPI, Name: "orders", Scopes: []adminapi.NewScope{{Name: "read"}}}); err != nil {
		a.Fatal(err)
	}
	made, err := admin.CreateClient(a.Context(), adminapi.NewClient{Name: "c", Grants: grant(ordersAPI, "read")})
	if err != nil {
		a.Fatal(err)
	}
	c := credentials{made.ClientID, made.ClientSecret}
	a.remember(c.secret)
	ask := func(path string, pairs ...string) answer {
		a.steps++
		r, err := a.exchange(request{path: s.Issuer + path, form: servertest.Form(pairs...), basic: c})
		if err != nil {
			a.Fatal(err)
		}
		for _, betrayed := range []string{parsed.Host, line.Addr(), parsed.Path, "postgres", "SQL", "pgx", "dial", "relation"} {
			if strings.Contains(string(r.body), strings.Trim(betrayed, "/")) {
				a.Errorf("%s tells of the database: %s", path, r.body)
			}
		}
		return r
	}
	token := ask("/oauth2/token", "grant_type", "client_credentials").text("access_token")
	a.remember(token)
	line.Cut()
	for range 3 {
		for _, path := range []string{"/oauth2/revoke", "/oauth2/introspect"} {
			r := ask(path, "token", token)
			if r.status != 503 || r.code() != "temporarily_unavailable" || r.header.Get("Retry-After") == "" {
				a.Errorf("%s without database: %d %s", path, r.status, r.body)
			}
		}
	}
	line.Heal()
	deadline := time.Now().Add(10 * time.Second)
	for r := ask("/oauth2/introspect", "token", token); !strings.Contains(string(r.body), `"active":true`); r = ask("/oauth2/introspect", "token", token) {
		if r.status == 200 {
			a.Fatal("what was refused has happened all the same")
		}
		if time.Now().After(deadline) {
			a.Fatal("the server does not come back")
		}
		time.Sleep(50 * time.Millisecond)
	}
	if r := ask("/oauth2/revoke", "token", token); r.status != 200 {
		a.Errorf("revocation after the recovery: %d %s", r.status, r.body)
	}
	if r := ask("/oauth2/introspect", "token", token); !strings.Contains(string(r.body), `"active":false`) {
		a.Error("the token is active after its revocation")
	}
}

// I3: another's token is not revoked, and the caller is told so.
func revokeOthers(a *attempt) {
	owner, other := a.client(), a.client()
	token := a.issue(owner)
	a.want("another client", a.revoke(other, token), 400, "unauthorized_client")
	a.want("one that may introspect it", a.revoke(a.watch, token), 400, "unauthorized_client")
	if !a.active(owner, token) {
		a.Error("another client has revoked it")
	}
	if r := a.revoke(owner, token); r.status != 200 || a.active(owner, token) {
		a.Errorf("the owner cannot revoke it: %d", r.status)
	}
}

// I4: a token ends by the first cut-off that concerns it, in whatever order they came.
func cutOffsTogether(a *attempt) {
	type one struct {
		client int
		token  string
		dead   bool
	}
	clients := []credentials{a.client(), a.client(), a.client()}
	var all []one
	for range 25 {
		switch i := rand.IntN(len(clients)); rand.IntN(5) {
		case 0: // of a client
			if _, err := a.admin.CutOff(a.Context(), adminapi.NewCutOff{Client: clients[i].id}); err != nil {
				a.Fatal(err)
			}
			for n := range all {
				all[n].dead = all[n].dead || all[n].client == i
			}
		case 1: // of one token
			if len(all) > 0 {
				n := rand.IntN(len(all))
				a.revoke(clients[all[n].client], all[n].token)
				all[n].dead = true
			}
		default:
			all = append(all, one{client: i, token: a.issue(clients[i])})
		}
		for n := range all {
			if got := a.active(a.watch, all[n].token); got == all[n].dead {
				a.Fatalf("token %d is active: %t, and should be the contrary", n, got)
			}
		}
	}
}

// deactivate: a client that is stopped gets nothing, and what it had ends (I5, I6).
func (a *attempt) deactivate(how string) {
	c, m := a.client(), a.machine(newES256(a, "k"))
	r := a.present(m.assertion(nil))
	tokens := []string{a.issue(c), r.text("access_token")}
	a.remember(tokens...)
	for _, id := range []string{c.id, m.id} {
		var err error
		if how == "delete" {
			err = a.admin.DeleteClient(a.Context(), id)
		} else {
			_, err = a.admin.DisableClient(a.Context(), id, "test")
		}
		if err != nil {
			a.Fatal(err)
		}
	}
	a.want("secret", a.askToken(c), 401, "invalid_client")
	a.wantDenied("assertion", m.assertion(nil))
	for _, token := range tokens {
		a.wantInactive(how, token)
		a.wantNoAdmin(how, token)
	}
	if how == "disable" { // what was ended does not begin again
		if _, err := a.admin.EnableClient(a.Context(), c.id); err != nil {
			a.Fatal(err)
		}
		a.wantInactive("enabled again", tokens[0])
		if !a.active(c, a.issue(c)) {
			a.Error("after it was enabled, its tokens are not active")
		}
		return
	}
	again := a.client() // L13: and nothing comes back under an old name
	if again.id == c.id {
		a.Error("an ID was used twice")
	}
}

// I7, I10: without its API there is no token; a deleted one takes its tokens along.
func disabledParent(a *attempt) {
	identifier := "https://parent-" + strings.ToLower(strings.ReplaceAll(a.Name(), "/", "-")) + ".test"
	if _, err := a.admin.CreateAPI(a.Context(), adminapi.NewAPI{Identifier: identifier, Name: identifier, Scopes: []adminapi.NewScope{{Name: "read"}}}); err != nil {
		a.Fatal(err)
	}
	c := a.client(func(n *adminapi.NewClient) { n.Grants, n.Introspects = grant(identifier, "read"), []string{identifier} })
	token, yes := a.issue(c), true
	if _, err := a.admin.UpdateAPI(a.Context(), identifier, adminapi.APIChange{Disabled: &yes}); err != nil {
		a.Fatal(err)
	}
	a.want("disabled API", a.askToken(c), 400, "invalid_target")
	if err := a.admin.DeleteAPI(a.Context(), identifier); err != nil {
		a.Fatal(err)
	}
	if r := a.askToken(c, "resource", identifier); r.status != 400 {
		a.Errorf("deleted API: %d %s", r.status, r.body)
	}
	if a.active(c, token) || a.active(a.watch, token) {
		a.Error("the token of a deleted API is active")
	}
}

// I9: there is no way to renew anything.
func noRenewal(a *attempt) {
	token := a.issue(a.good)
	for _, pairs := range [][]string{
		{"grant_type", "refresh_token", "refresh_token", token},
		{"grant_type", "refresh_token"},
		{"grant_type", "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token", token, "subject_token_type", "urn:ietf:params:oauth:token-type:access_token"},
		{"grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion", token},
	} {
		a.want(pairs[1], a.send(request{path: "/oauth2/token", form: servertest.Form(pairs...), basic: a.good}), 400, "unsupported_grant_type")
	}
	if r := a.askToken(a.good, "scope", "read offline_access"); r.status != 400 || r.code() != "invalid_scope" {
		a.Errorf("offline_access: %d %s", r.status, r.code())
	}
	r := a.askToken(a.good)
	a.remember(r.text("access_token"))
	if r.text("refresh_token") != "" {
		a.Error("there is a refresh token")
	}
}

// I11: the way in which a client authenticates does not matter for its revocations.
func everyMethodRevokes(a *attempt) {
	m, post := a.machine(newES256(a, "k")), a.client(func(n *adminapi.NewClient) { n.AuthMethod = "client_secret_post" })
	kind := "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	for what, proof := range map[string]func() []string{
		"private_key_jwt":    func() []string { return []string{"client_assertion", m.assertion(nil), "client_assertion_type", kind} },
		"client_secret_post": func() []string { return []string{"client_id", post.id, "client_secret", post.secret} },
	} {
		r := a.send(request{path: "/oauth2/token", form: servertest.Form(append(proof(), "grant_type", "client_credentials")...)})
		token := r.text("access_token")
		a.remember(token)
		if !a.active(a.watch, token) {
			a.Fatalf("%s: no token: %d %s", what, r.status, r.body)
		}
		r = a.send(request{path: "/oauth2/revoke", form: servertest.Form(append(proof(), "token", token, "token_type_hint", "refresh_token")...)})
		if r.status != 200 || a.active(a.watch, token) {
			a.Errorf("%s: revoked with %d", what, r.status)
		}
	}
	token := a.issue(a.good)
	if r := a.revoke(a.good, token); r.status != 200 || a.active(a.good, token) {
		a.Errorf("client_secret_basic: revoked with %d", r.status)
	}
}

// I12: what was answered with 200 holds after kill -9.
func revocationSurvivesKill(a *attempt) {
	dir, address := servertest.ShortDir(a), a.address()
	s := a.dev(dir, "--listen", address)
	admin := adminapi.NewUnix(s.AdminSocket)
	made, err := admin.CreateClient(a.Context(), adminapi.NewClient{Name: "c", Grants: grant(s.API, s.Scopes[0])})
	if err != nil {
		a.Fatal(err)
	}
	c := credentials{made.ClientID, made.ClientSecret}
	ask := func(path string, pairs ...string) answer {
		a.steps++
		r, err := a.exchange(request{path: s.Issuer + path, form: servertest.Form(pairs...), basic: c})
		if err != nil {
			a.Fatal(err)
		}
		return r
	}
	token := func() string {
		text := ask("/oauth2/token", "grant_type", "client_credentials").text("access_token")
		a.remember(text)
		return text
	}
	old := token()
	if _, err := admin.CutOff(a.Context(), adminapi.NewCutOff{Client: c.id}); err != nil {
		a.Fatal(err)
	}
	revoked, live := token(), token()
	if r := ask("/oauth2/revoke", "token", revoked); r.status != 200 {
		a.Fatalf("revoke: %d %s", r.status, r.body)
	}
	s.Kill()
	s = a.dev(dir, "--listen", address)
	for what, one := range map[string]struct {
		token  string
		active string
	}{"cut off": {old, "false"}, "revoked": {revoked, "false"}, "neither": {live, "true"}} {
		if r := ask("/oauth2/introspect", "token", one.token); !strings.Contains(string(r.body), `"active":`+one.active) {
			a.Errorf("%s, after kill -9: %d %s", what, r.status, r.body)
		}
	}
}

// I15: a token ends on its second, whether anybody cleans up or not.
func expiryNeedsNobody(a *attempt) {
	token := a.issue(a.good, "expires_in", "2")
	if !a.active(a.watch, token) {
		a.Error("control: the token is not active")
	}
	time.Sleep(2100 * time.Millisecond)
	a.wantInactive("expired", token)
	now := time.Now().Unix()
	a.wantInactive("forged, of the second that is over", a.forged(nil, object{"iat": now - 60, "exp": now}))
	a.wantInactive("forged, without end", a.forged(nil, object{"exp": nil}))
	a.wantInactive("forged, of a year", a.forged(nil, object{"exp": now + 366*86400}))
	a.wantInactive("forged, of another century", a.forged(nil, object{"exp": 1e18}))
	a.wantForgeryWorks()
}

// I16: a secret and a client end on their second.
func secretsExpireOnTime(a *attempt) {
	end := time.Now().Add(2 * time.Second)
	one := a.client(func(n *adminapi.NewClient) { n.SecretExpiresAt = end })
	two := a.client(func(n *adminapi.NewClient) { n.ExpiresAt = end })
	long := a.issue(one)
	short := a.issue(two)
	time.Sleep(time.Until(end) + 20*time.Millisecond)
	a.want("expired secret", a.askToken(one), 401, "invalid_client")
	a.want("expired client", a.askToken(two), 401, "invalid_client")
	a.wantInactive("token of an expired client", short)
	if !a.active(a.watch, long) {
		a.Error("a token that outlives its secret ended with it")
	}
}

// I17: what is taken from a client is taken from its tokens.
func takenGrants(a *attempt) {
	c := a.client()
	token := a.issue(c)
	less := grant(ordersAPI, "read")
	if _, err := a.admin.UpdateClient(a.Context(), c.id, adminapi.ClientChange{Grants: &less}); err != nil {
		a.Fatal(err)
	}
	a.wantInactive("with a scope that was taken", token)
	a.want("the scope that was taken", a.askToken(c, "scope", "write"), 400, "invalid_scope")
	if !a.active(c, a.issue(c)) {
		a.Error("what is left does not work")
	}
}

// I21: no token opens the admin API, and a revoked one neither.
func revokedAdminTokens(a *attempt) {
	token := a.issue(a.good)
	a.everyAdminRoute(http.Header{"Authorization": {"Bearer " + token}})
	a.revoke(a.good, token)
	a.everyAdminRoute(http.Header{"Authorization": {"Bearer " + token}})
	a.wantInactive("revoked", token)
}

// I22: there is one way to each endpoint, and none of the others leads to another's tokens.
func otherPaths(a *attempt) {
	other := a.client()
	token := a.issue(a.good)
	for _, path := range []string{
		"/revoke", "/oauth2/revoke/", "//oauth2/revoke", "/oauth2//revoke", "/OAuth2/revoke", "/oauth2/./revoke", "/oauth2/x/../revoke", "/oauth2/revoke%2f", "/oauth2%2frevoke",
		"/oauth2/revoke;x", "/v1/oauth2/revoke", "/oauth2/revoke/" + a.good.id, "/admin/v1/tokens/revoke", "/oauth2/revoke%00", "/oauth2/token/revoke", "/oauth/revoke",
	} {
		r := a.send(request{path: path, form: servertest.Form("token", token), basic: other})
		if r.status != 404 && r.status != 400 || r.header.Get("Location") != "" {
			a.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions, http.MethodHead} {
		if r := a.send(request{method: method, path: "/oauth2/revoke", basic: other}); r.status != 405 && method != http.MethodHead {
			a.Errorf("%s: %d", method, r.status)
		}
	}
	if !a.active(a.good, token) {
		a.Error("another client has revoked it")
	}
}

// I23: a part of a token, or more than it, is not the token; nor is a second spelling of it that verifies a way round its
// revocation.
func cutTokens(a *attempt) {
	c := a.client()
	token := a.issue(c)
	changed := []string{token + "=", token + "A", token + ".", token + " ", " " + token, strings.ToUpper(token), strings.ToLower(token), token + token, token + "\n"}
	for _, n := range []int{1, 2, 3, 4, 10, 43, 85, 86, 87, len(token) / 2, len(token) - 1} {
		changed = append(changed, token[:len(token)-n], token[n:])
	}
	for _, one := range changed {
		a.wantInactive("changed", one)
		if r := a.revoke(c, one); r.status != 200 {
			a.Errorf("revocation of what is no token: %d %s", r.status, r.body)
		}
	}
	for _, secret := range []string{c.secret[:len(c.secret)-1], c.secret + "0", c.secret[1:], strings.ToUpper(c.secret), strings.ToLower(c.secret), c.secret + "=", "x" + c.secret} {
		a.want("changed secret", a.askToken(credentials{c.id, secret}), 401, "invalid_client")
	}
	for i := 0; i < len(c.secret); i += 7 {
		other := map[bool]byte{true: 'A', false: 'B'}[c.secret[i] != 'A']
		a.want("changed secret", a.askToken(credentials{c.id, c.secret[:i] + string(other) + c.secret[i+1:]}), 401, "invalid_client")
	}
	if !a.active(c, token) {
		a.Error("a part of it revoked the whole")
	}
	twin := malleate(a, token)
	a.revoke(c, twin) // ECDSA: whoever has (r,s) has (r,n-s), another text of the same jti
	if a.active(c, token) || a.active(c, twin) {
		a.Error("a token and its twin have not one end")
	}
}

// I24: the check of this chapter fails when nothing revokes.
func negativeControl(a *attempt) {
	for what, revoke := range map[string]func(c credentials, token string){
		"revocation": func(c credentials, token string) { a.revoke(c, token) },
		"cut-off": func(c credentials, _ string) {
			_, err := a.admin.CutOff(a.Context(), adminapi.NewCutOff{Client: c.id})
			if err != nil {
				a.Fatal(err)
			}
		},
		"disable": func(c credentials, _ string) {
			if _, err := a.admin.DisableClient(a.Context(), c.id, ""); err != nil {
				a.Fatal(err)
			}
		},
		"admin": func(_ credentials, token string) {
			if _, err := a.admin.RevokeToken(a.Context(), adminapi.RevokeToken{Token: token}); err != nil {
				a.Fatal(err)
			}
		},
	} {
		c := a.client()
		holds := func(revoke func(credentials, string)) bool {
			token := a.issue(c)
			revoke(c, token)
			return !a.active(a.watch, token)
		}
		if holds(func(credentials, string) {}) {
			a.Errorf("%s: the check passes though nothing was revoked", what)
		}
		if !holds(revoke) {
			a.Errorf("%s does not hold", what)
		}
	}
	if r := a.send(request{path: "/oauth2/introspect", form: servertest.Form("token", ""), basic: a.watch}); r.status != 400 {
		a.Error(fmt.Sprint("no token: ", r.status))
	}
}
