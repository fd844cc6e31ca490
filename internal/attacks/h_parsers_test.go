package attacks

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func parserRows() []row {
	return []row{
		{"H1", func(a *attempt) { a.dots(4 << 20) }},
		{"H3", func(a *attempt) { a.dots(60 << 10) }},
		{"H4", func(a *attempt) { a.dots(15 << 10) }},
		{"H5", encryptedTokens},
		{"H6", strangeJWS},
		{"H7", compressedTokens},
		{"H9", hugeSegments},
		{"H10", numberOfSegments},
		{"H11", strangeJWS},
		{"H12", deepJSON},
		{"H13", strangeForms},
		{"H15", cookies},
		{"H16", multipartBodies},
		{"H18", boundedCaches},
	}
}

// everySlot puts a text wherever a token or an assertion may stand, and wants it refused, or not known, everywhere.
func (a *attempt) everySlot(what, token string) {
	a.Helper()
	slot := func(path, name string, basic credentials, pairs ...string) {
		form := servertest.Form(append([]string{"grant_type", "client_credentials", name, token}, pairs...)...)
		r := a.send(request{path: path, form: form, basic: basic})
		switch {
		case len(token) > 64<<10:
			a.want(what+" at "+path, r, http.StatusRequestEntityTooLarge, "invalid_request")
		case r.status == http.StatusOK && path == "/oauth2/introspect":
			if !isInactive(r) {
				a.Errorf("%s: introspection says %s", what, r.body)
			}
		case r.status == http.StatusOK && path == "/oauth2/revoke": // nothing of ours: nothing to revoke (RFC 7009 §2.2)
		case r.status < 400:
			a.Errorf("%s at %s: %d %s", what, path, r.status, r.body)
		}
	}
	kind := []string{"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}
	slot("/oauth2/introspect", "token", a.watch)
	slot("/oauth2/revoke", "token", a.good)
	for _, path := range []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"} {
		slot(path, "client_assertion", credentials{}, kind...)
	}
	slot("/oauth2/token", "client_secret", credentials{}, "client_id", a.good.id)
	for _, scheme := range []string{"Bearer ", "Basic ", "DPoP "} {
		header := http.Header{"Authorization": {scheme + token}}
		if strings.ContainsAny(token, "\x00\r\n") {
			continue
		}
		r := a.send(request{path: "/oauth2/token", form: servertest.Form("grant_type", "client_credentials"), header: header, early: true})
		if r.status != 0 && (r.status < 400 || r.status > 499) {
			a.Errorf("%s in the header: %d %s", what, r.status, r.body)
		}
		a.send(request{method: http.MethodGet, path: a.AdminURL + "/admin/v1/status", header: header, early: true})
	}
}

// H1, H3, H4: a text of dots is not taken apart.
func (a *attempt) dots(n int) {
	a.everySlot(fmt.Sprint(n, " dots"), strings.Repeat(".", n))
	a.everySlot("a header and dots", b64(`{"alg":"ES256"}`)+strings.Repeat(".", n))
}

// H5: nothing is ever decrypted.
func encryptedTokens(a *attempt) {
	for _, alg := range []string{"RSA-OAEP", "RSA-OAEP-256", "dir", "A128KW", "ECDH-ES", "A128GCMKW", "RSA1_5"} {
		for _, key := range []string{"", b64("key"), "!"} {
			header := b64(text(object{"alg": alg, "enc": "A128GCM", "cty": "JWT", "kid": a.forge.kid}))
			a.everySlot("JWE "+alg, header+"."+key+"."+b64("iv")+"."+b64("text")+"."+b64("tag"))
		}
	}
	a.everySlot("JWE in JSON", `{"protected":"","encrypted_key":"","iv":"","ciphertext":"","tag":"","recipients":[null]}`)
}

// H6, H11: what made decoders panic.
func strangeJWS(a *attempt) {
	for _, jws := range []string{
		"", ".", "..", "...", "a", "a.", ".a", "a.b", "a.b.", "..a", "e30.e30.", "e30..e30", "bnVsbA.bnVsbA.bnVsbA", "W10.W10.W10", "IiI.IiI.IiI", "MQ.MQ.MQ",
		`{"payload":null,"signatures":[null]}`, `{"signatures":null}`, `{"payload":"","signatures":[{"header":null}]}`, "{}", "[]", "null", `""`,
		b64(`{"alg":"ES256"}`) + "." + b64("null") + ".AA", b64(`{"alg":null}`) + "." + b64("{}") + ".AA", b64(`{"alg":"ES256","alg":1}`) + "..", "=.=.=",
		b64("\xff\xfe") + "." + b64("\xff") + ".AA", b64(`{"alg":"ES256"`) + ".e30.AA", "e30.e30.AA\n", "e30.\te30.AA", " e30.e30.AA", "e30.e30.AA ", "ⓔ30.e30.AA",
		b64(`{"alg":"ES256"}{"alg":"none"}`) + ".e30.AA", b64("\x00") + ".e30.AA", b64(`{"alg":"ES256"} `) + ".e30.A", "Basic", "eyJ", strings.Repeat("A", 8193),
	} {
		if jws == "" {
			continue
		}
		a.everySlot(fmt.Sprintf("%.40q", jws), jws)
	}
}

// H7: nothing is ever unpacked.
func compressedTokens(a *attempt) {
	m := a.machine(newES256(a, "k"))
	for _, zip := range []any{"DEF", "GZ", "def", nil, []string{"DEF"}, true} {
		if zip == nil {
			continue
		}
		a.wantInactive(text(zip), a.forged(object{"zip": zip}, nil))
		a.wantDenied(text(zip), m.key.jwt(m.header().with(object{"zip": zip}), m.claims()))
	}
	body := servertest.Form("grant_type", "client_credentials").Encode()
	for _, coding := range []string{"gzip", "deflate", "br", "zstd", "x"} {
		r := a.send(request{path: "/oauth2/token", body: strings.NewReader(body), basic: a.good, header: http.Header{"Content-Encoding": {coding}}})
		a.want(coding, r, 415, "invalid_request")
	}
}

// H9: a segment has the size that a request may have, and no more.
func hugeSegments(a *attempt) {
	m := a.machine(newES256(a, "k"))
	right := m.assertion(nil)
	head, payload, signature := parts(right)
	for _, n := range []int{15 << 10, 70 << 10, 1 << 20, 8 << 20} {
		long := strings.Repeat("A", n)
		for what, jws := range map[string]string{
			"header": long + "." + payload + "." + signature, "payload": head + "." + long + "." + signature, "signature": head + "." + payload + "." + long,
		} {
			status, code := 401, "invalid_client"
			if n > 60<<10 {
				status, code = 413, "invalid_request"
			}
			a.want(fmt.Sprint(what, " of ", n), a.present(jws), status, code)
		}
	}
	// A body whose length nobody has announced ends where the limit is.
	endless := io.LimitReader(neverEnding('a'), 64<<20)
	r := a.send(request{path: "/oauth2/token", body: endless, basic: a.good, early: true})
	if r.status != 0 && r.status != 413 {
		a.Errorf("an endless body: %d %s", r.status, r.body)
	}
	a.wantAccepted("control", right)

	// Nobody is granted more than a token can hold without being told so.
	var names []string
	var scopes []adminapi.NewScope
	for i := range 100 {
		names = append(names, fmt.Sprintf("%s%03d", strings.Repeat("s", 120), i))
		scopes = append(scopes, adminapi.NewScope{Name: names[i]})
	}
	const wide = "https://wide.test"
	if _, err := a.admin.CreateAPI(a.Context(), adminapi.NewAPI{Identifier: wide, Name: wide, Scopes: scopes}); err != nil {
		a.Fatal(err)
	}
	c := a.client(func(n *adminapi.NewClient) { n.Grants = grant(wide, names...) })
	a.want("12 KiB of scopes", a.askToken(c), 400, "invalid_scope")
	a.issue(c, "scope", names[0])
}

type neverEnding byte

// Read fills p.
func (b neverEnding) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

// H10: three segments, and no other number.
func numberOfSegments(a *attempt) {
	m := a.machine(newES256(a, "k"))
	for n := 1; n <= 10; n++ {
		if n == 3 {
			continue
		}
		for _, jws := range []string{m.assertion(nil), a.forged(nil, nil)} {
			segments := strings.Split(jws, ".")
			for len(segments) < n {
				segments = append(segments, segments[len(segments)-1])
			}
			changed := strings.Join(segments[:n], ".")
			a.wantDenied(fmt.Sprint(n, " segments"), changed)
			a.wantInactive(fmt.Sprint(n, " segments"), changed)
		}
	}
	a.wantAccepted("control", m.assertion(nil))
}

// H12: JSON that is deep, wide or has a number without end is refused before it costs anything, wherever JSON is taken.
func deepJSON(a *attempt) {
	m := a.machine(newES256(a, "k"))
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for what, value := range map[string]string{
		"33 deep": nested(33), "1000 deep": nested(1000), "open": strings.Repeat("[", 5000), "objects": strings.Repeat(`{"a":`, 1000) + "1" + strings.Repeat("}", 1000),
		"a long number": "1" + strings.Repeat("0", 5000), "an exponent": "1e" + strings.Repeat("9", 100), "negative": "-1e400",
	} {
		claims := strings.Replace(text(m.claims()), "{", `{"x":`+value+",", 1)
		a.send(request{path: "/oauth2/introspect", form: servertest.Form("token", a.forge.jwt(`{"alg":"ES256","x":`+value+"}", "{}")), basic: a.watch})
		a.wantDenied(what+" in the header", m.key.jwt(`{"alg":"ES256","kid":`+value+"}", m.claims()))
		a.wantDenied(what+" as a claim", m.key.jwt(m.header(), strings.Replace(text(m.claims().with(object{"jti": nil})), "{", `{"jti":`+value+",", 1)))
		if r := a.present(m.key.jwt(m.header(), claims)); r.status != 200 && r.status != 401 {
			a.Errorf("%s in a claim that nobody reads: %d %s", what, r.status, r.body)
		}
		header, token := a.perfect()
		a.wantInactive(what, a.forge.jwt(header, strings.Replace(text(token), "{", `{"iss":`+value+",", 1)))
		a.wantInactive(what+", last", a.forge.jwt(header, strings.TrimSuffix(text(token), "}")+`,"iss":`+value+"}"))
	}
	a.wantInactive("a claim twice", a.forge.jwt(text(object{"alg": "ES256", "kid": a.forge.kid, "typ": "at+jwt"}), strings.Replace(text(a.second()), "{", `{"gen":1,`, 1)))

	admin := func(body string) answer {
		return a.send(request{
			path: "http://signet.local/admin/v1/clients", instead: a.unix(), header: http.Header{"Content-Type": {"application/json"}}, body: strings.NewReader(body), early: true,
		})
	}
	for what, body := range map[string]string{
		"deep": `{"name":"deep","claims":{"x":` + nested(100_000) + "}}", "open": strings.Repeat(`{"claims":`, 20_000), "wide": `{"name":"wide","labels":{` + strings.Repeat(`"k":"",`, 1_000_000) + `"x":""}}`,
		"long number": `{"name":"n","token_ttl":1` + strings.Repeat("0", 200_000) + "}", "no JSON": "\x00", "null": "null", "array": "[]",
		"unknown members": `{"name":"n","is_admin":true}`, "other types": `{"name":["n"],"grants":{"a":1}}`,
	} {
		if r := admin(body); r.status != 0 && (r.status < 400 || r.status > 499) { // 0: it hung up on what was still being sent
			a.Errorf("admin API, %s: %d %.200s", what, r.status, r.body)
		}
	}
	// What is accepted as a claim must be a claim that can be signed.
	for _, depth := range []int{10, 31, 33, 500} {
		r := admin(`{"name":"depth ` + fmt.Sprint(depth) + `","grants":[{"api":"` + ordersAPI + `","scopes":["read"]}],"claims":{"x":` + nested(depth) + "}}")
		if r.status >= 400 {
			continue
		}
		c := credentials{r.text("client_id"), r.text("client_secret")}
		a.remember(c.secret)
		if token := a.askToken(c); token.status != 200 {
			a.Errorf("a static claim %d deep is registered, and then: %d %s", depth, token.status, token.body)
		}
	}
}

// H13: a form is names and values; everything else is refused, and no type is confused with another.
func strangeForms(a *attempt) {
	secret := url.QueryEscape(a.good.secret)
	right := "grant_type=client_credentials&client_id=" + a.good.id + "&client_secret=" + secret
	var many strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&many, "a%d&", i)
	}
	for what, body := range map[string]string{
		"NUL": "grant_type=client_credentials%00", "NUL in a name": "grant_type%00=client_credentials", "bad UTF-8": "grant_type=client_credentials&scope=%ff%fe",
		"bad escape": "grant_type=client_credentials&scope=%zz", "cut escape": "grant_type=client_credentials&scope=%", "semicolons": "grant_type=client_credentials;scope=read",
		"arrays": "grant_type[]=client_credentials", "nested": "grant_type[a][b]=client_credentials", "only ampersands": strings.Repeat("&", 60_000),
		"10000 parameters": many.String(), "too many": strings.Repeat("a&", 100_000), "no names": strings.Repeat("=&", 1000), "JSON": `{"grant_type":"client_credentials"}`,
		"XML": "<grant_type>client_credentials</grant_type>", "long name": strings.Repeat("a", 60_000), "one byte too much": strings.Repeat("a", 64<<10+1),
		"grant_type empty": "grant_type=&client_id=x", "nothing": "", "BOM": "\ufeffgrant_type=client_credentials", "UTF-16": "g\x00r\x00a\x00n\x00t\x00",
		"repeated": right + "&scope=read&scope=read", "case": "GRANT_TYPE=client_credentials",
	} {
		for _, path := range []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"} {
			if r := a.send(request{path: path, body: strings.NewReader(body)}); r.status < 400 || r.status > 499 {
				a.Errorf("%s at %s: %d %s", what, path, r.status, r.body)
			}
		}
	}
	for range 200 {
		noise := make([]byte, 1+rand.IntN(200))
		for i := range noise {
			noise[i] = byte(rand.IntN(256))
		}
		if r := a.send(request{path: "/oauth2/token", body: bytes.NewReader(noise)}); r.status < 400 || r.status > 499 {
			a.Errorf("%q: %d %s", noise, r.status, r.body)
		}
	}
	for _, kind := range []string{"", "text/plain", "application/json", "application/x-www-form-urlencoded; charset=utf-16", "application/x-www-form-urlencoded, text/plain", "\x80"} {
		r := a.send(request{path: "/oauth2/token", body: strings.NewReader(right), header: http.Header{"Content-Type": {kind}}})
		a.want("content type "+kind, r, 415, "invalid_request")
	}
}

// H15: a header has a size that it may have, cookies included.
func cookies(a *attempt) {
	for what, header := range map[string]http.Header{
		"10000 cookies": {"Cookie": {strings.Repeat("a=b; ", 10_000)}}, "1 MiB": {"X": {strings.Repeat("x", 1<<20)}},
		"many headers": {"X": slicesOf("x", 10_000)},
	} {
		r := a.send(request{path: "/oauth2/token", form: servertest.Form("grant_type", "client_credentials"), header: header, early: true})
		if r.status != 0 && r.status != http.StatusRequestHeaderFieldsTooLarge {
			a.Errorf("%s: %d %s", what, r.status, r.body)
		}
	}
	r := a.send(request{path: "/oauth2/token", form: servertest.Form("grant_type", "client_credentials"), basic: a.good, header: http.Header{"Cookie": {strings.Repeat("a=b; ", 100)}}})
	if r.status != 200 || r.header.Get("Set-Cookie") != "" {
		a.Errorf("cookies change the answer: %d", r.status)
	}
	a.remember(r.text("access_token"))
}

func slicesOf(text string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = text
	}
	return out
}

// H16: only the one kind of form is read.
func multipartBodies(a *attempt) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for name, value := range map[string]string{"grant_type": "client_credentials", "client_id": a.good.id, "client_secret": a.good.secret} {
		if err := form.WriteField(name, value); err != nil {
			a.Fatal(err)
		}
	}
	for i := range 500 {
		if _, err := form.CreateFormFile(fmt.Sprint("f", i), strings.Repeat("n", 100)); err != nil {
			a.Fatal(err)
		}
	}
	_ = form.Close()
	for _, path := range []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"} {
		r := a.send(request{path: path, body: bytes.NewReader(body.Bytes()), header: http.Header{"Content-Type": {form.FormDataContentType()}}})
		a.want(path, r, 415, "invalid_request")
	}
}

// H18: whatever the server remembers has a bound, and callers cannot grow what is measured.
func boundedCaches(a *attempt) {
	for i := range 100 {
		a.want("unknown client", a.askToken(credentials{nobody(), wrong()}), 401, "invalid_client")
		a.send(request{method: http.MethodGet, path: fmt.Sprint("/", i), header: http.Header{"User-Agent": {fmt.Sprint(i)}}})
	}
	a.send(request{method: "BREW", path: "/oauth2/token"})
	caches := map[string][2]float64{}
	series := 0
	for line := range strings.Lines(string(a.metrics())) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		series++
		var value float64
		name, rest, _ := strings.Cut(line, `{cache="`)
		cache, rest, found := strings.Cut(rest, `"`)
		if !found {
			continue
		}
		if _, err := fmt.Sscan(strings.TrimPrefix(rest, "}"), &value); err != nil {
			a.Errorf("%s: %v", line, err)
		}
		entry := caches[cache]
		switch name {
		case "signet_cache_entries":
			entry[0] = value
		case "signet_cache_capacity":
			entry[1] = value
		}
		caches[cache] = entry
	}
	if len(caches) < 3 {
		a.Errorf("the metrics show %d caches", len(caches))
	}
	for name, entry := range caches {
		if entry[1] <= 0 || entry[0] > entry[1] {
			a.Errorf("cache %s has %v entries of %v", name, entry[0], entry[1])
		}
	}
	if series > 1500 {
		a.Errorf("%d series of metrics", series)
	}
	_, err := a.admin.Refusals(a.Context(), strings.Repeat("x", 100), 1001)
	a.wantProblem("more refusals than a page", err, 422)
	_, err = a.admin.Clients(a.Context(), adminapi.ClientFilter{Limit: 1 << 30})
	a.wantProblem("more clients than a page", err, 422)
}
