package conformance_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// genRows are the rows of transport and of every endpoint. They run last and one after the other: some measure the server,
// and the last one looks through what all rows of all groups have left.
func genRows() []row {
	return []row{
		{"GEN-01", genPlainHTTP},
		{"GEN-02", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.client(t)
			for _, path := range oauthPaths {
				for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "post", "FOO"} {
					a := d.send(t, method, path+"?grant_type=client_credentials", http.NoBody, c.basic())
					if a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != "POST" || a.json["access_token"] != nil {
						t.Errorf("%s %s: %d, Allow %q, %s", method, path, a.status, a.header.Get("Allow"), a.body)
					}
				}
			}
		}},
		{"GEN-03", genContentType},
		{"GEN-04", func(t *testing.T, s *suite) { // checked with every request; here once in so many words
			d := s.dev()
			c := d.client(t)
			token := d.requestToken(t, c.basic())
			text := d.granted(t, token).text
			for _, a := range []*answer{token, d.introspect(t, c, text), d.introspect(t, c, "x"), d.revoke(t, c, text)} {
				if a.status != 200 || a.header.Get("Cache-Control") != "no-store" || a.header.Get("Pragma") != "no-cache" || a.header.Get("ETag") != "" {
					t.Errorf("%d %v", a.status, a.header)
				}
			}
		}},
		{"GEN-05", genErrors},
		{"GEN-06", func(t *testing.T, s *suite) {
			d := s.dev()
			wrong, keyed := d.client(t).with(d.client(t).secret), d.keyedClient(t)
			for _, path := range oauthPaths {
				for _, a := range []*answer{
					d.post(t, path, grant("token", "x")), d.post(t, path, grant("token", "x"), wrong.basic()),
					d.post(t, path, grant(append(wrong.post(), "token", "x")...)), d.post(t, path, grant("token", "x"), header("Authorization", "Bearer x")),
					d.post(t, path, grant(append(keyed.assertion(t, "https://other"), "token", "x")...)),
				} {
					a.unauthorized(t) // wants a Basic challenge
				}
			}
			for _, o := range []option{header("X", "y"), header("Authorization", "Bearer x")} {
				a := d.get(t, d.AdminURL+"/admin/v1/clients", o)
				if a.status != http.StatusUnauthorized || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer realm=") {
					t.Errorf("admin listener: %d %q", a.status, a.header.Get("WWW-Authenticate"))
				}
			}
		}},
		{"GEN-07", func(t *testing.T, s *suite) { // the characters are checked with every answer
			d := s.dev()
			c := d.client(t)
			evil := "\"\\\né<script>"
			for _, a := range []*answer{
				d.requestToken(t, c.basic(), "scope", evil), d.requestToken(t, c.basic(), "resource", "https://"+evil),
				d.requestToken(t, c.basic(), "resource", "urn:"+evil), d.requestToken(t, c.basic(), "expires_in", evil),
				d.requestToken(t, c.basic(), evil, "a", evil, "b"), d.requestToken(t, nil, "client_id", evil, "client_secret", evil),
				d.requestToken(t, basicText(b64(evil+":"+evil))), d.post(t, pathToken, servertest.Form("grant_type", evil), c.basic()),
				d.requestToken(t, nil, "client_assertion_type", evil, "client_assertion", evil), d.requestToken(t, nil, asserted(evil)...),
				d.requestToken(t, nil, d.keyedClient(t).assertion(t, d.Issuer, claim("aud", evil), head("kid", evil))...),
			} {
				if description, _ := a.json["error_description"].(string); a.status < 400 || a.status >= 500 || description == "" || !errorText.MatchString(description) {
					t.Errorf("%d %s", a.status, a.body)
				}
			}
		}},
		{"GEN-08", genBodySize},
		{"GEN-09", genNested},
		{"GEN-10", genDots},
		{"GEN-11", genThrottle},
		{"GEN-12", func(t *testing.T, s *suite) {
			d := s.dev()
			for _, a := range []*answer{
				d.overSocket(t, http.MethodGet, "/admin/v1/clients/nobody", ""), d.overSocket(t, http.MethodPost, "/admin/v1/clients", "{"),
				d.overSocket(t, http.MethodGet, "/admin/v1/nothing", ""), d.overSocket(t, http.MethodDelete, "/admin/v1/clients", ""),
				d.get(t, d.AdminURL+"/admin/v1/clients"),
			} {
				if a.status < 400 || a.header.Get("Content-Type") != "application/problem+json" || a.json["type"] == nil || a.json["title"] == nil ||
					a.json["status"] != float64(a.status) || a.json["error"] != nil {
					t.Errorf("admin: %d %s %s", a.status, a.header.Get("Content-Type"), a.body)
				}
			}
			for _, path := range append([]string{"/nothing", "/oauth2/nothing", "/oauth2/token/"}, oauthPaths...) {
				a := d.post(t, path, grant())
				if a.status < 400 || a.header.Get("Content-Type") != "application/json" || a.json["error"] == nil || a.json["type"] != nil || a.json["title"] != nil {
					t.Errorf("%s: %d %s %s", path, a.status, a.header.Get("Content-Type"), a.body)
				}
			}
		}},
		{"GEN-13", genOutage},
		{"GEN-14", genForwarded},
		{"GEN-15", genTraces},
	}
}

// genPlainHTTP sends right credentials over plain http where https is expected: to a server behind a proxy, past the proxy
// or through it, and to the port that speaks TLS.
func genPlainHTTP(t *testing.T, s *suite) {
	p := s.proxy()
	c := p.client(t)
	for _, target := range []string{"http://auth.test/t1", "http://" + p.Address + "/t1", "http://" + p.Address} {
		plain := &server{Server: p.Server, suite: s, base: target, http: p.http, admin: p.admin}
		if target != "http://auth.test/t1" {
			plain.http = servertest.Client(t) // from an address that is no proxy's
		}
		for _, path := range oauthPaths {
			plain.post(t, path, grant("token", "x"), c.basic()).refused(t, 400, "invalid_request")
			plain.post(t, path, grant("token", "x"), c.basic(), header("X-Forwarded-Proto", "http")).refused(t, 400, "invalid_request")
		}
		for _, path := range []string{pathJWKS, pathMetadata} {
			if a := plain.get(t, path); a.status != http.StatusBadRequest {
				t.Errorf("%s%s: %d", target, path, a.status)
			}
		}
	}
	found, err := p.admin.Client(t.Context(), c.id)
	if err != nil || !found.LastUsedAt.IsZero() {
		t.Errorf("the credentials were used: %v %v", found.LastUsedAt, err)
	}
	d := s.tls()
	other := d.client(t)
	for _, path := range oauthPaths {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+d.Address+path, strings.NewReader(grant().Encode()))
		if err != nil {
			t.Fatal(err)
		}
		other.basic()(request)
		response, err := servertest.Client(t).Do(request)
		if err != nil {
			continue // refused below HTTP
		}
		text, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode < 400 || response.StatusCode > 499 || strings.Contains(string(text), "access_token") || response.Header.Get("Location") != "" {
			t.Errorf("plain http on the TLS port: %d %s", response.StatusCode, text)
		}
	}
}

func genContentType(t *testing.T, s *suite) {
	d := s.dev()
	c := d.client(t)
	var form bytes.Buffer
	parts := multipart.NewWriter(&form)
	_ = parts.WriteField("grant_type", "client_credentials")
	_ = parts.Close()
	for _, test := range []struct{ kind, body string }{
		{parts.FormDataContentType(), form.String()},
		{"application/json", `{"grant_type":"client_credentials"}`},
		{"text/plain", grant().Encode()},
		{"application/x-www-form-urlencoded; charset=utf-16", grant().Encode()},
		{"application/x-www-form-urlencodedx", grant().Encode()},
		{"", grant().Encode()},
	} {
		for _, path := range oauthPaths {
			d.send(t, http.MethodPost, path, strings.NewReader(test.body), c.basic(), header("Content-Type", test.kind)).refused(t, 415, "invalid_request")
		}
	}
	twice := header("Content-Type", "application/json")
	d.raw(t, pathToken, grant().Encode(), c.basic(), twice).refused(t, 415, "invalid_request")
	d.raw(t, pathToken, grant().Encode(), c.basic(), header("Content-Encoding", "gzip")).refused(t, 415, "invalid_request")
	d.granted(t, d.send(t, http.MethodPost, pathToken, strings.NewReader(grant().Encode()), c.basic(),
		header("Content-Type", "Application/X-WWW-Form-URLEncoded; charset=UTF-8")))
}

// genErrors collects an error of each status that the endpoints have.
func genErrors(t *testing.T, s *suite) {
	d := s.dev()
	c := d.client(t)
	big := strings.Repeat("a", 64<<10+1)
	form := header("Content-Type", "application/x-www-form-urlencoded")
	for _, path := range oauthPaths {
		for status, a := range map[int]*answer{
			400: d.raw(t, path, "%zz", c.basic()), 401: d.post(t, path, grant("token", "x")), 405: d.get(t, path),
			413: d.send(t, http.MethodPost, path, strings.NewReader(big), form, c.basic()), 415: d.send(t, http.MethodPost, path, http.NoBody, c.basic()),
		} {
			if code, ok := a.json["error"].(string); a.status != status || !ok || code == "" || a.header.Get("Content-Type") != "application/json" ||
				a.header.Get("Cache-Control") != "no-store" || strings.Contains(a.body, "<") {
				t.Errorf("%s, want %d: %d %v %s", path, status, a.status, a.header, a.body)
			}
		}
	}
}

// measure reads a gauge or counter of the server's process.
func (s *server) measure(t *testing.T, name string) float64 {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(s.metrics(t))
	if found == nil {
		t.Fatalf("no metric %s", name)
	}
	value, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func genBodySize(t *testing.T, s *suite) {
	d := s.dev()
	c := d.client(t)
	form := header("Content-Type", "application/x-www-form-urlencoded")
	fill := func(size int) string {
		body := grant("x", "").Encode()
		return body + strings.Repeat("a", size-len(body))
	}
	d.granted(t, d.raw(t, pathToken, fill(64<<10), c.basic()))
	before := d.measure(t, "process_resident_memory_bytes")
	for _, path := range oauthPaths {
		for _, size := range []int{64<<10 + 1, 1 << 20, 8 << 20} {
			// Declared, and in chunks whose sum nobody has told.
			for _, body := range []io.Reader{strings.NewReader(fill(size)), io.MultiReader(strings.NewReader(fill(size)))} {
				a, err := d.upload(t, path, body, form, c.basic())
				if err != nil {
					continue // the connection ended while the body was under way
				}
				if a.StatusCode != http.StatusRequestEntityTooLarge || !a.Close {
					t.Errorf("%s with %d bytes: %d, connection closed: %t", path, size, a.StatusCode, a.Close)
				}
			}
		}
	}
	if grown := d.measure(t, "process_resident_memory_bytes") - before; grown > 32<<20 {
		t.Errorf("memory grew by %.0f MiB", grown/(1<<20))
	}
	d.granted(t, d.requestToken(t, c.basic()))
}

// upload is send for bodies that the server does not read to the end.
func (s *server) upload(t *testing.T, path string, body io.Reader, options ...option) (*http.Response, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.base+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range options {
		o(request)
	}
	response, err := s.http.Do(request)
	if err != nil {
		return nil, err
	}
	return response, response.Body.Close()
}

// genNested sends a million nested arrays in a JWT's place, over the size limit and as many as go under it.
func genNested(t *testing.T, s *suite) {
	d := s.dev()
	c := d.client(t)
	nested := func(depth int) string {
		head, body := `{"alg":"ES256"}`, `{"iss":`+strings.Repeat("[", depth)+strings.Repeat("]", depth)+"}"
		return base64.RawURLEncoding.EncodeToString([]byte(head)) + "." + base64.RawURLEncoding.EncodeToString([]byte(body)) + ".AAAA"
	}
	for _, depth := range []int{1_000_000, 20_000, 9_990, 5_000, 100} {
		text := nested(depth)
		began := time.Now()
		for _, form := range [][]string{
			append([]string{"grant_type", "client_credentials"}, asserted(text)...),
			{"grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion", text},
			{"grant_type", "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token", text, "subject_token_type", "urn:ietf:params:oauth:token-type:jwt"},
		} {
			request := servertest.Form(form...).Encode()
			a, err := d.upload(t, pathToken, strings.NewReader(request), header("Content-Type", "application/x-www-form-urlencoded"))
			if err == nil && (a.StatusCode < 400 || a.StatusCode > 499) {
				t.Errorf("depth %d: %d", depth, a.StatusCode)
			}
		}
		if len(text) < 60_000 {
			d.introspect(t, c, text).inactive(t)
			d.revoke(t, c, text).revoked(t)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("depth %d took %s", depth, took)
		}
	}
	if a := d.get(t, "/livez"); a.status != http.StatusOK {
		t.Errorf("livez: %d", a.status)
	}
	d.granted(t, d.requestToken(t, c.basic()))
}

func genDots(t *testing.T, s *suite) {
	d := s.dev()
	c := d.client(t)
	dots := strings.Repeat(".", 60_000)
	d.introspect(t, c, dots) // the first one may grow buffers
	const rounds = 20
	before := d.measure(t, "go_memstats_alloc_bytes_total")
	began := time.Now()
	for range rounds {
		d.requestToken(t, nil, asserted(dots)...).unauthorized(t)
		d.introspect(t, c, dots).inactive(t)
		d.revoke(t, c, dots).revoked(t)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	if each := (d.measure(t, "go_memstats_alloc_bytes_total") - before) / (3 * rounds); each > 1<<20 {
		t.Errorf("%.0f KiB allocated for each request of 60 KB", each/1024)
	}
}

// genThrottle fails until the server has enough of it. That right credentials still pass, so that nobody can lock a client
// out, is the choice of DESIGN.md §8.
func genThrottle(t *testing.T, s *suite) {
	d := s.dev()
	c, other, bystander := d.client(t), d.client(t), d.client(t)
	wrong := c.with(other.secret)
	var limited *answer
	for tries := range 130 {
		a := d.requestToken(t, wrong.basic())
		if a.status == http.StatusTooManyRequests {
			if tries < 100 {
				t.Errorf("limited after %d failures", tries)
			}
			limited = a
			break
		}
		a.unauthorized(t)
	}
	if limited == nil {
		t.Fatal("never limited")
	}
	limited.refused(t, 429, "invalid_client")
	revoke := func() *answer { return d.post(t, pathRevoke, servertest.Form("token", "x"), wrong.basic()) }
	a := revoke() // the count is of all endpoints
	if a.status == http.StatusUnauthorized {
		a = revoke() // one failure was forgiven in between, as one is each second
	}
	a.refused(t, 429, "invalid_client")
	d.granted(t, d.requestToken(t, c.basic()))
	d.granted(t, d.requestToken(t, bystander.basic()))
	d.requestToken(t, bystander.with(other.secret).basic()).unauthorized(t)
}

// genOutage holds DESIGN.md §8: known clients get tokens for up to 60 s (and with that, without one read of the database);
// whatever needs the database is 503.
func genOutage(t *testing.T, s *suite) {
	o := s.outage()
	o.down(t)
	o.granted(t, o.requestToken(t, o.cached.basic()))
	o.requestToken(t, o.unknown.basic()).refused(t, 503, "temporarily_unavailable")
	for _, c := range []client{o.cached, o.unknown} {
		o.introspect(t, c, o.token).refused(t, 503, "temporarily_unavailable")
		o.revoke(t, c, o.token).refused(t, 503, "temporarily_unavailable")
	}
	// A secret that does not match might be a new one: not 401 before the database was asked.
	o.requestToken(t, o.cached.with(o.unknown.secret).basic()).refused(t, 503, "temporarily_unavailable")
	for path, want := range map[string]int{pathJWKS: 200, pathMetadata: 200, "/livez": 200} {
		if a := o.get(t, path); a.status != want {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	if a := o.get(t, "/readyz"); a.json["status"] != "degraded" {
		t.Errorf("readyz: %d %s", a.status, a.body)
	}
}

// genForwarded sends what only a proxy may say: from an address that is none it counts for nothing, from the proxy it does.
func genForwarded(t *testing.T, s *suite) {
	p := s.proxy()
	inside := p.register(t, adminapi.NewClient{AllowCIDRs: []string{"192.0.2.0/24"}})
	ask := func(on *server, headers ...string) *answer {
		var options []option
		for i := 0; i+1 < len(headers); i += 2 {
			options = append(options, header(headers[i], headers[i+1]))
		}
		return on.post(t, pathToken, grant(), append(options, inside.basic())...)
	}
	// Not a proxy: plain http stays plain http, whatever the headers say.
	stranger := &server{Server: p.Server, suite: s, base: "http://" + p.Address + "/t1", http: servertest.Client(t), admin: p.admin}
	for _, claimed := range [][]string{
		{"X-Forwarded-Proto", "https"},
		{"Forwarded", "for=192.0.2.1;proto=https"},
		{"X-Forwarded-Ssl", "on"},
		{"X-Url-Scheme", "https"},
		{"X-Forwarded-Proto", "https", "X-Forwarded-For", "192.0.2.1", "X-Real-Ip", "192.0.2.1"},
	} {
		ask(stranger, claimed...).refused(t, 400, "invalid_request")
	}
	// The proxy, by the two headers that are read, and no others.
	p.granted(t, ask(p, "X-Forwarded-For", "192.0.2.1"))
	p.granted(t, ask(p, "X-Forwarded-For", "198.51.100.1, 192.0.2.1"))
	ask(p, "X-Forwarded-For", "192.0.2.1, 198.51.100.1").refused(t, 400, "unauthorized_client")
	ask(p, "X-Real-Ip", "192.0.2.1").refused(t, 400, "unauthorized_client")
	ask(p, "Forwarded", "for=192.0.2.1").refused(t, 400, "unauthorized_client")
	// A server that trusts nobody.
	d := s.dev()
	inside = d.register(t, adminapi.NewClient{AllowCIDRs: []string{"192.0.2.0/24"}})
	for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip"} {
		ask(d, name, "192.0.2.1").refused(t, 400, "unauthorized_client")
	}
	ask(d, "Forwarded", "for=192.0.2.1").refused(t, 400, "unauthorized_client")
	d.requestToken(t, header("X-Forwarded-Client-Cert", `Hash=abc;Subject="CN=`+inside.id+`"`), "client_id", inside.id).unauthorized(t)
	if a := d.get(t, pathJWKS, header("X-Request-Id", "chosen-by-the-caller")); a.header.Get("X-Request-Id") == "chosen-by-the-caller" {
		t.Error("a stranger's request ID was kept")
	}
	if a := d.get(t, pathMetadata, header("X-Forwarded-Host", "evil.test"), header("X-Forwarded-Proto", "https")); strings.Contains(a.body, "evil.test") || a.json["issuer"] != d.Issuer {
		t.Errorf("metadata by the caller's headers: %s", a.body)
	}
}

// genTraces stops every server, so that all is written, and looks through logs, metrics, traces, refusal records and the audit
// trail for what rows have sent and got.
func genTraces(t *testing.T, s *suite) {
	places := map[string]string{}
	for i, server := range s.all {
		name := fmt.Sprintf("server %d (%s)", i, server.Issuer)
		places["metrics of "+name] = server.metrics(t)
		for _, list := range []string{"refusals", "audit"} {
			a := server.overSocket(t, http.MethodGet, "/admin/v1/"+list+"?limit=1000", "")
			if a.status != http.StatusOK && a.status != http.StatusServiceUnavailable {
				t.Errorf("%s of %s: %d %s", list, name, a.status, a.body)
			}
			places[list+" of "+name] = a.body
		}
	}
	var stopping sync.WaitGroup
	for _, server := range s.all {
		stopping.Go(func() { _ = server.Stop() })
	}
	stopping.Wait()
	for i, server := range s.all {
		places[fmt.Sprintf("log of server %d", i)] = server.Log()
	}
	places["traces"] = s.traces.String()
	t.Logf("%d secrets, assertions and tokens; %d places", s.seen.count(), len(places))
	// The search itself must find what is there.
	if found := s.seen.find("msg=x secret=" + s.dev().ClientSecret + " y"); len(found) == 0 {
		t.Error("a planted secret is not found")
	}
	for place, text := range places {
		if text == "" && !strings.HasPrefix(place, "log of") { // signet dev has nothing to say when nothing is refused
			t.Errorf("%s: nothing to look through", place)
		}
		for _, what := range s.seen.find(text) {
			t.Errorf("%s: holds %s", place, what)
		}
	}
}
