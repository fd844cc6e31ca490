package conformance_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// atRows are the rows of the access token's content.
func atRows() []row {
	return []row{
		{"AT-01", func(t *testing.T, s *suite) {
			token := s.dev().issue(t, s.dev().client(t)) // verified by its kid in the JWKS
			if token.header["typ"] != "at+jwt" || token.header["alg"] != "ES256" || len(token.header) != 3 {
				t.Errorf("header %v", token.header)
			}
		}},
		{"AT-02", func(t *testing.T, s *suite) {
			token := s.dev().issue(t, s.dev().client(t))
			for _, name := range []string{"iss", "exp", "aud", "sub", "client_id", "iat", "jti"} {
				if token.claims[name] == nil || token.claims[name] == "" {
					t.Errorf("no %s", name)
				}
			}
		}},
		{"AT-03", func(t *testing.T, s *suite) {
			for _, server := range []*server{s.dev(), s.proxy(), s.pair()[1]} {
				if token := server.issue(t, server.client(t)); token.claims["iss"] != server.metadata(t)["issuer"] {
					t.Errorf("iss %v", token.claims["iss"])
				}
			}
		}},
		{"AT-04", func(t *testing.T, s *suite) { // a text, always: one token is for one API
			token := s.dev().issue(t, s.dev().client(t))
			if aud, ok := token.claims["aud"].(string); !ok || aud != s.dev().API {
				t.Errorf("aud %v", token.claims["aud"])
			}
		}},
		{"AT-05", func(t *testing.T, s *suite) {
			c := s.dev().client(t)
			if token := s.dev().issue(t, c); token.claims["sub"] != c.id || token.claims["client_id"] != c.id {
				t.Errorf("sub %v, client_id %v, client %s", token.claims["sub"], token.claims["client_id"], c.id)
			}
		}},
		{"AT-06", atChosenID},
		{"AT-07", func(t *testing.T, s *suite) {
			token := s.dev().issue(t, s.dev().client(t), "scope", "orders:write orders:read")
			if scope, ok := token.claims["scope"].(string); !ok || scope != "orders:write orders:read" || token.claims["scp"] != nil {
				t.Errorf("scope %v, scp %v", token.claims["scope"], token.claims["scp"])
			}
		}},
		{"AT-08", func(t *testing.T, s *suite) {
			before := time.Now().Unix()
			token := s.dev().issue(t, s.dev().client(t))
			text := decoded(t, token.text, 1)
			if !regexp.MustCompile(`"iat":[1-9]\d{9}[,}]`).Match(text) || !regexp.MustCompile(`"exp":[1-9]\d{9}[,}]`).Match(text) {
				t.Errorf("times that are no integers: %s", text)
			}
			if iat := token.number("iat"); iat < before || iat > time.Now().Unix() || token.number("exp") <= iat || token.claims["nbf"] != nil {
				t.Errorf("iat %d, exp %d, nbf %v", iat, token.number("exp"), token.claims["nbf"])
			}
		}},
		{"AT-09", atLifetime},
		{"AT-10", atUnique},
		{"AT-11", atReserved},
		{"AT-12", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.register(t, adminapi.NewClient{Name: "ops@example.com", Owner: "jane@example.com", Labels: map[string]string{"cost": "internal-42"}})
			token := d.issue(t, c)
			if len(token.text) > 1024 {
				t.Errorf("%d bytes", len(token.text))
			}
			names := slices.Sorted(maps.Keys(token.claims))
			if want := []string{"aud", "client_id", "exp", "gen", "iat", "iss", "jti", "scope", "sub"}; !slices.Equal(names, want) {
				t.Errorf("claims %v, want %v", names, want)
			}
			payload := string(decoded(t, token.text, 1))
			for _, random := range []string{"sub", "jti"} { // and may hold anything short
				payload = strings.ReplaceAll(payload, fmt.Sprint(token.claims[random]), "")
			}
			for _, private := range []string{c.secret, c.secretID, "jane", "ops", "@", "internal-42", "cs_"} {
				if strings.Contains(payload, private) {
					t.Errorf("the token holds %q", private)
				}
			}
		}},
		{"AT-13", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.client(t)
			for range 20 { // r or s with a leading zero would come soon
				if n := len(decoded(t, d.issue(t, c).text, 2)); n != 64 {
					t.Errorf("a signature of %d bytes", n)
				}
			}
		}},
		{"AT-14", func(t *testing.T, s *suite) { // status lists come with a later issue, and no token points at one before
			if token := s.dev().issue(t, s.dev().client(t)); token.claims["status"] != nil {
				t.Errorf("status %v", token.claims["status"])
			}
		}},
		{"AT-15", func(t *testing.T, s *suite) {
			p := s.proxy()
			forged := forge(t, p)
			watcher := p.introspector(t)
			p.introspect(t, watcher, forged()).active(t)
			for _, typ := range []string{"statuslist+jwt", "token-introspection+jwt", "secevent+jwt", "logout+jwt", "dpop+jwt", "client-authentication+jwt"} {
				p.introspect(t, watcher, forged(head("typ", typ))).inactive(t)
			}
			if token := p.issue(t, p.client(t)); token.header["typ"] != "at+jwt" {
				t.Errorf("typ %v", token.header["typ"])
			}
		}},
	}
}

// overSocket sends JSON to the admin API as it is, with members that the Go client has no field for.
func (s *server) overSocket(t *testing.T, method, path, body string) *answer {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.AdminSocket)
	}}
	over := &server{Server: s.Server, suite: s.suite, http: &http.Client{Transport: transport}, base: "http://signet.local"}
	return over.send(t, method, path, strings.NewReader(body), header("Content-Type", "application/json"))
}

// atChosenID wants all IDs of clients in one name space, out of reach of whoever registers them.
func atChosenID(t *testing.T, s *suite) {
	d := s.dev()
	for range 10 {
		if c := d.client(t); !regexp.MustCompile(`^client_[0-9A-Za-z]{20}$`).MatchString(c.id) {
			t.Errorf("client ID %q", c.id)
		}
	}
	for _, member := range []string{"client_id", "id", "sub"} {
		body := fmt.Sprintf(`{"name":"chooser %s","%s":"acct_00000000000000000000"}`, member, member)
		if a := d.overSocket(t, http.MethodPost, "/admin/v1/clients", body); a.status != http.StatusUnprocessableEntity || strings.Contains(a.body, `"client_secret"`) {
			t.Errorf("%s: %d %s", member, a.status, a.body)
		}
	}
}

func atLifetime(t *testing.T, s *suite) {
	d := s.dev()
	const short = "https://api.test/short"
	if _, err := d.admin.CreateAPI(t.Context(), adminapi.NewAPI{Identifier: short, Name: "short", TokenTTL: 120, Scopes: []adminapi.NewScope{{Name: "read"}}}); err != nil {
		t.Fatal(err)
	}
	grants := []adminapi.Grant{{API: short, Scopes: []string{"read"}}}
	standard, brief, long := d.client(t), d.register(t, adminapi.NewClient{Grants: grants, TokenTTL: 30}), d.register(t, adminapi.NewClient{Grants: grants, TokenTTL: 3600})
	for _, test := range []struct {
		client client
		asked  string
		want   int64
	}{
		{standard, "", 300},
		{standard, "60", 60},
		{standard, "1", 1},
		{standard, "3600", 300},
		{standard, "99999999999999999999", 300},
		{brief, "", 30},
		{brief, "10", 10},
		{brief, "100", 30},
		{long, "", 120},
		{long, "3600", 120},
	} {
		token := d.issue(t, test.client, "expires_in", test.asked)
		if got := token.number("exp") - token.number("iat"); got != test.want {
			t.Errorf("asked for %q: %d s, want %d", test.asked, got, test.want)
		}
	}
	for _, asked := range []string{"0", "-1", "1.5", "1e3", "five", " 60"} {
		d.requestToken(t, standard.basic(), "expires_in", asked).refused(t, 400, "invalid_request")
	}
	const day = 24 * 60 * 60
	if _, err := d.admin.CreateClient(t.Context(), adminapi.NewClient{Name: "for ever", TokenTTL: day + 1}); err == nil {
		t.Error("a client with a lifetime above the ceiling was registered")
	}
	if _, err := d.admin.CreateAPI(t.Context(), adminapi.NewAPI{Identifier: "https://api.test/long", Name: "long", TokenTTL: day + 1}); err == nil {
		t.Error("an API with a lifetime above the ceiling was registered")
	}
}

// atUnique compares a thousand tokens of two replicas, and wants 128 random bits in each jti, which is what makes a million
// unique: with fewer than 2^-88 of a chance to meet.
func atUnique(t *testing.T, s *suite) {
	pair := s.pair()
	c := pair[0].client(t)
	var mu sync.Mutex
	var workers sync.WaitGroup
	seen := map[string]bool{}
	ones := make([]int, 128)
	const each = 250
	for i := range 4 {
		workers.Go(func() {
			for range each {
				text, _ := pair[i%2].requestToken(t, c.basic()).json["access_token"].(string)
				var claims struct{ JTI string }
				if parts := strings.Split(text, "."); len(parts) == 3 {
					payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
					_ = json.Unmarshal(payload, &claims)
				}
				random, err := base64.RawURLEncoding.DecodeString(claims.JTI)
				mu.Lock()
				if err != nil || len(random) != 16 || seen[claims.JTI] {
					t.Errorf("jti %q is no 128 bits, or not unique", claims.JTI)
				}
				seen[claims.JTI] = true
				for bit := range 8 * len(random) {
					ones[bit] += int(random[bit/8] >> (bit % 8) & 1)
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	for bit, n := range ones { // a fair coin is outside of this once in 10^17
		if n < 2*each-135 || n > 2*each+135 {
			t.Errorf("bit %d is set in %d of %d", bit, n, 4*each)
		}
	}
}

// atReserved offers static claims that would speak for the server, and looks for members that occur twice.
func atReserved(t *testing.T, s *suite) {
	d := s.dev()
	for _, name := range []string{
		"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "scope", "cnf", "act", "status", "gen", "bind", "may_act", "Sub", "ISS", "scp", "auth_time",
	} {
		_, err := d.admin.CreateClient(t.Context(), adminapi.NewClient{Name: "claims " + name, Claims: map[string]any{name: "forged"}, Grants: d.grants("orders:read")})
		if err == nil {
			t.Errorf("static claim %s was accepted", name)
		}
	}
	c := d.register(t, adminapi.NewClient{Claims: map[string]any{"team": map[string]any{"sub": "nested is harmless"}, "tier": 1}})
	body := `{"claims":{"team":"a","team":"b"}}`
	d.overSocket(t, http.MethodPatch, "/admin/v1/clients/"+c.id, body) // refused or not: no token may say it twice
	token := d.issue(t, c)
	decoder := json.NewDecoder(bytes.NewReader(decoded(t, token.text, 1)))
	names, depth, value := map[string]int{}, 0, false
	for {
		part, err := decoder.Token()
		if err != nil {
			break
		}
		switch p := part.(type) {
		case json.Delim:
			if p == '{' || p == '[' {
				depth++
			} else {
				depth--
			}
			value = false
		case string:
			if depth == 1 && !value {
				names[p]++
				value = true
				continue
			}
			value = false
		default:
			value = false
		}
	}
	for name, n := range names {
		if n != 1 {
			t.Errorf("%s occurs %d times", name, n)
		}
	}
	if len(names) < 10 || token.claims["sub"] != c.id {
		t.Errorf("claims %v, sub %v", names, token.claims["sub"])
	}
}
