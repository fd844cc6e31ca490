package oauth_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/oauth"
)

func TestTokenIssues(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := &clients.Client{
		ID: "client_ClaimsClaimsClaims00", Generation: 7, Claims: map[string]any{"tier": "gold"},
		Grants: []clients.Grant{{API: ordersAPI, Scopes: []string{"orders:read", "orders:write"}}},
	}
	b.add(c)
	a := b.send(t, request{basic: b.basic(c.ID), form: ccForm("scope", "orders:write", "foo", "bar")}) // TOK-06: foo is ignored
	if a.status != http.StatusOK {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	// TOK-09, TOK-10, TOK-11, CC-02: exactly these members.
	want := map[string]any{"access_token": a.token(), "token_type": "Bearer", "expires_in": 300.0, "scope": "orders:write"}
	if diff := cmp.Diff(want, a.json); diff != "" {
		t.Error(diff)
	}
	claims, err := b.tokens.Parse(a.token(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if claims.Subject != c.ID || claims.ClientID != c.ID || claims.Audience != ordersAPI || claims.Scope != "orders:write" ||
		claims.Generation != 7 || claims.Typ != "at+jwt" || claims.Issuer != issuer {
		t.Errorf("claims: %+v", claims)
	}
	if diff := cmp.Diff(map[string]any{"tier": "gold"}, claims.Extra); diff != "" {
		t.Error(diff)
	}
	if got := claims.ExpiresAt.Sub(claims.IssuedAt); got != 5*time.Minute {
		t.Errorf("lifetime %s", got)
	}
	if len(b.usage.uses) != 1 || b.usage.uses[0].ClientID != c.ID || b.usage.uses[0].SecretID != c.Secrets[0].ID || b.usage.uses[0].API != ordersAPI {
		t.Errorf("usage: %+v", b.usage.uses)
	}
	if b.registry.reads != 0 { // TOK-17
		t.Errorf("%d reads of the database", b.registry.reads)
	}
}

func TestTokenResponsePrintsRedacted(t *testing.T) {
	t.Parallel()
	r := oauth.TokenResponse{AccessToken: "eyJ-the-token"}
	for _, text := range []string{fmt.Sprint(r), fmt.Sprintf("%v %+v %#v %s", r, r, r, r), fmt.Sprint(&r), r.LogValue().String()} {
		if strings.Contains(text, "eyJ") {
			t.Errorf("printed as %s", text)
		}
	}
}

func TestRequestForm(t *testing.T) {
	t.Parallel()
	const form = "application/x-www-form-urlencoded"
	good := ccForm().Encode()
	tests := map[string]struct {
		r      request
		status int
		code   string
		reason oauth.Reason
	}{
		"GEN-02 GET":                {request{method: http.MethodGet}, 405, "invalid_request", oauth.ReasonMethod},
		"GEN-02 PUT":                {request{method: http.MethodPut, form: ccForm()}, 405, "invalid_request", oauth.ReasonMethod},
		"GEN-03 JSON":               {typed("application/json", `{"grant_type":"client_credentials"}`), 415, "invalid_request", oauth.ReasonContentType},
		"GEN-03 multipart":          {typed("multipart/form-data; boundary=x", "--x--"), 415, "invalid_request", oauth.ReasonContentType},
		"no content type":           {request{headers: http.Header{"Content-Type": nil}, body: good}, 415, "invalid_request", oauth.ReasonContentType},
		"two content types":         {request{headers: http.Header{"Content-Type": {form, form}}, body: good}, 415, "invalid_request", oauth.ReasonContentType},
		"charset":                   {typed(form+"; charset=utf-16", good), 415, "invalid_request", oauth.ReasonContentType},
		"compressed":                {request{headers: http.Header{"Content-Encoding": {"gzip"}}, body: good}, 415, "invalid_request", oauth.ReasonContentType},
		"GEN-08 large":              {request{body: good + "&x=" + strings.Repeat("a", oauth.MaxBody)}, 413, "invalid_request", oauth.ReasonBodyTooLarge},
		"TOK-01 no grant":           {request{body: "scope=orders:read"}, 400, "invalid_request", oauth.ReasonParamMissing},
		"TOK-02 empty grant":        {request{body: "grant_type="}, 400, "invalid_request", oauth.ReasonParamMissing},
		"no body":                   {request{}, 400, "invalid_request", oauth.ReasonParamMissing},
		"TOK-03 unknown grant":      {request{body: "grant_type=foo"}, 400, "unsupported_grant_type", oauth.ReasonGrantType},
		"TOK-04 password":           {request{body: "grant_type=password"}, 400, "unsupported_grant_type", oauth.ReasonGrantType},
		"TOK-14 case":               {request{body: "grant_type=Client_Credentials"}, 400, "unsupported_grant_type", oauth.ReasonGrantType},
		"TOK-14 twice in one":       {request{body: "grant_type=client_credentials+client_credentials"}, 400, "unsupported_grant_type", oauth.ReasonGrantType},
		"K11 token exchange":        {request{body: "grant_type=urn:ietf:params:oauth:grant-type:token-exchange"}, 400, "unsupported_grant_type", oauth.ReasonGrantType},
		"TOK-05 grant twice":        {request{body: good + "&" + good}, 400, "invalid_request", oauth.ReasonParamRepeated},
		"TOK-05 scope twice":        {request{body: good + "&scope=a&scope=a"}, 400, "invalid_request", oauth.ReasonParamRepeated},
		"TOK-05 unknown twice":      {request{body: good + "&x=a&x=a"}, 400, "invalid_request", oauth.ReasonParamRepeated},
		"TOK-08 all in query":       {request{query: "?" + good}, 400, "invalid_request", oauth.ReasonParamInQuery},
		"E3 scope in query":         {request{query: "?scope=orders:read", form: ccForm()}, 400, "invalid_request", oauth.ReasonParamInQuery},
		"N7 secret in query":        {request{query: "?client_%73ecret=x", form: ccForm()}, 400, "invalid_request", oauth.ReasonParamInQuery},
		"malformed query":           {request{query: "?a=%zz", form: ccForm()}, 400, "invalid_request", oauth.ReasonFormMalformed},
		"TOK-15 NUL":                {request{body: good + "&scope=%00"}, 400, "invalid_request", oauth.ReasonFormMalformed},
		"TOK-15 NUL in a name":      {request{body: good + "&a%00=b"}, 400, "invalid_request", oauth.ReasonFormMalformed},
		"TOK-15 percent":            {request{body: good + "&scope=%zz"}, 400, "invalid_request", oauth.ReasonFormMalformed},
		"TOK-15 UTF-8":              {request{body: good + "&scope=%ff"}, 400, "invalid_request", oauth.ReasonFormMalformed},
		"semicolon":                 {request{body: "grant_type=client_credentials;scope=a"}, 400, "invalid_request", oauth.ReasonFormMalformed},
		"H13 100 000 parameters":    {request{body: good + strings.Repeat("&a", 30_000)}, 400, "invalid_request", oauth.ReasonFormMalformed},
		"C10 request_uri":           {request{form: ccForm("request_uri", "http://127.0.0.1/")}, 400, "invalid_request", oauth.ReasonParamInvalid},
		"C10 request":               {request{form: ccForm("request", "eyJ")}, 400, "invalid_request", oauth.ReasonParamInvalid},
		"GEN-07 echo in the name":   {request{body: good + "&%22%5C%0A%C3%A9=1&%22%5C%0A%C3%A9=1"}, 400, "invalid_request", oauth.ReasonParamRepeated},
		"GEN-07 echo in grant_type": {request{body: `grant_type=%22%5C%0A%C3%A9`}, 400, "unsupported_grant_type", oauth.ReasonGrantType},
		"GEN-07 echo in expires_in": {request{form: ccForm("expires_in", "\"\n")}, 400, "invalid_request", oauth.ReasonParamInvalid},
		"GEN-07 echo in resource":   {request{form: ccForm("resource", "urn:\"\\é")}, 400, "invalid_target", oauth.ReasonTargetNotGrant},
	}
	b := setup(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.r.basic = b.basic(basicID)
			a := b.send(t, test.r)
			wantError(t, a, test.status, test.code, test.reason)
			if strings.Contains(a.body, "é") || strings.Contains(a.body, "foo") {
				t.Errorf("echoes its input: %s", a.body)
			}
		})
	}
}

func typed(contentType, body string) request {
	return request{headers: http.Header{"Content-Type": {contentType}}, body: body}
}

func TestRequestFormAccepts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, r := range map[string]request{
		"charset utf-8":         typed("application/x-www-form-urlencoded; charset=UTF-8", ccForm().Encode()),
		"TOK-07 empty scope":    {body: "grant_type=client_credentials&scope="},
		"other query":           {query: "?trace=1", form: ccForm()},
		"identity encoding":     {headers: http.Header{"Content-Encoding": {"identity"}}, form: ccForm()},
		"INT-08 not the query":  {query: "?access_token=x", form: ccForm()},
		"empty request_uri":     {form: ccForm("request_uri", "")},
		"client_id in the body": {form: ccForm("client_id", basicID)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r.basic = b.basic(basicID)
			if a := b.send(t, r); a.status != http.StatusOK || a.json["scope"] != "orders:read orders:write" {
				t.Errorf("got %d %s", a.status, a.body)
			}
		})
	}
}

// A body whose length is not announced is cut off all the same (GEN-08).
func TestRequestBodyWithoutLength(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, reader := range map[string]*endless{"endless": {left: 1 << 40}, "broken": {left: 10, end: errors.New("reset")}} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, tokenPath, reader)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		_, err = b.Token(t.Context(), &oauth.Request{HTTP: r, ClientIP: netip.MustParseAddr("192.0.2.1")})
		var e *oauth.Error
		if !errors.As(err, &e) || (e.Status != 413 && e.Reason != oauth.ReasonBodyUnreadable) {
			t.Errorf("%s: %v", name, err)
		}
		if reader.read > oauth.MaxBody+(64<<10) {
			t.Errorf("%s: read %d bytes", name, reader.read)
		}
	}
}

// A body that is announced as too large is not read at all.
func TestRequestBodyAnnouncedTooLarge(t *testing.T) {
	t.Parallel()
	b := setup(t)
	body := &endless{left: 1 << 20}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, tokenPath, body)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = oauth.MaxBody + 1
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	_, err = b.Token(t.Context(), &oauth.Request{HTTP: r, ClientIP: netip.MustParseAddr("192.0.2.1")})
	var e *oauth.Error
	if !errors.As(err, &e) || e.Status != 413 || body.read != 0 {
		t.Errorf("%v after %d bytes", err, body.read)
	}
}

type endless struct {
	left, read int
	end        error
}

func (e *endless) Read(p []byte) (int, error) {
	n := min(len(p), e.left)
	if n == 0 {
		return 0, e.end
	}
	for i := range n {
		p[i] = 'a'
	}
	e.left, e.read = e.left-n, e.read+n
	return n, nil
}

func TestTokenOutage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.registry.down = errors.New("dial tcp 10.0.0.7:5432: connect: connection refused (user=signet)")
	a := b.send(t, request{basic: b.basic(basicID), form: ccForm()})
	wantError(t, a, 503, "temporarily_unavailable", oauth.ReasonUnavailable) // GEN-13
	if strings.Contains(a.body, "10.0.0.7") || strings.Contains(a.body, "signet)") {
		t.Errorf("N8: the answer tells of the database: %s", a.body)
	}
	if b.throttle.count() != 0 {
		t.Error("an outage counts as a failed authentication")
	}
}

func TestTokenWithoutSigningKey(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.addAPI(&apis.API{Identifier: ordersAPI, Alg: apis.RS256, Typ: apis.TypJWT})
	a := b.send(t, request{basic: b.basic(basicID), form: ccForm()})
	wantError(t, a, 503, "temporarily_unavailable", oauth.ReasonUnavailable)
	if len(b.usage.uses) != 0 {
		t.Error("counted as issued")
	}
}

// The error type itself: what it prints, and that the cause is found behind it.
func TestErrorKeepsItsCause(t *testing.T) {
	t.Parallel()
	b := setup(t)
	cause := errors.New("disk on fire")
	b.registry.down = cause
	a := b.send(t, request{basic: b.basic(basicID), form: ccForm()})
	if !errors.Is(a.err, cause) || !strings.Contains(a.err.Error(), "unavailable") {
		t.Errorf("got %v", a.err)
	}
	if a.err.ClientID != basicID {
		t.Errorf("client %q", a.err.ClientID)
	}
}

func TestClaimedClientIDIsShortAndPrintable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := "client_\n\"é" + strings.Repeat("x", 500)
	a := b.send(t, request{form: url.Values{"grant_type": {"client_credentials"}, "client_id": {id}}})
	wantError(t, a, 401, "invalid_client", oauth.ReasonNoCredentials)
	if len(a.err.ClientID) > 64 {
		t.Errorf("%d bytes of client ID", len(a.err.ClientID))
	}
}

func TestNewWantsEverything(t *testing.T) {
	t.Parallel()
	if _, err := oauth.New(oauth.Config{Issuer: issuer}); err == nil {
		t.Error("an incomplete Config is taken")
	}
}
