package attacks

import (
	"bytes"
	"hash/crc32"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/internal/credential"
	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func timingRows() []row {
	return []row{
		{"F1", constantTime},
		{"F3", constantTime},
		{"F4", constantTime},
		{"F5", metricsHaveNoPassword},
		{"F6", timeOfUnknownClients},
		{"F9", lengthsTellNothing},
		{"F10", statesTellNothing},
		{"F11", refusalsLookTheSame},
	}
}

// F5: the metrics are for this machine; there is no password that could be guessed.
func metricsHaveNoPassword(a *attempt) {
	for what, header := range map[string]http.Header{
		"through a proxy":         {"X-Forwarded-For": {"127.0.0.1"}},
		"through a new proxy":     {"Forwarded": {"for=127.0.0.1"}},
		"through, with a bearer":  {"X-Forwarded-For": {"127.0.0.1"}, "Authorization": {"Bearer x"}},
		"through, with a secret":  {"X-Forwarded-For": {"127.0.0.1"}, "Authorization": {"Basic " + a.good.secret}},
		"through several proxies": {"X-Forwarded-For": {"10.0.0.1, 127.0.0.1"}},
	} {
		r := a.send(request{method: http.MethodGet, path: a.AdminURL + "/metrics", header: header, early: true})
		if r.status != http.StatusUnauthorized || bytes.Contains(r.body, []byte("signet_")) {
			a.Errorf("%s: %d", what, r.status)
		}
	}
	a.absent("/metrics", "/-/metrics", "/debug/pprof/", "/debug/vars", "/config", "/-/health")
}

// samples is how many times each side of a comparison is measured: few, so that a run stays short, or as many as
// ATTACK_SAMPLES says (the catalogue asks for 20000).
func samples(a *attempt) int {
	text := os.Getenv("ATTACK_SAMPLES")
	if text == "" {
		return 100
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		a.Fatalf("ATTACK_SAMPLES is %q", text)
	}
	return n
}

// measure times two requests in turns, in an order that changes, and returns the median of each.
func (a *attempt) measure(n int, one, two func() *http.Request) (time.Duration, time.Duration) {
	a.Helper()
	a.steps += 2 * n
	took := [2][]time.Duration{}
	for range n {
		order := rand.IntN(2)
		for _, side := range []int{order, 1 - order} {
			req := []func() *http.Request{one, two}[side]()
			began := time.Now()
			res, err := a.http.Do(req)
			if err != nil {
				a.Fatal(err)
			}
			r, err := readAnswer(res)
			took[side] = append(took[side], time.Since(began))
			if err != nil || r.status != http.StatusUnauthorized {
				a.Fatalf("%d %s (%v)", r.status, r.body, err)
			}
		}
	}
	for side := range took {
		slices.Sort(took[side])
	}
	return took[0][n/2], took[1][n/2]
}

// alike checks that two kinds of refusal cost the same. The bound is that of the long run where there are enough samples, and
// otherwise one that a busy machine does not break: a hash of the slow kind, or a signature, would by far. What differs is
// measured again, because chance does not differ three times in a row.
func (a *attempt) alike(what string, one, two func() *http.Request) {
	a.Helper()
	n := samples(a)
	if raced { // the two are asked for all the same, but how long they take then says nothing
		a.measure(10, one, two)
		return
	}
	bound, floor := 0.25, 300*time.Microsecond
	if long() {
		bound, floor = 0.05, 20*time.Microsecond
	}
	for tries := range 4 {
		x, y := a.measure(n, one, two)
		difference := (x - y).Abs()
		a.Logf("%s: %s and %s (medians of %d)", what, x, y, n)
		if difference <= floor || float64(difference) <= bound*float64(max(x, y)) {
			return
		}
		if tries == 3 {
			a.Errorf("%s: the medians are %s and %s", what, x, y)
		}
	}
}

// basicRequest builds a token request that will be refused.
func (a *attempt) basicRequest(id string, secret func() string) func() *http.Request {
	return func() *http.Request {
		body := strings.NewReader("grant_type=client_credentials")
		req, err := http.NewRequestWithContext(a.Context(), http.MethodPost, a.TokenEndpoint, body)
		if err != nil {
			a.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth(id, secret())
		return req
	}
}

// wrong is a secret of the right form that is nobody's.
func wrong() string { return credential.New(credential.ClientSecret).Reveal() }

// nobody is a client ID of the right form that does not exist.
func nobody() string { return "client_" + credential.Base62(20) }

// F6: how long a refusal takes does not tell whether there is such a client. Both sides get a new wrong secret each time.
func timeOfUnknownClients(a *attempt) {
	c := a.client()
	unknown := nobody()
	a.alike("known and unknown client, wrong secret", a.basicRequest(c.id, wrong), a.basicRequest(unknown, wrong))
	right := c.secret[:len("signet_cs_")+12] // the ID of the secret is right, the secret is not
	a.alike("right and wrong ID of a secret", a.basicRequest(c.id, func() string { return rightID(right) }), a.basicRequest(c.id, wrong))
}

// rightID makes a well-formed secret that begins in a given way.
func rightID(beginning string) string {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	body := beginning + credential.Base62(43)
	sum, tail := crc32.ChecksumIEEE([]byte(body)), make([]byte, 6)
	for i := len(tail) - 1; i >= 0; i-- {
		tail[i] = alphabet[sum%62]
		sum /= 62
	}
	return body + string(tail)
}

// F9: what is too long or too short to be a secret is refused without a look at the client.
func lengthsTellNothing(a *attempt) {
	c := a.client()
	for _, n := range []int{0, 1, 71, 72, 73, 100, 1000, 5000} {
		secret := strings.Repeat("x", n)
		known, unknown := a.askToken(credentials{c.id, secret}), a.askToken(credentials{nobody(), secret})
		a.want("known", known, 401, "invalid_client")
		a.sameAnswer(strconv.Itoa(n)+" characters", known, unknown)
	}
	a.alike("malformed secret of a known and an unknown client",
		a.basicRequest(c.id, func() string { return "x" }), a.basicRequest(nobody(), func() string { return "x" }))
}

// F10: whether a client is disabled or expired is told by neither answer nor time.
func statesTellNothing(a *attempt) {
	disabled, expired, cut := a.client(), a.client(func(n *adminapi.NewClient) {
		n.ExpiresAt = time.Now().Add(1500 * time.Millisecond)
	}), a.client()
	if _, err := a.admin.DisableClient(a.Context(), disabled.id, ""); err != nil {
		a.Fatal(err)
	}
	secrets, err := a.admin.Secrets(a.Context(), cut.id)
	if err != nil {
		a.Fatal(err)
	}
	if err := a.admin.RevokeSecret(a.Context(), cut.id, secrets[0].SecretID); err != nil {
		a.Fatal(err)
	}
	time.Sleep(1600 * time.Millisecond)
	unknown := a.askToken(credentials{nobody(), wrong()})
	for what, c := range map[string]credentials{"disabled": disabled, "expired": expired, "without secret": cut} {
		a.sameAnswer(what+", right secret", a.askToken(c), unknown)
		a.sameAnswer(what+", wrong secret", a.askToken(credentials{c.id, wrong()}), unknown)
		a.alike(what+" and unknown", a.basicRequest(c.id, func() string { return c.secret }), a.basicRequest(nobody(), wrong))
	}
}

// sameAnswer compares all of two refusals but what every answer has of its own.
func (a *attempt) sameAnswer(what string, one, two answer) {
	a.Helper()
	for _, r := range []answer{one, two} {
		r.header.Del("X-Request-Id")
		r.header.Del("Date")
	}
	if diff := cmp.Diff(two.header, one.header); one.status != two.status || !bytes.Equal(one.body, two.body) || diff != "" {
		a.Errorf("%s: %d %s, and %d %s\n%s", what, one.status, one.body, two.status, two.body, diff)
	}
}

// F11: every reason not to believe a client has the same words.
func refusalsLookTheSame(a *attempt) {
	c, m := a.client(), a.machine(newES256(a, "k"))
	unknown := a.askToken(credentials{nobody(), wrong()})
	for what, r := range map[string]answer{
		"wrong secret":     a.askToken(credentials{c.id, wrong()}),
		"another's secret": a.askToken(credentials{c.id, a.good.secret}),
		"mistyped secret":  a.askToken(credentials{c.id, c.secret[:len(c.secret)-1] + "-"}),
		"has only keys":    a.askToken(credentials{m.id, wrong()}),
		"not an ID":        a.askToken(credentials{"x", wrong()}),
		"other case":       a.askToken(credentials{strings.ToLower(c.id), c.secret}),
		"wrong key":        a.present(newES256(a, "k").jwt(m.header(), m.claims())),
		"unknown machine":  a.present(m.assertion(object{"iss": "client_x", "sub": "client_x"})),
	} {
		a.sameAnswer(what, r, unknown)
	}
	for _, path := range []string{"/oauth2/introspect", "/oauth2/revoke"} {
		form := servertest.Form("token", "x")
		a.sameAnswer(path, a.send(request{path: path, form: form, basic: credentials{c.id, wrong()}}),
			a.send(request{path: path, form: form, basic: credentials{nobody(), wrong()}}))
	}
}
