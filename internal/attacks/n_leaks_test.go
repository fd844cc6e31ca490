package attacks

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// leakRows come last, and N1 the very last: it looks for everything that the rows before it have sent and were given.
func leakRows() []row {
	return []row{
		{"N2", strangeSecrets},
		{"N3", debugLog},
		{"N5", auditOfChanges},
		{"N6", secretsInURLs},
		{"N7", secretsInURLs},
		{"N8", troubleTellsNothing},
		{"N9", validationErrors},
		{"N11", outboundErrors},
		{"N12", validationErrors},
		{"N1", everySecretEverywhere},
	}
}

// N2: a secret in a place where nobody looks for one is still not logged.
func strangeSecrets(a *attempt) {
	c := a.client()
	a.remember(base64.StdEncoding.EncodeToString([]byte(c.id + ":" + c.secret)))
	for what, header := range map[string]http.Header{
		"no base64": {"Authorization": {"Basic " + c.id + ":" + c.secret}}, "no scheme": {"Authorization": {c.secret}}, "Bearer": {"Authorization": {"Bearer " + c.secret}},
		"other header": {"X-Api-Key": {c.secret}}, "agent": {"User-Agent": {c.secret}}, "cookie": {"Cookie": {"session=" + c.secret}}, "request ID": {"X-Request-Id": {c.secret}},
		"method override": {"X-Http-Method-Override": {c.secret}}, "content type": {"Content-Type": {c.secret}}, "forwarded": {"X-Forwarded-For": {c.secret}},
		"trace": {"Traceparent": {"00-" + c.secret + "-01"}, "Baggage": {"secret=" + c.secret}}, "referer": {"Referer": {"https://x.test/?client_secret=" + c.secret}},
	} {
		r := a.send(request{path: "/oauth2/token", form: servertest.Form("grant_type", "client_credentials"), header: header})
		if r.status < 400 || r.status > 499 {
			a.Errorf("%s: %d %s", what, r.status, r.body)
		}
	}
	for _, body := range []string{
		`{"client_secret":"` + c.secret + `"}`, `{"client_secret":["` + c.secret + `"]}`, "client_secret[]=" + c.secret, c.secret, "=" + c.secret, c.secret + "=x", "client_secret=" + c.secret + "%zz",
		"client_secret=" + c.secret + "&client_secret=" + c.secret, "grant_type=" + c.secret, "scope=" + c.secret + "&grant_type=client_credentials",
		"client_id=" + c.secret + "&grant_type=client_credentials&client_secret=x", "client_secret=" + c.secret + "\x00",
	} {
		for _, path := range []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke", "/" + c.secret, "/oauth2/" + c.secret} {
			r := a.send(request{path: path, body: strings.NewReader(body)})
			if r.status < 400 || r.status > 499 {
				a.Errorf("%s: %d %s", path, r.status, r.body)
			}
		}
	}
	// What stands in the wrong parameter may come back to its sender, and goes nowhere else.
	for _, pairs := range [][]string{{"scope", c.secret}, {"resource", c.secret}, {"resource", "https://x.test/" + c.secret}, {"expires_in", c.secret}, {"audience", c.secret}} {
		r := a.askToken(a.good, pairs...)
		if r.status != 400 {
			a.Errorf("%v: %d", pairs[0], r.status)
		}
	}
}

// N3: at the level that says most, the log says nothing that is secret; finish looks for it.
func debugLog(a *attempt) {
	c, m := a.client(), a.machine(newES256(a, "k"))
	token := a.issue(c)
	a.introspect(a.watch, token)
	a.revoke(c, token)
	a.wantAccepted("assertion", m.assertion(nil))
	a.askToken(credentials{c.id, wrong()})
	if log := a.news(); !strings.Contains(log, `"level":"DEBUG"`) || !strings.Contains(log, c.id) {
		a.Error("control: the log is not at the level that says most")
	}
}

// N5: the trail of changes has what was changed, and none of the secrets in it.
func auditOfChanges(a *attempt) {
	c := a.client()
	rotated, err := a.admin.RotateSecret(a.Context(), c.id, adminapi.Rotate{})
	if err != nil {
		a.Fatal(err)
	}
	added, err := a.admin.CreateSecret(a.Context(), c.id, adminapi.NewSecret{})
	if err != nil {
		a.Fatal(err)
	}
	token := a.issue(c)
	if _, err := a.admin.RevokeToken(a.Context(), adminapi.RevokeToken{Token: token, Reason: "test"}); err != nil {
		a.Fatal(err)
	}
	a.remember(rotated.ClientSecret, added.ClientSecret)
	events, err := a.admin.Audit(a.Context(), adminapi.AuditFilter{Limit: 1000})
	if err != nil {
		a.Fatal(err)
	}
	trail := text(events)
	for _, action := range []string{"client.create", "secret.rotate", "secret.create", "token.revoke", "key.import"} {
		if !strings.Contains(trail, `"`+action+`"`) {
			a.Errorf("control: the trail has no %s", action)
		}
	}
	for secret, form := range newSearch(slices.Concat(a.planted, a.secrets)...).in(trail) {
		a.Errorf("the trail has a secret, %s: %.14s…", form, secret)
	}
}

// N6, N7: a secret in a URL is refused, because proxies log URLs; and what is refused is not logged here.
func secretsInURLs(a *attempt) {
	c, m := a.client(), a.machine(newES256(a, "k"))
	token := a.issue(a.good)
	kind := "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	assertion := m.assertion(nil)
	a.remember(assertion)
	for what, query := range map[string][]string{
		"secret": {"client_id", c.id, "client_secret", c.secret}, "assertion": {"client_assertion", assertion, "client_assertion_type", kind}, "token": {"token", token},
		"all": {"grant_type", "client_credentials", "client_id", c.id, "client_secret", c.secret, "token", token},
	} {
		for _, path := range []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"} {
			in := path + "?" + servertest.Form(query...).Encode()
			form := servertest.Form("grant_type", "client_credentials", "token", token)
			if what == "all" || what == "token" {
				form.Del("token")
			}
			a.want(what+" at "+path, a.send(request{path: in, form: form}), 400, "invalid_request")
			a.want(what+" at "+path+" with credentials", a.send(request{path: in, form: form, basic: c}), 400, "invalid_request")
			if r := a.send(request{method: http.MethodGet, path: in}); r.status != 405 {
				a.Errorf("GET of %s: %d", path, r.status)
			}
		}
	}
	a.wantAccepted("the assertion, which was not used up", assertion)
	bearer := a.send(request{method: http.MethodGet, path: a.AdminURL + "/admin/v1/status?access_token=" + token, early: true})
	if bearer.status != 401 {
		a.Errorf("a token in the URL at the admin listener: %d", bearer.status)
	}
}

// N8: a server in trouble says that it is, and not what with. The database is damaged under it.
func troubleTellsNothing(a *attempt) {
	s := a.dev(servertest.ShortDir(a))
	admin := adminapi.NewUnix(s.AdminSocket)
	for _, file := range []string{"signet.db", "signet.db-wal", "signet.db-shm"} {
		path := filepath.Join(s.DataDir, file)
		if info, err := os.Stat(path); err == nil {
			if err := os.WriteFile(path, make([]byte, info.Size()), 0o600); err != nil {
				a.Fatal(err)
			}
		}
	}
	c := credentials{s.ClientID, s.ClientSecret}
	told := func(what string, body []byte) {
		for _, word := range []string{"sql", "SQL", "signet.db", s.DataDir, "malformed", "disk image", "goroutine", ".go:", "gorm"} {
			if strings.Contains(string(body), word) {
				a.Errorf("%s tells %q: %s", what, word, body)
			}
		}
	}
	for _, path := range []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"} {
		for _, who := range []credentials{c, {nobody(), wrong()}, {c.id, wrong()}} {
			a.steps++
			r, err := a.exchange(request{path: s.Issuer + path, form: servertest.Form("grant_type", "client_credentials", "token", "x"), basic: who})
			if err != nil || r.status >= 500 && r.status != 503 {
				a.Errorf("%s: %d %s (%v)", path, r.status, r.body, err)
			}
			told(path, r.body)
		}
	}
	_, err := admin.CreateClient(a.Context(), adminapi.NewClient{Name: "x"})
	told("the admin API", []byte(fmt.Sprint(err)))
	if r, err := a.exchange(request{method: http.MethodGet, path: s.Issuer + "/readyz"}); err == nil {
		told("/readyz", r.body)
	}
}

// N9, N12: a refusal of the admin API does not repeat what was in the wrong place.
func validationErrors(a *attempt) {
	key := newES256(a, "k")
	private := text(key.jwk().with(object{"d": b64(oddNumber(32))}))
	pemText := "-----BEGIN PRIVATE KEY-----\n" + b64(oddNumber(100)) + "\n-----END PRIVATE KEY-----\n"
	a.remember(wrong(), pemText, private[20:], b64(oddNumber(32)))
	secret := a.secrets[0]
	json := func(method, path string, body any) {
		r := a.send(request{
			method: method, path: "http://signet.local/admin/v1" + path, instead: a.unix(), header: http.Header{"Content-Type": {"application/json"}},
			body: strings.NewReader(text(body)), early: true,
		})
		if r.status < 400 || r.status > 499 {
			a.Errorf("%s: %d %s", path, r.status, r.body)
		}
		for _, form := range newSearch(a.secrets...).in(string(r.body)) {
			a.Errorf("%s repeats a secret, %s: %s", path, form, r.body)
		}
	}
	json("POST", "/clients", object{"name": "x", "client_secret": secret})
	json("POST", "/clients", object{"name": object{"secret": secret}})
	json("POST", "/clients", object{"name": "x", "auth_method": secret})
	json("POST", "/clients", object{"name": "x", "auth_method": "private_key_jwt", "jwks": object{"keys": []any{jsonOf(private)}}})
	json("POST", "/clients", object{"name": "x", "auth_method": "private_key_jwt", "jwks": pemText})
	json("POST", "/clients", object{"name": "x", "token_ttl": secret})
	json("POST", "/keys/import", object{"key": pemText, "alg": "ES256"})
	json("POST", "/keys/import", object{"key": private, "alg": "ES256"})
	json("POST", "/keys/import", object{"key": "x", "alg": secret})
	json("POST", "/tokens/revoke", object{"token": "eyJ" + secret})
	json("POST", "/tokens/revoke", object{"token": object{"x": secret}})
	json("POST", "/cut-offs", object{"client": "x", "secret": secret})
	json("PATCH", "/clients/good", object{"jwks_uri": "x", "secret": secret})
}

// jsonOf is raw JSON in an object.
func jsonOf(raw string) json.RawMessage { return json.RawMessage(raw) }

// N11: what a client's site answers, or how its address fails, is not in the log as it is.
func outboundErrors(a *attempt) {
	canaryText := wrong()
	a.remember(canaryText)
	site := a.ca.listen(a.T, "127.0.0.2", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Secret", canaryText)
		w.Header().Set("Set-Cookie", "s="+canaryText)
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write([]byte(canaryText))
	})
	html := a.ca.listen(a.T, "127.0.0.2", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(canaryText)) })
	inURL := wrong() // which is the admin's own to write down, but not the log's
	for _, uri := range []string{site.URL, "https://127.0.0.2:1/?key=" + inURL} {
		a.wantUndecided("failing site", a.published(uri).assertion(nil))
	}
	a.wantDenied("site with something else", a.published(html.URL).assertion(nil))
	if site.hits.Load() == 0 || html.hits.Load() == 0 {
		a.Error("control: nobody came")
	}
	if strings.Contains(a.news(), inURL) {
		a.Error("the log has the query of a jwks_uri")
	}
	if !strings.Contains(a.news(), "jwks_uri") {
		a.Error("control: the log does not mention the failure")
	}
}

// N1: of all that the rows of this run have sent and were given, nothing is anywhere: not in the log, in the refusals, the
// trail, the metrics, the published documents or the files of the database.
func everySecretEverywhere(a *attempt) {
	token := a.issue(a.good)
	a.planted = append(a.planted, token)
	places := map[string]string{"log": a.log(), "metrics": string(a.metrics())}
	refusals, err := a.admin.Refusals(a.Context(), "", 1000)
	if err != nil {
		a.Fatal(err)
	}
	places["refusals"] = text(refusals)
	before, pages := "", strings.Builder{}
	for range 50 {
		events, err := a.admin.Audit(a.Context(), adminapi.AuditFilter{Limit: 1000, Before: before})
		if err != nil {
			a.Fatal(err)
		}
		pages.WriteString(text(events))
		if before = events.Next; before == "" {
			break
		}
	}
	places["audit trail"] = pages.String()
	keys, err := a.admin.Keys(a.Context())
	if err != nil {
		a.Fatal(err)
	}
	places["keys"] = text(keys)
	for _, path := range []string{"/.well-known/jwks.json", "/.well-known/oauth-authorization-server", "/readyz", "/livez"} {
		places[path] = string(a.send(request{method: http.MethodGet, path: path}).body)
	}
	files, err := filepath.Glob(filepath.Join(a.DataDir, "signet.db*"))
	if err != nil || len(files) == 0 {
		a.Fatalf("no database (%v)", err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			a.Fatal(err)
		}
		places[filepath.Base(file)] = string(content)
	}
	master, err := os.ReadFile(filepath.Join(a.DataDir, "keys", "master.key"))
	if err != nil {
		a.Fatal(err)
	}
	_, key, _ := strings.Cut(strings.TrimSpace(string(master)), ":")
	a.planted = append(a.planted, key, string(unb64(a, key)))
	find := newSearch(a.planted...)
	for name, content := range places {
		for secret, form := range find.in(content) {
			a.Errorf("%s has a secret, %s: %.14s…", name, form, secret)
		}
	}
	// A search that finds nothing proves nothing until it finds what is there.
	for _, place := range []string{places["signet.db"] + places["signet.db-wal"], places["log"], places["audit trail"]} {
		if len(newSearch(a.good.id).in(place)) == 0 {
			a.Error("control: not even a client ID is found")
		}
	}
}
