package attacks

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func authenticationRows() []row {
	return []row{
		{"E1", audiences},
		{"E3", repeatedParameters},
		{"E4", noPublicClients},
		{"E5", revokeAsSomebodyElse},
		{"E6", noCredentials},
		{"E7", disabledClient},
		{"E9", noRegistration},
		{"E10", nullSecrets},
		{"E11", otherSpellings},
		{"E12", missingCertificates},
		{"E18", ignoredProofs},
	}
}

// E1: an assertion that another server could use here, or here one of another server, is none.
func audiences(a *attempt) {
	m := a.machine(newES256(a, "k"))
	a.wantAccepted("the issuer", m.assertion(nil))
	a.wantAccepted("the issuer, in a list", m.assertion(object{"aud": []string{a.Issuer}}))
	for _, aud := range []any{
		nil, "", a.TokenEndpoint, a.IntrospectionEndpoint, a.Issuer + "/", a.Issuer + ".evil.test", a.Issuer + "?", a.Issuer + "#", strings.ToUpper(a.Issuer),
		strings.Replace(a.Issuer, "http", "https", 1), " " + a.Issuer, a.Issuer[:len(a.Issuer)-1], "https://other.test", "*",
		[]string{},
		[]string{a.Issuer, "https://other.test"},
		[]string{"https://other.test", a.Issuer},
		[]string{a.Issuer, a.Issuer},
		[]string{a.Issuer, a.TokenEndpoint},
		[][]string{{a.Issuer}},
		object{"aud": a.Issuer},
		1, true,
		[]any{nil},
		[]any{a.Issuer, 1},
	} {
		a.wantDenied("aud "+text(aud), m.assertion(object{"aud": aud}))
	}
}

// E3: a request that two parsers could read differently is refused (fosite took the last, or the first).
func repeatedParameters(a *attempt) {
	full := servertest.Form("grant_type", "client_credentials", "scope", "read", "expires_in", "60",
		"client_id", a.good.id, "client_secret", a.good.secret)
	for name := range full {
		twice, rest := maps.Clone(full), maps.Clone(full)
		twice[name] = append(twice[name], full.Get(name))
		a.want(name+" twice", a.send(request{path: "/oauth2/token", form: twice}), 400, "invalid_request")
		in := servertest.Form(name, full.Get(name))
		a.want(name+" in both", a.send(request{path: "/oauth2/token?" + in.Encode(), form: rest}), 400, "invalid_request")
		rest.Del(name)
		a.want(name+" in the URL", a.send(request{path: "/oauth2/token?" + in.Encode(), form: rest}), 400, "invalid_request")
	}
	form := servertest.Form("grant_type", "client_credentials")
	a.want("two headers", a.send(request{path: "/oauth2/token", form: form, header: http.Header{"Authorization": {"Basic eDp5", "Basic eDp6"}}}), 400, "invalid_request")
	a.want("Basic and body", a.send(request{path: "/oauth2/token", form: full, basic: a.good}), 400, "invalid_request")
	token := a.issue(a.good)
	for _, path := range []string{"/oauth2/introspect", "/oauth2/revoke"} {
		a.want(path, a.send(request{path: path, form: servertest.Form("token", token, "token", "x"), basic: a.good}), 400, "invalid_request")
		a.want(path, a.send(request{path: path + "?token=" + token, form: servertest.Form("token", token), basic: a.good}), 400, "invalid_request")
	}
	if !a.active(a.good, token) {
		a.Error("a refused revocation revoked")
	}
}

// E4: there are no public clients, and no secret is none.
func noPublicClients(a *attempt) {
	c, form := a.client(), func(pairs ...string) request {
		return request{path: "/oauth2/token", form: servertest.Form(append([]string{"grant_type", "client_credentials"}, pairs...)...)}
	}
	a.want("client_id alone", a.send(form("client_id", c.id)), 401, "invalid_client")
	a.want("empty secret", a.send(form("client_id", c.id, "client_secret", "")), 401, "invalid_client")
	a.want("Basic without secret", a.askToken(credentials{c.id, ""}), 401, "invalid_client")
	a.want("Basic without anything", a.send(request{
		path: "/oauth2/token", form: servertest.Form("grant_type", "client_credentials"), header: http.Header{"Authorization": {"Basic Og=="}},
	}), 401, "invalid_client")
	m := a.machine(newES256(a, "k"))
	a.want("private_key_jwt without assertion", a.send(form("client_id", m.id)), 401, "invalid_client")
	if _, err := a.admin.CreateClient(a.Context(), adminapi.NewClient{Name: "public", AuthMethod: "none"}); err == nil {
		a.Error("a public client was made")
	}
	if r := a.send(request{method: http.MethodGet, path: "/.well-known/oauth-authorization-server"}); strings.Contains(string(r.body), `"none"`) {
		a.Error("the metadata offers none")
	}
}

// E5: revocation by whoever did not authenticate rightly revokes nothing, and rightly it revokes.
func revokeAsSomebodyElse(a *attempt) {
	c, other := a.client(), a.client()
	token := a.issue(c)
	form := servertest.Form("token", token)
	a.want("secret in the URL", a.send(request{path: "/oauth2/revoke?client_id=" + c.id + "&client_secret=" + c.secret, form: form}), 400, "invalid_request")
	a.want("no credentials", a.send(request{path: "/oauth2/revoke", form: form}), 401, "invalid_client")
	a.want("wrong secret", a.revoke(credentials{c.id, other.secret}, token), 401, "invalid_client")
	a.want("other method", a.send(request{path: "/oauth2/revoke", form: servertest.Form("token", token, "client_id", c.id, "client_secret", c.secret)}), 401, "invalid_client")
	a.want("the token itself", a.send(request{path: "/oauth2/revoke", form: form, header: http.Header{"Authorization": {"Bearer " + token}}}), 401, "invalid_client")
	a.want("GET", a.send(request{method: http.MethodGet, path: "/oauth2/revoke", basic: c}), 405, "invalid_request")
	if !a.active(c, token) {
		a.Error("the token was revoked")
	}
	if r := a.revoke(c, token); r.status != 200 || a.active(c, token) {
		a.Errorf("the right way does not revoke: %d", r.status)
	}
}

// E6: nothing that matters is done for nobody.
func noCredentials(a *attempt) {
	token := a.issue(a.good)
	for _, path := range []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"} {
		for what, header := range map[string]http.Header{
			"nothing": nil, "an empty header": {"Authorization": {""}}, "a scheme": {"Authorization": {"Basic"}}, "Digest": {"Authorization": {"Digest x"}},
			"the name of a proxy's user": {"X-Forwarded-User": {a.good.id}, "X-Client-Id": {a.good.id}, "X-Remote-User": {a.good.id}},
			"a certificate":              {"X-Client-Cert": {"x"}, "X-Ssl-Client-Verify": {"SUCCESS"}},
		} {
			r := a.send(request{path: path, form: servertest.Form("grant_type", "client_credentials", "token", token), header: header})
			a.want(path+" with "+what, r, 401, "invalid_client")
			if r.header.Get("WWW-Authenticate") == "" {
				a.Errorf("%s with %s: no challenge", path, what)
			}
		}
	}
	a.everyAdminRoute(nil)
	if !a.active(a.good, token) {
		a.Error("nobody revoked a token")
	}
}

// E7: a disabled client does nothing at all, and does not enable itself.
func disabledClient(a *attempt) {
	c, m := a.client(), a.machine(newES256(a, "k"))
	token := a.issue(c)
	for _, id := range []string{c.id, m.id} {
		if _, err := a.admin.DisableClient(a.Context(), id, "test"); err != nil {
			a.Fatal(err)
		}
	}
	rotated, err := a.admin.RotateSecret(a.Context(), c.id, adminapi.Rotate{})
	if err != nil {
		a.Fatal(err)
	}
	a.remember(rotated.ClientSecret)
	for _, secret := range []string{c.secret, rotated.ClientSecret} {
		now := credentials{c.id, secret}
		a.want("token", a.askToken(now), 401, "invalid_client")
		a.want("introspection", a.introspect(now, token), 401, "invalid_client")
		a.want("revocation", a.revoke(now, token), 401, "invalid_client")
	}
	a.wantDenied("assertion", m.assertion(nil))
	a.wantInactive("its token", token)
	shown, err := a.admin.Client(a.Context(), c.id)
	if err != nil || !shown.Disabled {
		a.Errorf("it is enabled again (%v)", err)
	}
}

// E9: clients are made by admins only.
func noRegistration(a *attempt) {
	a.absent("/oauth2/register", "/register", "/connect/register", "/clients", "/admin/v1/clients", "/.well-known/openid-configuration/register")
	r := a.send(request{method: http.MethodGet, path: "/.well-known/oauth-authorization-server"})
	if strings.Contains(string(r.body), "registration_endpoint") {
		a.Error("the metadata names a registration endpoint")
	}
}

// E10: what is no text is no secret.
func nullSecrets(a *attempt) {
	c := a.client()
	for _, body := range []string{
		`{"grant_type":"client_credentials","client_id":"` + c.id + `","client_secret":null}`,
		`{"grant_type":"client_credentials","client_id":"` + c.id + `","client_secret":["` + c.secret + `"]}`, `null`, `[]`, ``,
	} {
		r := a.send(request{path: "/oauth2/token", body: strings.NewReader(body), header: http.Header{"Content-Type": {"application/json"}}})
		a.want(body, r, 415, "invalid_request")
		r = a.send(request{path: "/oauth2/token", body: strings.NewReader(body)})
		a.want(body+" as a form", r, 400, "invalid_request")
	}
	for _, secret := range []string{"null", "undefined", "0", "false", "[]", "{}", "NaN", "\x00", " ", "true", "[object Object]"} {
		a.want(secret, a.askToken(credentials{c.id, secret}), 401, "invalid_client")
	}
	for _, name := range []string{"client_secret[]", "client_secret[0]", "client_secret.x", "client%5Fsecret"} {
		form := "grant_type=client_credentials&client_id=" + c.id + "&" + name + "=" + c.secret
		r := a.send(request{path: "/oauth2/token", body: strings.NewReader(form)})
		a.want(name, r, 401, "invalid_client")
	}
}

// E11: a client ID is compared byte for byte.
func otherSpellings(a *attempt) {
	c := a.client()
	for _, id := range []string{
		strings.ToUpper(c.id), strings.ToLower(c.id), strings.ToUpper(c.id[:8]) + c.id[8:], c.id + " ", " " + c.id, c.id + "\x00", c.id + "%00", c.id + "\n",
		"\u200b" + c.id, c.id[:len(c.id)-1], c.id + "x", strings.Replace(c.id, "client_", "ｃlient_", 1), strings.Replace(c.id, "_", "＿", 1), "", "%",
		c.id + "\u0301", "good", a.Name(), c.id + ":", c.id + "\ufeff", c.id + "\t",
	} {
		if id == c.id {
			continue
		}
		for what, r := range map[string]answer{
			"Basic": a.askToken(credentials{id, c.secret}),
			"body":  a.send(request{path: "/oauth2/token", form: servertest.Form("grant_type", "client_credentials", "client_id", id, "client_secret", c.secret)}),
		} {
			if r.status != 401 && (r.status != 400 || !strings.ContainsAny(id, "\x00")) {
				a.Errorf("%s %q: %d %s", what, id, r.status, r.body)
			}
		}
	}
	a.issue(c)
}

// E12: a certificate that is not there stops the start; there is no falling back to plain http.
func missingCertificates(a *attempt) {
	source := a.dev(servertest.ShortDir(a)) // whose store is complete: nothing else is wrong
	source.Kill()
	dir := a.TempDir()
	file, empty := filepath.Join(dir, "signet.yaml"), filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		a.Fatal(err)
	}
	for what, tls := range map[string]string{
		"missing":      "tls: {cert_file: /nowhere/cert.pem, key_file: /nowhere/key.pem}\n",
		"empty":        "tls: {cert_file: " + empty + ", key_file: " + empty + "}\n",
		"no key":       "tls: {cert_file: " + a.ca.file + "}\n",
		"not a key":    "tls: {cert_file: " + a.ca.file + ", key_file: " + a.ca.file + "}\n",
		"a directory":  "tls: {cert_file: " + dir + ", key_file: " + dir + "}\n",
		"unknown word": "tls: {cert_flie: " + a.ca.file + "}\n",
	} {
		a.steps++
		text := "issuer: " + source.Issuer + "\ndata_dir: " + source.DataDir + "\nlisten: {public: '" + a.address() + "', admin: ''}\n" + tls
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			a.Fatal(err)
		}
		out, log, err := servertest.Run(a, nil, "serve", "--config", file)
		if err == nil {
			a.Errorf("%s: the server ran: %s%s", what, out, log)
		}
		if !strings.Contains(log, "tls") && !strings.Contains(log, "certificate") {
			a.Errorf("%s: the server does not say why it ended: %s", what, log)
		}
	}
}

// E18: there is no DPoP here, so a proof makes nothing better and no token claims to be bound.
func ignoredProofs(a *attempt) {
	key := newES256(a, "")
	proof := key.jwt(object{"typ": "dpop+jwt", "alg": "ES256", "jwk": key.jwk()}, object{"htm": "POST", "htu": a.TokenEndpoint, "jti": "x", "iat": 1})
	a.remember(proof)
	form := servertest.Form("grant_type", "client_credentials")
	r := a.send(request{path: "/oauth2/token", form: form, basic: a.good, header: http.Header{"Dpop": {proof}}})
	if r.status != 200 || r.text("token_type") != "Bearer" {
		a.Errorf("%d %s", r.status, r.text("token_type"))
	}
	token := r.text("access_token")
	a.remember(token)
	_, payload, _ := parts(token)
	if strings.Contains(string(unb64(a, payload)), "cnf") {
		a.Error("the token says that it is bound")
	}
	a.want("a proof alone", a.send(request{path: "/oauth2/token", form: form, header: http.Header{"Dpop": {proof}}}), 401, "invalid_client")
	for _, path := range []string{"/oauth2/introspect", "/oauth2/revoke"} {
		a.want(path, a.send(request{
			path: path, form: servertest.Form("token", token), header: http.Header{"Dpop": {proof}, "Authorization": {"DPoP " + token}},
		}), 401, "invalid_client")
	}
}
