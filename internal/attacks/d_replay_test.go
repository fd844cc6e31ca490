package attacks

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func replayRows() []row {
	return []row{
		{"D2", replayAfterRestart},
		{"D3", racingRotations},
		{"D4", racingAssertions},
		{"D5", jtiOfOthers},
		{"D6", replayUntilExpiry},
		{"D10", randomBearers},
		{"D11", crowd},
	}
}

// presentTo asks another server than the target for a token, with an assertion.
func (a *attempt) presentTo(s *servertest.Server, assertion string) answer {
	a.Helper()
	a.steps++
	r, err := a.exchange(request{path: s.TokenEndpoint, form: servertest.Form("grant_type", "client_credentials", "client_assertion", assertion,
		"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")})
	if err != nil {
		a.Fatal(err)
	}
	return r
}

// D2: what was used is used, also for a server that was stopped, or killed, in between.
func replayAfterRestart(a *attempt) {
	dir, address := servertest.ShortDir(a), a.address()
	s := a.dev(dir, "--listen", address)
	key := newES256(a, "k")
	c, err := adminapi.NewUnix(s.AdminSocket).CreateClient(a.Context(), adminapi.NewClient{
		Name: "machine", AuthMethod: "private_key_jwt", JWKS: jwks(key.jwk()), Grants: grant(s.API, s.Scopes[0]),
	})
	if err != nil {
		a.Fatal(err)
	}
	m := machine{id: c.ClientID, key: key, issuer: s.Issuer}
	used := []string{}
	for _, end := range []struct {
		name string
		end  func()
	}{
		{"at once", func() {}},
		{"after a restart", func() { _ = s.Stop() }},
		{"after kill -9", func() { s.Kill() }},
	} {
		assertion := m.assertion(object{"exp": time.Now().Unix() + 300})
		if r := a.presentTo(s, assertion); r.status != 200 {
			a.Fatalf("%s: the first use: %d %s", end.name, r.status, r.body)
		}
		used = append(used, assertion)
		end.end()
		if end.name != "at once" {
			s = a.dev(dir, "--listen", address)
		}
		for _, one := range used {
			r := a.presentTo(s, one)
			a.want("replay "+end.name, r, 401, "invalid_client")
			record, err := adminapi.NewUnix(s.AdminSocket).Refusal(a.Context(), r.header.Get("X-Request-Id"))
			if err != nil || record.Reason != "assertion_replayed" {
				a.Errorf("%s: the refusal record says %+v (%v)", end.name, record, err)
			}
		}
	}
	if r := a.presentTo(s, m.assertion(nil)); r.status != 200 {
		a.Errorf("a new assertion: %d %s", r.status, r.body)
	}
}

// D3: rotations at the same moment come one after another: none is lost, and what they gave is what is stored.
func racingRotations(a *attempt) {
	const racers = 64
	// race gives the rotations that were acknowledged, and how many of the others have an outcome that is not known: 503, on
	// a machine too busy to take them all in time.
	race := func(c credentials, r adminapi.Rotate) ([]adminapi.Rotation, int) {
		var won []adminapi.Rotation
		unknown := 0
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range racers {
			wg.Go(func() {
				made, err := a.admin.RotateSecret(a.Context(), c.id, r)
				mu.Lock()
				defer mu.Unlock()
				switch p := a.problem(err); {
				case p == nil && made != nil:
					won = append(won, *made)
				case p != nil && p.Status == http.StatusServiceUnavailable:
					unknown++
				case p != nil && p.Status != http.StatusUnprocessableEntity:
					a.Errorf("rotate: %d %s", p.Status, p)
				}
			})
		}
		wg.Wait()
		for _, one := range won {
			a.remember(one.ClientSecret)
		}
		return won, unknown
	}
	works := func(c credentials) bool {
		r := a.askToken(c)
		a.remember(r.text("access_token"))
		return r.status == http.StatusOK
	}

	// At once: each ends those before it, so that the last one alone works, and each raises the generation.
	c := a.client()
	token := a.issue(c)
	won, unknown := race(c, adminapi.Rotate{Now: true})
	after, err := a.admin.Client(a.Context(), c.id)
	if err != nil {
		a.Fatal(err)
	}
	if done := int(after.Generation) - 1; len(won)+unknown != racers || done < len(won) || done > racers {
		a.Errorf("%d of %d rotations at once, %d unknown, generation %d", len(won), racers, unknown, after.Generation)
	}
	last := after.Secrets[len(after.Secrets)-1].SecretID
	for _, one := range won {
		if got, want := works(credentials{c.id, one.ClientSecret}), one.SecretID == last; got != want {
			a.Errorf("secret %s works: %t; the last rotation on record made %s", one.SecretID, got, last)
		}
	}
	if works(c) || a.active(a.watch, token) {
		a.Error("the first secret or its token survived")
	}

	// With overlap: as many as there is room for, and every one that was given works.
	c = a.client()
	won, unknown = race(c, adminapi.Rotate{})
	secrets, err := a.admin.Secrets(a.Context(), c.id)
	if err != nil {
		a.Fatal(err)
	}
	if made := len(secrets) - 1; made < len(won) || made > len(won)+unknown || len(won) == 0 {
		a.Errorf("%d rotations gave a secret, %d secrets are on record", len(won), len(secrets))
	}
	for _, one := range won {
		if !slices.ContainsFunc(secrets, func(s adminapi.Secret) bool { return s.SecretID == one.SecretID }) || !works(credentials{c.id, one.ClientSecret}) {
			a.Errorf("secret %s was given and is lost", one.SecretID)
		}
	}
	if !works(c) {
		a.Error("the first secret ended before its time")
	}
}

// D4: what can be used once is used once, however many try at the same moment.
func racingAssertions(a *attempt) {
	m := a.machine(newES256(a, "k"))
	for range 3 {
		assertion := m.assertion(nil)
		var mu sync.Mutex
		var wg sync.WaitGroup
		won := 0
		for range 32 {
			wg.Go(func() {
				r, err := a.exchange1(assertion)
				mu.Lock()
				defer mu.Unlock()
				a.remember(r.text("access_token"))
				switch {
				case err != nil:
					a.Error(err)
				case r.status == 200:
					won++
				case r.status != 401 && r.status != 503:
					a.Errorf("%d %s", r.status, r.body)
				}
			})
		}
		wg.Wait()
		a.steps++
		a.remember(assertion)
		if won != 1 {
			a.Errorf("%d of 32 requests with one assertion got a token", won)
		}
	}
}

// exchange1 presents an assertion without a look at the answer; safe for concurrent use.
func (a *attempt) exchange1(assertion string) (answer, error) {
	res, err := a.http.PostForm(a.TokenEndpoint, servertest.Form("grant_type", "client_credentials", "client_assertion", assertion,
		"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"))
	if err != nil {
		return answer{}, err
	}
	return readAnswer(res)
}

// D5: a jti is its client's own: another's neither blocks it nor sets it free.
func jtiOfOthers(a *attempt) {
	one, two := a.machine(newES256(a, "k")), a.machine(newES256(a, "k"))
	jti := object{"jti": "the-same"}
	a.wantAccepted("one", one.assertion(jti))
	a.wantAccepted("two, the same jti", two.assertion(jti))
	a.wantDenied("one again", one.assertion(jti))
	a.wantDenied("two again", two.assertion(jti))
	for _, jti := range []string{one.id + "the-same", one.id + ":the-same", "the-same\x00", "", "the-same ", "THE-SAME"} {
		r := a.present(two.assertion(object{"jti": jti}))
		if want := map[bool]int{true: 401, false: 200}[jti == ""]; r.status != want {
			a.Errorf("jti %q: %d %s", jti, r.status, r.body)
		}
		a.remember(r.text("access_token"))
	}
	// An assertion that fails for another reason uses nothing up: nobody can burn what another will use.
	fresh := object{"jti": "fresh"}
	a.wantDenied("signed by another", two.key.jwt(one.header(), one.claims().with(fresh)))
	a.wantDenied("for another server", one.assertion(fresh.with(object{"aud": "https://other.test"})))
	a.wantAccepted("the right one", one.assertion(fresh))
}

// D6: a use is remembered for as long as the assertion counts, and longer.
func replayUntilExpiry(a *attempt) {
	m := a.machine(newES256(a, "k"))
	expires := time.Now().Unix() + 3
	assertion := m.assertion(object{"exp": expires})
	a.wantAccepted("the first use", assertion)
	replayed := false
	for time.Now().Unix() <= expires {
		r := a.present(assertion)
		a.want("replay", r, 401, "invalid_client")
		replayed = replayed || r.reason == "assertion_replayed"
		time.Sleep(150 * time.Millisecond)
	}
	if !replayed {
		a.Error("control: nothing was refused as a replay")
	}
	if r := a.present(assertion); r.reason != "assertion_claims" {
		a.Errorf("after its end it is refused for %s", r.reason)
	}
}

// D10: a bearer token that nobody issued opens nothing.
func randomBearers(a *attempt) {
	for _, bearer := range []string{"x", "", "null", "undefined", "Bearer", "../admin", "' OR 1=1--", "eyJhbGciOiJub25lIn0.e30."} {
		header := http.Header{"Authorization": {"Bearer " + bearer}}
		for _, path := range []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"} {
			a.want(path, a.send(request{path: path, form: servertest.Form("grant_type", "client_credentials", "token", "x"), header: header}), 401, "invalid_client")
		}
		a.wantNoAdmin(bearer, bearer)
	}
	a.everyAdminRoute(http.Header{"Authorization": {"Bearer x"}})
}

// D11: a thousand at once, of all kinds, on a server that watches for races where the test itself does.
func crowd(a *attempt) {
	m, post := a.machine(newES256(a, "k")), a.client(func(n *adminapi.NewClient) { n.AuthMethod = "client_secret_post" })
	const workers, each = 50, 20
	var mu sync.Mutex
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for i := range each {
				form, want, also := servertest.Form("grant_type", "client_credentials"), 200, 0
				if servertest.Race { // the server is several times slower then, and may have too many that wait for a read
					also = 503
				}
				switch (worker + i) % 4 {
				case 0:
					form.Set("client_id", post.id)
					form.Set("client_secret", post.secret)
				case 1:
					form.Set("client_assertion", m.assertion(nil))
					form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
					also = 503 // each of these is a write, and a slow disk may have too many
				case 2:
					form.Set("client_id", post.id)
					form.Set("client_secret", a.watch.secret)
					want = 401
				default:
					form.Set("client_id", fmt.Sprint("client_", worker, i))
					form.Set("client_secret", post.secret)
					want = 401
				}
				res, err := a.http.PostForm(a.TokenEndpoint, form)
				var r answer
				if err == nil {
					r, err = readAnswer(res)
				}
				mu.Lock()
				a.remember(r.text("access_token"), form.Get("client_assertion"))
				if err != nil || r.status != want && r.status != also {
					a.Errorf("%d %s, want %d (%v)", r.status, r.body, want, err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	a.steps += workers * each
}
