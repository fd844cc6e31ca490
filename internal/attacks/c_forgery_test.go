package attacks

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func forgeryRows() []row {
	return []row{
		{"C1", loopbackJWKS},
		{"C2", redirectedJWKS},
		{"C3", loopbackJWKS},
		{"C4", addressesInTokens},
		{"C5", addressesInTokens},
		{"C7", strangeMetadata},
		{"C8", noWebhooks},
		{"C9", privateJWKSByDefault},
		{"C10", requestObjects},
		{"C11", endlessJWKS},
	}
}

// published is a client whose keys are at an address; moved gives it another one.
func (a *attempt) published(uri string) machine {
	a.Helper()
	return a.machine(newES256(a, "k"), func(n *adminapi.NewClient) { n.JWKS, n.JWKSURI = nil, uri })
}

// moved gives a client another jwks_uri, and reports whether it could be registered.
func (a *attempt) moved(m machine, uri string) bool {
	a.Helper()
	_, err := a.admin.UpdateClient(a.Context(), m.id, adminapi.ClientChange{JWKSURI: &uri})
	return a.problem(err) == nil
}

// inside are the ways to write an address of this machine or of a network behind it.
func inside(port string) []string {
	hosts := []string{
		"127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "017700000001", "0177.0.0.1", "127.0.0.1.", "0", "0.0.0.0",
		"[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::1%25lo]",
		"localhost", "localhost.", "LOCALHOST", "127.0.0.1%00.example.com", "①②⑦.0.0.1", "127。0。0。1",
		"169.254.169.254", "[fd00:ec2::254]", "[fe80::1]", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "255.255.255.255", "224.0.0.1",
	}
	var out []string
	for _, host := range hosts {
		out = append(out, "https://"+host+":"+port+"/jwks")
	}
	return append(out, "https://127.0.0.2@127.0.0.1:"+port+"/", "https://127.0.0.1:"+port+"#@127.0.0.2/", "http://127.0.0.1:"+port+"/",
		"//127.0.0.1:"+port+"/", "file:///etc/passwd", "gopher://127.0.0.1:"+port+"/_", "ftp://127.0.0.1:"+port+"/", "https:///jwks", "https:127.0.0.1")
}

// C1, C3: one private network is allowed, and no other address of this machine is within reach by any name or notation.
func loopbackJWKS(a *attempt) {
	a.limit = 3 * time.Second // a name that nobody knows takes the two seconds of a fetch at most
	key := newES256(a, "k")
	allowed := a.ca.listen(a.T, "127.0.0.2", publishing(key.jwk()))
	trap := a.ca.listen(a.T, "127.0.0.1", publishing(key.jwk()))
	m := a.published(allowed.URL)
	m.key = key
	a.wantAccepted("control: the allowed network", m.assertion(nil))
	if allowed.hits.Load() == 0 {
		a.Error("control: nobody came to the allowed address")
	}
	registered := 0
	for _, uri := range inside(trap.port) {
		if !a.moved(m, uri) {
			continue
		}
		registered++
		// An address is refused; a name that does not resolve here is one that nobody can be asked at.
		if r := a.present(m.assertion(nil)); r.status != 401 && r.status != 503 {
			a.Errorf("%s: %d %s", uri, r.status, r.body)
		}
	}
	if registered == 0 {
		a.Error("nothing could be registered, so the check at the dial was not tried")
	}
	if n := trap.hits.Load(); n != 0 {
		a.Errorf("the server came to its own machine %d times", n)
	}
}

// C2: a redirect is no way around the check of an address, and is not followed at all.
func redirectedJWKS(a *attempt) {
	key := newES256(a, "k")
	trap := a.ca.listen(a.T, "127.0.0.1", publishing(key.jwk()))
	elsewhere := a.ca.listen(a.T, "127.0.0.2", publishing(key.jwk()))
	status, location := 0, ""
	gate := a.ca.listen(a.T, "127.0.0.2", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", location)
		w.Header().Set("Refresh", "0; url="+location)
		w.Header().Set("Link", "<"+location+">; rel=preload")
		w.WriteHeader(status)
		_, _ = w.Write(jwks(key.jwk()))
	})
	for _, status = range []int{301, 302, 303, 307, 308, 201, 401} {
		for _, location = range []string{trap.URL, elsewhere.URL, "//127.0.0.1:" + trap.port, "/again"} {
			m := a.published(fmt.Sprintf("%s/%d", gate.URL, status))
			m.key = key
			a.wantDenied(fmt.Sprint(status, " ", location), m.assertion(nil))
		}
	}
	if n := trap.hits.Load() + elsewhere.hits.Load(); n != 0 {
		a.Errorf("a redirect was followed %d times", n)
	}
	if gate.hits.Load() == 0 {
		a.Error("control: nobody came to the gate")
	}
}

// C4, C5: no address in a token is ever called, though the network be allowed and the token perfectly signed.
func addressesInTokens(a *attempt) {
	trap := a.ca.listen(a.T, "127.0.0.2", publishing(newES256(a, "k").jwk()))
	m := a.machine(newES256(a, "k"))
	for _, name := range []string{"iss", "sub", "aud", "jku", "x5u", "jwks_uri", "client_id"} {
		members := object{name: trap.URL}
		a.wantInactive("claim "+name, newES256(a, "").jwt(object{"alg": "ES256", "kid": trap.URL, "typ": "at+jwt"}, m.claims().with(members)))
		switch name {
		case "iss":
			a.wantInactive("claim "+name, a.forged(nil, members))
			fallthrough
		case "sub", "aud":
			a.wantDenied("claim "+name, m.assertion(members))
		}
		a.wantInactive("header "+name, a.forged(members, nil))
	}
	both := object{"iss": trap.URL + "/{id}", "sub": trap.URL + "/{id}"}
	a.wantDenied("an address as the client", m.assertion(both))
	if n := trap.hits.Load(); n != 0 {
		a.Errorf("an address in a token was called %d times", n)
	}
}

// C7: what an admin registers is checked, and there is no way to register for anybody else.
func strangeMetadata(a *attempt) {
	m := a.published("https://keys.test/jwks")
	for _, uri := range []string{
		"http://keys.test/", "javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:application/json,{}", "file:///etc/passwd", "ftp://keys.test/",
		"https://", "https:///x", "//keys.test/", "keys.test", "https://user:pw@keys.test/", "https://keys.test/#f", " https://keys.test/",
		"https://keys.test/\n", "https://keys.test/" + strings.Repeat("a", 4000), "https://keys.test:port/", "https://[::1", "\x00",
	} {
		if a.moved(m, uri) {
			a.Errorf("jwks_uri %q was registered", uri)
		}
	}
	for what, n := range map[string]adminapi.NewClient{
		"scope of nobody":        {Grants: grant(ordersAPI, "admin")},
		"scope of another API":   {Grants: grant(ordersAPI, "job:run")},
		"every scope":            {Grants: grant(ordersAPI, "*")},
		"API of nobody":          {Grants: grant("https://nobody.test", "read")},
		"the admin API":          {Grants: grant("urn:signet:admin", "clients:write")},
		"introspects the admin":  {Introspects: []string{"urn:signet:admin"}},
		"no authentication":      {AuthMethod: "none", Grants: grant(ordersAPI, "read")},
		"tls_client_auth":        {AuthMethod: "tls_client_auth", Grants: grant(ordersAPI, "read")},
		"reserved claim":         {Claims: map[string]any{"client_id": "x"}, Grants: grant(ordersAPI, "read")},
		"everybody's network":    {AllowCIDRs: []string{"all"}, Grants: grant(ordersAPI, "read")},
		"lifetime of a year":     {TokenTTL: 365 * 86400, Grants: grant(ordersAPI, "read")},
		"control character":      {Name: "a\x1b[31m", Grants: grant(ordersAPI, "read")},
		"keys and their address": {AuthMethod: "private_key_jwt", JWKS: jwks(newES256(a, "k").jwk()), JWKSURI: "https://keys.test"},
	} {
		if n.Name == "" {
			n.Name = what
		}
		_, err := a.admin.CreateClient(a.Context(), n)
		a.wantProblem(what, err, 422)
	}
	a.absent("/oauth2/register", "/register", "/connect/register", "/oauth2/clients", "/admin/v1/clients")
}

// absent checks that there is nothing at a path of the public listener.
func (a *attempt) absent(paths ...string) {
	a.Helper()
	for _, path := range paths {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if r := a.send(request{method: method, path: path}); r.status != http.StatusNotFound || r.header.Get("Location") != "" {
				a.Errorf("%s %s: %d %s", method, path, r.status, r.body)
			}
		}
	}
}

// C8: Signet calls nobody but a jwks_uri.
func noWebhooks(a *attempt) {
	trap := a.ca.listen(a.T, "127.0.0.2", publishing())
	for _, member := range []string{"webhook", "webhook_url", "backchannel_logout_uri", "notification_uri", "logo_uri", "sector_identifier_uri"} {
		r := a.send(request{
			path: "http://signet.local/admin/v1/clients", instead: a.unix(), header: http.Header{"Content-Type": {"application/json"}},
			body: strings.NewReader(text(object{"name": "hook " + member, member: trap.URL})),
		})
		if r.status != http.StatusUnprocessableEntity {
			a.Errorf("%s: %d %s", member, r.status, r.body)
		}
	}
	if n := trap.hits.Load(); n != 0 {
		a.Errorf("the server called %d times", n)
	}
}

// C9: as it comes, Signet reaches no private address, and the check is one of addresses and not of names.
func privateJWKSByDefault(a *attempt) {
	a.limit = 3 * time.Second
	plain := a.dev(servertest.ShortDir(a))
	admin := adminapi.NewUnix(plain.AdminSocket)
	key := newES256(a, "k")
	traps := []canary{a.ca.listen(a.T, "127.0.0.1", publishing(key.jwk())), a.ca.listen(a.T, "127.0.0.2", publishing(key.jwk()))}
	for i, uri := range append(inside(traps[0].port), traps[1].URL, "https://127.0.0.2.:"+traps[1].port) {
		c, err := admin.CreateClient(a.Context(), adminapi.NewClient{
			Name: fmt.Sprint("inside ", i), AuthMethod: "private_key_jwt", JWKSURI: uri, Grants: grant(plain.API, plain.Scopes[0]),
		})
		if a.problem(err) != nil {
			continue
		}
		m := machine{id: c.ClientID, key: key, issuer: plain.Issuer}
		r, err := a.exchange(request{path: plain.TokenEndpoint, form: servertest.Form("grant_type", "client_credentials", "client_assertion",
			m.assertion(nil), "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")})
		if err != nil || r.status != http.StatusUnauthorized {
			a.Errorf("%s: %d %s (%v)", uri, r.status, r.body, err)
		}
	}
	for _, trap := range traps {
		if n := trap.hits.Load(); n != 0 {
			a.Errorf("the server came to its own machine %d times", n)
		}
	}
}

// C10: request objects carry an address, or parameters that nobody has checked.
func requestObjects(a *attempt) {
	trap := a.ca.listen(a.T, "127.0.0.2", publishing())
	for _, name := range []string{"request", "request_uri"} {
		a.want(name, a.askToken(a.good, name, trap.URL), 400, "invalid_request")
		a.want(name+" in the URL", a.send(request{
			path: "/oauth2/token?" + name + "=" + trap.URL, form: servertest.Form("grant_type", "client_credentials"), basic: a.good,
		}), 400, "invalid_request")
	}
	if n := trap.hits.Load(); n != 0 {
		a.Errorf("the request object was fetched %d times", n)
	}
	a.absent("/oauth2/authorize", "/authorize", "/oauth2/par", "/oauth2/auth")
}

// C11: a jwks_uri that never ends, or unpacks to more than it seems, costs two seconds and no memory.
func endlessJWKS(a *attempt) {
	a.limit = 4 * time.Second // two for the fetch
	before := a.threads()
	block := []byte(strings.Repeat(" ", 64<<10))
	// Made before it is asked for: to make it takes longer than the server waits.
	var bomb bytes.Buffer
	zip := gzip.NewWriter(&bomb)
	for range 1 << 9 {
		_, _ = zip.Write(block)
	}
	_ = zip.Close()
	sites := map[string]http.HandlerFunc{
		"1 GiB": func(w http.ResponseWriter, _ *http.Request) {
			for range 1 << 14 {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		},
		"a byte at a time": func(w http.ResponseWriter, r *http.Request) {
			flusher := http.NewResponseController(w)
			for range 100 {
				if _, err := io.WriteString(w, " "); err != nil || flusher.Flush() != nil {
					return
				}
				select {
				case <-r.Context().Done():
					return
				case <-time.After(100 * time.Millisecond):
				}
			}
		},
		"gzip bomb": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb.Bytes())
		},
		"huge header": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 64<<10)) // not white space, which is cut off
			_, _ = w.Write(jwks())
		},
		"hung up": func(_ http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) },
		"deep": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat(`{"keys":[`, 6000))
		},
	}
	for what, h := range sites {
		m := a.published(a.ca.listen(a.T, "127.0.0.2", h).URL)
		began := time.Now()
		want := a.wantDenied
		switch what {
		case "a byte at a time", "huge header", "hung up": // no answer that says anything of the keys
			want = a.wantUndecided
		}
		want(what, m.assertion(nil))
		want(what+" again", m.assertion(nil)) // within the cool-down: no second fetch
		if took := time.Since(began); took > 2*a.limit {
			a.Errorf("%s: %s", what, took)
		}
	}
	if after := a.threads(); after > before+16 {
		a.Errorf("goroutines of the server: %d before, %d after", before, after)
	}
}

// threads is the number of goroutines of the server.
func (a *attempt) threads() int {
	a.Helper()
	n := 0
	if _, err := fmt.Sscan(a.metric("go_goroutines"), &n); err != nil {
		a.Error(err)
	}
	return n
}

// long says whether the full number of samples is wanted, which takes minutes.
func long() bool { return os.Getenv("ATTACK_SAMPLES") != "" }
