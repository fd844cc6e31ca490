package attacks

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/seed-1972b8eb/signet/internal/credential"
	"github.com/seed-1972b8eb/signet/internal/rootkeys"
	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func costRows() []row {
	return []row{
		{"G2", boundariesOfDigests},
		{"G3", func(a *attempt) { a.billionHashes("PBES2-HS256+A128KW") }},
		{"G4", func(a *attempt) { a.billionHashes("PBES2-HS384+A192KW") }},
		{"G5", func(a *attempt) { a.billionHashes("PBES2-HS512+A256KW") }},
		{"G6", func(a *attempt) { a.billionHashes("PBES2-HS256+A128KW", "dir") }},
		{"G8", func(a *attempt) { a.billionHashes("A128KW", "A256GCMKW") }},
		{"G9", func(a *attempt) { a.billionHashes("RSA1_5", "RSA-OAEP", "ECDH-ES+A128KW") }},
		{"G10", flood},
		{"G11", hugeClientKeys},
	}
}

// G2: what a digest is made of cannot be cut in another place (bcrypt of a concatenation forgot what came after 72 bytes).
func boundariesOfDigests(a *attempt) {
	a.steps++
	pepper := credential.NewPepper(rootkeys.Generate())
	secret := credential.New(credential.ClientSecret)
	long := "client_" + credential.Base62(100)
	for _, pair := range [][2]string{{"client_a", "client_"}, {"", "s"}, {long, long + "x"}, {long + "x", long + "y"}} {
		digest := pepper.Digest(pair[0], secret)
		if same, err := pepper.Matches(pair[1], secret, digest); same || err != nil {
			a.Errorf("the digest for %q matches for %q (%v)", pair[0], pair[1], err)
		}
		if same, err := pepper.Matches(pair[0], secret, digest); !same || err != nil {
			a.Errorf("control: the digest for %q does not match (%v)", pair[0], err)
		}
	}
	one, two := a.client(), a.client()
	a.want("another client's secret", a.askToken(credentials{one.id, two.secret}), 401, "invalid_client")
}

// billionHashes: a token cannot order work (G3 to G9). None of it is done, so the answer comes at once.
func (a *attempt) billionHashes(algs ...string) {
	m := a.machine(newES256(a, "k"))
	for _, alg := range algs {
		for _, p2c := range []any{1 << 31, int64(1) << 62, 1e308, -1, "1000000000"} {
			header := object{"alg": alg, "enc": "A128GCM", "p2c": p2c, "p2s": b64("saltsaltsalt"), "kid": "k"}
			jwe := b64(text(header)) + "." + b64("key") + "." + b64("iv") + "." + b64("text") + "." + b64("tag")
			began := time.Now()
			a.wantInactive(alg+" of five parts", jwe)
			a.wantDenied(alg+" of five parts", jwe)
			a.wantInactive(alg+", signed", a.forged(header.with(object{"kid": a.forge.kid}), nil))
			a.wantDenied(alg+", signed", m.key.jwt(m.header().with(header), m.claims()))
			// Each is answered in milliseconds; this bound is for a machine with other things to do.
			if took := time.Since(began); took > 4*time.Second {
				a.Errorf("%s, p2c %v: four requests took %s", alg, p2c, took)
			}
		}
	}
}

// G10: whoever sends wrong secrets for a client, as fast as it can, keeps nobody from getting a token, least of all the client.
func flood(a *attempt) {
	s := a.dev(servertest.ShortDir(a)) // with its throttle as it comes
	c := credentials{s.ClientID, s.ClientSecret}
	ask := func(secret string) (answer, error) {
		return a.exchange2(s, credentials{c.id, secret})
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	throttled := make(chan bool, 4)
	for range 4 {
		wg.Go(func() {
			seen := false
			for {
				select {
				case <-stop:
					throttled <- seen
					return
				default:
				}
				r, err := ask(wrong())
				if err != nil || r.status != 401 && r.status != 429 {
					a.Errorf("a wrong secret: %d %s (%v)", r.status, r.body, err)
				}
				if r.status == 429 {
					seen = true
					if r.header.Get("Retry-After") == "" {
						a.Error("429 without Retry-After")
					}
				}
			}
		})
	}
	valid := 0
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); valid++ {
		r, err := ask(c.secret)
		if err != nil || r.status != 200 {
			a.Errorf("a right secret: %d %s (%v)", r.status, r.body, err)
		}
		a.remember(r.text("access_token"))
	}
	close(stop)
	wg.Wait()
	a.steps += valid
	if valid < 10 {
		a.Errorf("only %d right requests in two seconds", valid)
	}
	if !<-throttled {
		a.Error("nobody was told to slow down")
	}
}

// exchange2 asks another server for a token; safe for concurrent use.
func (a *attempt) exchange2(s *servertest.Server, c credentials) (answer, error) {
	body := strings.NewReader("grant_type=client_credentials")
	req, err := http.NewRequestWithContext(a.Context(), http.MethodPost, s.TokenEndpoint, body)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(c.id, c.secret)
	res, err := a.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	return readAnswer(res)
}

// G11: a client's key cannot make its verification expensive.
func hugeClientKeys(a *attempt) {
	good := newRS256(a, "k").jwk()
	big := func(n, e string) object { return good.with(object{"n": n, "e": e}) }
	n8192, e33 := b64(oddNumber(8192/8)), b64([]byte{1, 0, 0, 0, 1})
	for what, key := range map[string]object{
		"4104 bits": big(b64(oddNumber(4104/8)), "AQAB"), "8192 bits": big(n8192, "AQAB"), "16384 bits": big(b64(oddNumber(2048)), "AQAB"),
		"e above 2^32": big(good.modulus(), e33), "e of 2048 bits": big(good.modulus(), good.modulus()),
	} {
		_, err := a.admin.CreateClient(a.Context(), adminapi.NewClient{
			Name: "huge " + what, AuthMethod: "private_key_jwt", JWKS: jwks(key), Grants: grant(ordersAPI, "read"),
		})
		a.wantProblem(what, err, 422)
		site := a.ca.listen(a.T, "127.0.0.2", publishing(key))
		m := a.machine(newRS256(a, "k"), func(n *adminapi.NewClient) { n.JWKS, n.JWKSURI = nil, site.URL })
		a.wantDenied(what+", published", m.assertion(nil))
	}
}
