package attacks

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func privilegeRows() []row {
	return []row{
		{"K2", scopesByReference},
		{"K3", scopesAreExplicit},
		{"K4", reservedClaims},
		{"K5", everyTokenNamesItsClient},
		{"K6", scopesOfOtherAPIs},
		{"K10", takenScopes},
		{"K11", grantInventory},
	}
}

// K2: a scope is granted when it is on the list, byte for byte. The reference is the rule of DESIGN.md in a few lines.
func scopesByReference(a *attempt) {
	granted := []string{"ord:run", "read", "write"}
	c := a.client(func(n *adminapi.NewClient) { n.Grants = grant(ordersAPI, granted...) })
	reference := func(asked string) bool {
		for name := range strings.SplitSeq(asked, " ") {
			if !slices.Contains(granted, name) {
				return false
			}
		}
		return true
	}
	asked := []string{
		"read", "read write", "*", "read.*", "read.x", "read:x", "ord", "ord:", "ord:*", "ord:run:x", "ord:run.x", "READ", "Read", "rea", "reads", "re*d", "r?ad",
		"read  write", " read", "read ", "read,write", "read\twrite", "read\nwrite", "read\x00", "openid", "offline_access", "ｒead", "rea\u0501", "read\u200b", "../read",
		"read write ord:run", "write read", "read read", "read admin", `"read"`, `read\`, "%72ead", "read+write", ".", "ord:run ord:run",
	}
	letters := []string{"read", "write", "ord", ":", "run", " ", "*", ".", "x", "R"}
	for range 120 {
		var b strings.Builder
		for range 1 + rand.IntN(5) {
			b.WriteString(letters[rand.IntN(len(letters))])
		}
		asked = append(asked, b.String())
	}
	for _, one := range asked {
		r := a.askToken(c, "scope", one)
		a.remember(r.text("access_token"))
		switch want := reference(one); {
		case want && r.status != 200:
			a.Errorf("%q: %d %s", one, r.status, r.body)
		case !want && (r.status != 400 || r.code() != "invalid_scope" && r.code() != "invalid_request"):
			a.Errorf("%q: %d %s", one, r.status, r.code())
		case want && !sameWords(r.text("scope"), one):
			a.Errorf("%q: the answer has %q", one, r.text("scope"))
		}
	}
}

// sameWords compares two lists of words without order and repetition.
func sameWords(x, y string) bool {
	words := func(text string) []string {
		list := strings.Fields(text)
		slices.Sort(list)
		return slices.Compact(list)
	}
	return slices.Equal(words(x), words(y))
}

// K3: a request without scope gets the default ones, and is told which.
func scopesAreExplicit(a *attempt) {
	c := a.client(func(n *adminapi.NewClient) {
		n.Grants = []adminapi.Grant{{API: ordersAPI, Scopes: []string{"read", "write"}, DefaultScopes: []string{"read"}}}
	})
	for _, pairs := range [][]string{nil, {"scope", ""}} {
		r := a.askToken(c, pairs...)
		token := r.text("access_token")
		a.remember(token)
		if r.text("scope") != "read" || a.claimsOf(token)["scope"] != "read" {
			a.Errorf("scope %q in the answer, %v in the token", r.text("scope"), a.claimsOf(token)["scope"])
		}
	}
	nobody := a.client(func(n *adminapi.NewClient) { n.Grants = nil })
	a.want("a client without grants", a.askToken(nobody), 400, "unauthorized_client")
	a.want("a client without grants, with scope", a.askToken(nobody, "scope", "read"), 400, "unauthorized_client")
}

// claimsOf reads a token.
func (a *attempt) claimsOf(token string) map[string]any {
	a.Helper()
	var claims map[string]any
	_, payload, _ := parts(token)
	if err := json.Unmarshal(unb64(a, payload), &claims); err != nil {
		a.Fatal(err)
	}
	return claims
}

// K4: what the server says of a token, nobody else says.
func reservedClaims(a *attempt) {
	reserved := []string{
		"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "client_id", "scope", "scp", "cnf", "typ", "kid", "gen", "act", "may_act", "bind", "status", "Sub", "CLIENT_ID", "azp", "alg",
	}
	c := a.client()
	for _, name := range reserved {
		claims := map[string]any{name: "attacker"}
		_, err := a.admin.UpdateClient(a.Context(), c.id, adminapi.ClientChange{Claims: &claims})
		a.wantProblem(name, err, 422)
	}
	harmless := map[string]any{"tenant": "x", "sub ": "attacker", "roles": []any{"admin"}}
	_, err := a.admin.UpdateClient(a.Context(), c.id, adminapi.ClientChange{Claims: &harmless})
	a.wantProblem("a name with a space", err, 422)
	delete(harmless, "sub ")
	harmless["iss\u200b"] = "attacker"
	if _, err := a.admin.UpdateClient(a.Context(), c.id, adminapi.ClientChange{Claims: &harmless}); err == nil {
		a.issue(c) // it is another name; what matters is that ours are untouched
	}
	token := a.issue(c)
	claims := a.claimsOf(token)
	if claims["sub"] != c.id || claims["iss"] != a.Issuer || claims["client_id"] != c.id || claims["aud"] != ordersAPI {
		a.Errorf("claims %v", claims)
	}
}

// K5: a token without a client is none.
func everyTokenNamesItsClient(a *attempt) {
	m := a.machine(newES256(a, "k"))
	r := a.present(m.assertion(nil))
	for id, token := range map[string]string{a.good.id: a.issue(a.good), m.id: r.text("access_token")} {
		a.remember(token)
		if claims := a.claimsOf(token); claims["client_id"] != id || claims["sub"] != id {
			a.Errorf("claims %v", claims)
		}
		if r := a.introspect(a.watch, token); r.text("client_id") != id {
			a.Errorf("introspection names the client %q", r.text("client_id"))
		}
	}
	for _, id := range []any{nil, "", []string{a.good.id}, object{}, 1} {
		a.wantInactive("client_id "+text(id), a.forged(nil, object{"client_id": id}))
		a.wantInactive("sub "+text(id), a.forged(nil, object{"sub": id}))
	}
	a.wantForgeryWorks()
}

// K6: scopes belong to an API, and a name that two APIs have is granted for each apart.
func scopesOfOtherAPIs(a *attempt) {
	c := a.client(func(n *adminapi.NewClient) {
		n.Grants = append(grant(ordersAPI, "read", "ord:run"), grant(jobsAPI, "write", "job:run")...)
	})
	for _, one := range []struct {
		resource, scope, code string
	}{
		{ordersAPI, "write", "invalid_scope"},
		{jobsAPI, "read", "invalid_scope"},
		{ordersAPI, "job:run", "invalid_scope"},
		{edAPI, "read", "invalid_target"},
		{"", "read write", "invalid_target"},
		{"", "", "invalid_target"},
		{ordersAPI + "/", "read", "invalid_target"},
		{"https://orders.test/../jobs.test", "write", "invalid_target"},
		{"https://ORDERS.test", "read", "invalid_target"},
		{"https://evil@orders.test", "read", "invalid_target"},
		{"urn:signet:admin", "read", "invalid_target"},
	} {
		pairs := []string{"scope", one.scope}
		if one.resource != "" {
			pairs = append(pairs, "resource", one.resource)
		}
		a.want(one.resource+" "+one.scope, a.askToken(c, pairs...), 400, one.code)
	}
	a.want("two APIs", a.askToken(c, "resource", ordersAPI, "resource", jobsAPI), 400, "invalid_target")
	if claims := a.claimsOf(a.issue(c, "scope", "job:run")); claims["aud"] != jobsAPI || claims["scope"] != "job:run" {
		a.Errorf("claims %v", claims)
	}
}

// K10: rights that were taken are gone from what was issued before, and cannot be asked for again.
func takenScopes(a *attempt) {
	if _, err := a.admin.CreateScope(a.Context(), jobsAPI, adminapi.NewScope{Name: "taken"}); err != nil {
		a.Fatal(err)
	}
	c := a.client(func(n *adminapi.NewClient) { n.Grants = grant(jobsAPI, "read", "taken") })
	token := a.issue(c)
	if err := a.admin.DeleteScope(a.Context(), jobsAPI, "taken"); err != nil {
		a.Fatal(err)
	}
	a.wantInactive("with a deleted scope", token)
	a.want("a deleted scope", a.askToken(c, "scope", "taken"), 400, "invalid_scope")
	left := a.issue(c)
	if a.claimsOf(left)["scope"] != "read" {
		a.Errorf("scope %v is left", a.claimsOf(left)["scope"])
	}
	none := []adminapi.Grant{}
	if _, err := a.admin.UpdateClient(a.Context(), c.id, adminapi.ClientChange{Grants: &none}); err != nil {
		a.Fatal(err)
	}
	a.wantInactive("without grants", left)
	a.want("without grants", a.askToken(c), 400, "unauthorized_client")
}

// K11: there is one grant, and no other by any name.
func grantInventory(a *attempt) {
	token := a.issue(a.good)
	for _, grant := range []string{
		"authorization_code", "implicit", "password", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code", "urn:ietf:params:oauth:grant-type:jwt-bearer",
		"urn:ietf:params:oauth:grant-type:saml2-bearer", "urn:ietf:params:oauth:grant-type:token-exchange", "urn:openid:params:grant-type:ciba", "client_credentials ",
		"CLIENT_CREDENTIALS", "client_credentials,password", "client credentials", "none", "*", "urn:ietf:params:oauth:grant-type:pre-authorized_code",
	} {
		r := a.send(request{path: "/oauth2/token", form: servertest.Form(
			"grant_type", grant, "subject_token", token, "subject_token_type", "urn:ietf:params:oauth:token-type:access_token", "assertion", token,
			"username", "admin", "password", "password-of-admin", "code", "x", "refresh_token", "x", "device_code", "x",
		), basic: a.good})
		a.want(grant, r, 400, "unsupported_grant_type")
	}
	r := a.send(request{method: "GET", path: "/.well-known/oauth-authorization-server"})
	if !strings.Contains(string(r.body), `"grant_types_supported":["client_credentials"]`) {
		a.Errorf("the metadata names other grants: %s", r.body)
	}
	a.absent("/oauth2/authorize", "/oauth2/device_authorization", "/oauth2/device", "/oauth2/userinfo", "/oauth2/logout", "/oauth2/api-token", "/console/", "/login")
}
