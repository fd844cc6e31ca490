package attacks

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func confusionRows() []row {
	return []row{
		{"J1", strangersIntrospect},
		{"J3", strangeAudiences},
		{"J4", tokensOfAPIsAtTheAdmin},
		{"J5", missingClaims},
		{"J6", func(a *attempt) { a.strangeAudiencesOf(a.forgeEd) }},
		{"J7", noIssuerNoStart},
		{"J9", otherTypes},
		{"J10", tokensOfAPIsAtTheAdmin},
		{"J11", strangeIssuers},
		{"J12", strangeIssuers},
		{"J13", objectsOfOthers},
	}
}

// J1: who is neither the owner nor registered for the API learns nothing at all.
func strangersIntrospect(a *attempt) {
	token := a.issue(a.good)
	stranger, otherAPI := a.client(), a.client(func(n *adminapi.NewClient) { n.Grants, n.Introspects = nil, []string{jobsAPI, edAPI} })
	nothing := a.introspect(stranger, "x")
	for what, c := range map[string]credentials{"a client of the same API": stranger, "one that introspects other APIs": otherAPI} {
		a.sameAnswer(what, a.introspect(c, token), nothing)
		r := a.send(request{path: "/oauth2/introspect", form: servertest.Form("token", token, "token_type_hint", "access_token", "resource", ordersAPI), basic: c})
		a.sameAnswer(what+" with hints", r, nothing)
	}
	for what, c := range map[string]credentials{"the owner": a.good, "the API's": a.watch} {
		if !a.active(c, token) {
			a.Errorf("control: not active for %s", what)
		}
	}
}

// J3: an audience is one exact text.
func strangeAudiences(a *attempt) { a.strangeAudiencesOf(a.forge) }

func (a *attempt) strangeAudiencesOf(key signingKey) {
	header, claims := a.perfect()
	header = header.with(object{"alg": key.alg, "kid": key.kid})
	if !a.active(a.watch, key.jwt(header, claims)) {
		a.Error("control: a perfectly forged token is not active")
	}
	for _, aud := range []any{
		nil, "", " ", "*", "null", ordersAPI + "/", ordersAPI + ".evil.test", ordersAPI + "/x", ordersAPI[:len(ordersAPI)-1], strings.ToUpper(ordersAPI),
		"http" + ordersAPI[5:], " " + ordersAPI, ordersAPI + "\x00", ordersAPI + "#", "https://evil.test/" + ordersAPI, "https://x@orders.test", a.Issuer,
		[]string{},
		[]string{ordersAPI},
		[]string{ordersAPI, jobsAPI},
		[]string{"https://evil.test", ordersAPI},
		object{"aud": ordersAPI},
		1, true, false, "urn:signet:admin",
	} {
		// The caller is not the owner here: what it may see depends on the audience alone.
		a.wantInactive("aud "+text(aud), key.jwt(header, claims.with(object{"aud": aud})))
	}
}

// J4, J10: a token for an API is nothing at the admin listener, and none is for it.
func tokensOfAPIsAtTheAdmin(a *attempt) {
	for what, token := range map[string]string{
		"for orders": a.issue(a.good), "for the admin API": a.forged(nil, object{"aud": "urn:signet:admin", "scope": "clients:read clients:write"}),
		"for all": a.forged(nil, object{"aud": []string{ordersAPI, "urn:signet:admin"}}),
	} {
		a.wantNoAdmin(what, token)
		a.everyAdminRoute(http.Header{"Authorization": {"Bearer " + token}})
	}
	a.want("asked for", a.askToken(a.good, "resource", "urn:signet:admin"), 400, "invalid_target")
	_, err := a.admin.CreateAPI(a.Context(), adminapi.NewAPI{Identifier: "urn:signet:admin", Name: "admin"})
	a.wantProblem("an API of that name", err, 422)
}

// J5: every claim that an assertion or a token needs is needed.
func missingClaims(a *attempt) {
	m := a.machine(newES256(a, "k"))
	a.wantAccepted("control", m.assertion(nil))
	for _, name := range []string{"iss", "sub", "aud", "exp", "iat", "jti"} {
		for _, value := range []any{nil, "", 0, []any{}, object{}, false} {
			a.wantDenied(name+" "+text(value), m.assertion(object{name: value}))
		}
		moved := m.claims()
		value := moved[name]
		a.wantDenied(name+" in capitals", m.assertion(object{name: nil, strings.ToUpper(name): value}))
	}
	now := time.Now().Unix()
	for what, claims := range map[string]object{
		"iss and sub differ": {"sub": a.good.id}, "iss of another": {"iss": a.good.id}, "exp now": {"exp": now}, "exp before": {"exp": now - 1},
		"exp in ten years": {"exp": now + 10*365*86400}, "exp a text": {"exp": fmt.Sprint(now + 60)}, "exp without end": {"exp": 1e300},
		"iat in the future": {"iat": now + 600}, "iat long ago": {"iat": now - 7200}, "nbf in the future": {"nbf": now + 600}, "nbf a text": {"nbf": "now"},
	} {
		a.wantDenied(what, m.assertion(claims))
	}
	a.wantForgeryWorks()
	for _, name := range []string{"iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope", "gen"} {
		for _, value := range []any{nil, "", []any{}, object{}, false} {
			a.wantInactive("token, "+name+" "+text(value), a.forged(nil, object{name: value}))
		}
	}
}

// J7: without a name the server does not start, so that no check of a name can be left out.
func noIssuerNoStart(a *attempt) {
	dir := servertest.ShortDir(a)
	file := filepath.Join(dir, "signet.yaml")
	for what, line := range map[string]string{
		"none": "", "empty": "issuer: ''\n", "not a URL": "issuer: x\n", "plain http": "issuer: http://auth.example.com\n", "a query": "issuer: https://auth.example.com?x\n",
		"a slash": "issuer: https://auth.example.com/\n", "a list": "issuer: [https://a.test, https://b.test]\n", "an unknown option": "issuer: https://auth.example.com\nskip_audience_check: true\n",
	} {
		a.steps++
		if err := os.WriteFile(file, []byte(line+"data_dir: "+dir+"\n"), 0o600); err != nil {
			a.Fatal(err)
		}
		for _, verb := range []string{"serve", "init"} {
			if out, log, err := servertest.Run(a, nil, verb, "--config", file); err == nil || !strings.Contains(log, "issuer") && !strings.Contains(log, "skip_audience") {
				a.Errorf("%s with issuer %s: %v %s%s", verb, what, err, out, log)
			}
		}
	}
}

// J9: a JWT of another kind is no access token, though our own key has signed it.
func otherTypes(a *attempt) {
	m := a.machine(newES256(a, "k"))
	a.wantInactive("a client assertion", m.assertion(nil))
	for _, typ := range []any{
		nil, "", "client-authentication+jwt", "statuslist+jwt", "dpop+jwt", "token-introspection+jwt", "oauth-authz-req+jwt", "logout+jwt", "secevent+jwt", "id+jwt",
		"vp+jwt", "application/at+jwt", "AT+JWT", "at+jwt ", "at+jwt\x00", "jwt", "JWE",
		[]string{"at+jwt"},
		1,
	} {
		a.wantInactive("typ "+text(typ), a.forged(object{"typ": typ}, nil))
	}
	a.newerKind()
	a.wantInactive("events", a.forged(nil, object{"events": object{}}))
	token := a.issue(a.good)
	a.wantDenied("an access token as an assertion", token)
	typed := m.header().with(object{"typ": "at+jwt"})
	a.wantDenied("an assertion that says it is an access token", m.key.jwt(typed, m.claims()))
	a.wantForgeryWorks()
}

// newerKind has a token that a newer version may have issued, and may call active where this one does not: to take it back must not
// be acknowledged without a trace.
func (a *attempt) newerKind() {
	newer := func(jti string) string { return a.forged(nil, object{"jti": jti, "cnf": object{"jkt": "x"}}) }
	mine, admins := rand.Text(), rand.Text()
	a.wantInactive("a claim of a newer kind", newer(mine))
	a.want("another client's token of a newer kind", a.revoke(a.client(), newer(mine)), 400, "unauthorized_client")
	a.want("a token of a newer kind", a.revoke(a.good, newer(mine)), 200, "")
	if _, err := a.admin.RevokeToken(a.Context(), adminapi.RevokeToken{Token: newer(admins)}); err != nil {
		a.Errorf("a token of a newer kind, by an admin: %v", err)
	}
	revoked, err := a.admin.Revocations(a.Context(), 100)
	if err != nil {
		a.Fatal(err)
	}
	for _, jti := range []string{mine, admins} {
		if !slices.ContainsFunc(revoked, func(r adminapi.Revocation) bool { return r.JTI == jti }) {
			a.Errorf("the revocation of %s was acknowledged, and is not written", jti)
		}
	}
}

// J11, J12: an issuer is one exact text.
func strangeIssuers(a *attempt) {
	for _, iss := range []any{
		nil, "", a.Issuer + "/", a.Issuer + ".evil.test", a.Issuer[:len(a.Issuer)-1], strings.ToUpper(a.Issuer), "https" + a.Issuer[4:], " " + a.Issuer, a.Issuer + "\x00",
		[]string{a.Issuer},
		[]string{a.Issuer, "https://evil.test"},
		object{"iss": a.Issuer},
		"https://evil.test/" + a.Issuer, a.Issuer[7:], 1, true,
	} {
		a.wantInactive("iss "+text(iss), a.forged(nil, object{"iss": iss}))
	}
	a.wantForgeryWorks()
}

// J13: a thing is found by its owner and its name, and not by its name alone.
func objectsOfOthers(a *attempt) {
	one, two := a.client(), a.client()
	secrets, err := a.admin.Secrets(a.Context(), one.id)
	if err != nil {
		a.Fatal(err)
	}
	a.wantProblem("one client's secret by another's name", a.admin.RevokeSecret(a.Context(), two.id, secrets[0].SecretID), 404)
	a.wantProblem("a scope by another API's name", a.admin.DeleteScope(a.Context(), jobsAPI, "ord:run"), 404)
	a.wantProblem("a path in a name", a.admin.DeleteClient(a.Context(), "../apis/"+ordersAPI), 404)
	a.issue(one)
	a.issue(two)
}
