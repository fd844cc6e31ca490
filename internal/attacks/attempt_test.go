package attacks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// What holds of every attack.
const (
	maxAnswer = time.Second
	maxGrowth = 64 << 20 // bytes of memory of the server
)

// attempt is one row at work. Whatever a row sends goes through send, which holds every answer to what holds of all of them;
// finish holds the server to the rest.
type attempt struct {
	*testing.T
	*target

	limit   time.Duration // for one answer
	logFrom int
	secrets []string // that this row sent or was given
	steps   int      // requests, changes and looks at something: a row without any tries nothing
}

// attack runs one row.
func (s *target) attack(t *testing.T, r row) {
	t.Helper()
	a := &attempt{T: t, target: s, limit: maxAnswer, logFrom: len(s.Log())}
	if raced {
		a.limit *= 4
	}
	grown := s.weigh(t)
	defer func() {
		growth := grown()
		if t.Skipped() {
			s.skipped++
			return
		}
		if growth > maxGrowth {
			t.Errorf("the server grew by %d MiB", growth>>20)
		}
		a.finish()
		if !t.Failed() {
			s.survived++
		}
	}()
	r.run(a)
}

// finish checks what must hold after a row, whatever it was.
func (a *attempt) finish() {
	if a.steps == 0 {
		a.Error("the row tried nothing")
	}
	// 1. The next valid request succeeds.
	token := a.issue(a.good)
	if !a.active(a.watch, token) {
		a.Error("after the attack a new token is not active")
	}
	// 2. Nothing panicked, nothing raced.
	if got := a.metric("signet_panics_total"); got != "0" {
		a.Errorf("signet_panics_total is %q", got)
	}
	log := a.news()
	for _, bad := range []string{"DATA RACE", "panic:", "fatal error:", `"msg":"panic"`, "server_error"} {
		if strings.Contains(log, bad) {
			a.Errorf("the log has %q", bad)
		}
	}
	// 3. No secret reached the log.
	for secret, form := range newSearch(a.secrets...).in(log) {
		a.Errorf("the log has a secret, %s: %.14s…", form, secret)
	}
	a.planted = append(a.planted, a.secrets...)
}

// weigh watches the memory of the server until the function that it returns is called, which gives the most by which it grew,
// in bytes.
func (s *target) weigh(t *testing.T) func() int64 {
	t.Helper()
	before := s.memory(t)
	stop, most := make(chan struct{}), make(chan int64)
	go func() {
		peak := before
		for {
			select {
			case <-stop:
				most <- max(peak, s.memory(t)) - before
				return
			case <-time.After(20 * time.Millisecond):
				peak = max(peak, s.memory(t))
			}
		}
	}()
	return func() int64 {
		close(stop)
		return <-most
	}
}

// memory is the resident memory of the server in bytes.
func (s *target) memory(t *testing.T) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if errors.Is(err, os.ErrNotExist) {
		return 0 // no /proc here
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmRSS:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			if err == nil {
				return kib << 10
			}
		}
	}
	t.Error("the server has no memory: has it died?")
	return 0
}

// metric is the value of a metric without labels.
func (a *attempt) metric(name string) string {
	a.Helper()
	for line := range strings.Lines(string(a.metrics())) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (a *attempt) metrics() []byte {
	a.Helper()
	res, err := a.http.Get(a.AdminURL + "/metrics")
	if err != nil {
		a.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		a.Fatal(err)
	}
	return text
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
	reason string // of the refusal record, where there is one
}

// code is the OAuth error of the answer.
func (r answer) code() string { return r.text("error") }

// text is one member of a JSON answer.
func (r answer) text(member string) string {
	var body map[string]any
	if json.Unmarshal(r.body, &body) != nil {
		return ""
	}
	text, _ := body[member].(string)
	return text
}

// request is what goes out. The zero value posts an empty form.
type request struct {
	method  string // empty: POST
	path    string // below the issuer, may have a query; or a whole URL
	form    url.Values
	body    io.Reader // instead of form
	header  http.Header
	basic   credentials
	early   bool // net/http itself may refuse it, before anybody could give it an ID
	instead *http.Client
}

// send sends one request and checks what holds of every answer: it comes in time, is no crash, and if it is a refusal of the
// OAuth endpoints, then it says so in their form, tells nothing that was secret, and is on record under its request ID.
func (a *attempt) send(q request) answer {
	a.Helper()
	a.steps++
	began := time.Now()
	r, err := a.exchange(q)
	if err != nil {
		if q.early { // a connection that ends in the middle of a request too large is an answer too
			return answer{}
		}
		a.Fatalf("%s: %v", q.path, err)
	}
	// A machine that is busy with other things answers late at times, but not three times in a row.
	for tries := 0; time.Since(began) > a.limit && q.body == nil; tries++ {
		if tries == 2 {
			a.Errorf("%s took %s", q.path, time.Since(began))
			break
		}
		began = time.Now()
		if r, err = a.exchange(q); err != nil {
			a.Fatalf("%s: %v", q.path, err)
		}
	}
	a.inspect(q, &r)
	return r
}

func (a *attempt) exchange(q request) (answer, error) {
	method, target, body := q.method, q.path, q.body
	if method == "" {
		method = http.MethodPost
	}
	if !strings.HasPrefix(target, "http") {
		target = a.Issuer + target
	}
	if body == nil && method == http.MethodPost {
		body = strings.NewReader(q.form.Encode())
	}
	req, err := http.NewRequestWithContext(a.Context(), method, target, body)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	maps.Copy(req.Header, q.header)
	if q.basic != (credentials{}) {
		req.SetBasicAuth(url.QueryEscape(q.basic.id), url.QueryEscape(q.basic.secret))
	}
	a.remember(req.Header.Get("Authorization"))
	for _, name := range []string{"client_secret", "client_assertion", "assertion", "token", "subject_token", "password"} {
		a.remember(q.form[name]...)
	}
	client := a.http
	if q.instead != nil {
		client = q.instead
	}
	res, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	return readAnswer(res)
}

// remember notes secrets that must be nowhere.
func (a *attempt) remember(secrets ...string) {
	for _, secret := range secrets {
		for _, scheme := range []string{"Basic ", "Bearer ", "DPoP "} {
			secret = strings.TrimPrefix(secret, scheme)
		}
		if len(secret) > 256 { // a part of it is enough to betray it
			secret = secret[:256]
		}
		if len(secret) >= shortest && strings.Trim(secret, secret[:1]) != "" {
			a.secrets = append(a.secrets, secret)
		}
	}
}

func (a *attempt) inspect(q request, r *answer) {
	a.Helper()
	switch {
	case r.status >= 500 && r.status != http.StatusServiceUnavailable:
		a.Errorf("%s: status %d: %s", q.path, r.status, r.body)
	case r.status == http.StatusServiceUnavailable && r.header.Get("Retry-After") == "":
		a.Errorf("%s: 503 without Retry-After", q.path)
	}
	id := r.header.Get("X-Request-Id")
	if r.status < 400 || id == "" {
		if id == "" && !q.early {
			a.Errorf("%s: status %d without a request ID: %s", q.path, r.status, r.body)
		}
		return
	}
	for _, secret := range a.secrets {
		if strings.Contains(string(r.body), secret) {
			a.Errorf("%s: the refusal repeats a secret: %s", q.path, r.body)
		}
	}
	path, _, _ := strings.Cut(q.path, "?")
	if path != "/oauth2/token" && path != "/oauth2/introspect" && path != "/oauth2/revoke" {
		return
	}
	if q.method != http.MethodHead && r.code() == "" || r.header.Get("Cache-Control") != "no-store" {
		a.Errorf("%s: status %d is no OAuth error (RFC 6749 §5.2): %s", q.path, r.status, r.body)
	}
	record, err := a.admin.Refusal(a.Context(), id)
	if err != nil {
		a.Errorf("%s: no refusal record: %v", q.path, err)
		return
	}
	if q.method != http.MethodHead && record.Code != r.code() || record.Reason == "" {
		a.Errorf("%s: the refusal record says %s (%s), the caller was told %s", q.path, record.Code, record.Reason, r.code())
	}
	r.reason = record.Reason
}

// want checks the status of an answer, and of a refusal the OAuth error.
func (a *attempt) want(what string, r answer, status int, code string) {
	a.Helper()
	if r.status != status || r.code() != code {
		a.Errorf("%s: %d %s, want %d %s", what, r.status, r.body, status, code)
	}
}

// askToken asks for a token with HTTP Basic.
func (a *attempt) askToken(c credentials, pairs ...string) answer {
	a.Helper()
	return a.send(request{path: "/oauth2/token", form: servertest.Form(append([]string{"grant_type", "client_credentials"}, pairs...)...), basic: c})
}

// issue gets a token, or ends the row.
func (a *attempt) issue(c credentials, pairs ...string) string {
	a.Helper()
	r := a.askToken(c, pairs...)
	token := r.text("access_token")
	if r.status != http.StatusOK || token == "" {
		a.Fatalf("no token: %d %s %s", r.status, r.code(), r.reason)
	}
	a.remember(token)
	return token
}

// introspect asks about a token.
func (a *attempt) introspect(c credentials, token string) answer {
	a.Helper()
	return a.send(request{path: "/oauth2/introspect", form: servertest.Form("token", token), basic: c})
}

// active says what introspection says. Of a token that is not active it must say nothing else.
func (a *attempt) active(c credentials, token string) bool {
	a.Helper()
	r := a.introspect(c, token)
	if r.status != http.StatusOK {
		a.Errorf("introspection: %d %s", r.status, r.body)
		return false
	}
	if isInactive(r) {
		return false
	}
	if !bytes.Contains(r.body, []byte(`"active":true`)) {
		a.Errorf("introspection says %s", r.body)
	}
	return true
}

// isInactive says whether an answer is the one about every token that is not active, or not for the caller to know.
func isInactive(r answer) bool {
	return r.status == http.StatusOK && string(bytes.TrimSpace(r.body)) == `{"active":false}`
}

// wantInactive is what must become of a forged token, at introspection and at revocation: both endpoints know none of it.
func (a *attempt) wantInactive(what, token string) {
	a.Helper()
	if a.active(a.watch, token) {
		a.Errorf("%s: the token is active", what)
	}
}

// revoke takes a token back.
func (a *attempt) revoke(c credentials, token string) answer {
	a.Helper()
	return a.send(request{path: "/oauth2/revoke", form: servertest.Form("token", token), basic: c})
}

// client creates a client that authenticates by secret and is granted the orders API.
func (a *attempt) client(change ...func(*adminapi.NewClient)) credentials {
	a.Helper()
	n := adminapi.NewClient{Name: fmt.Sprintf("%s %d", a.Name(), a.steps), Grants: grant(ordersAPI, "read", "write")}
	for _, f := range change {
		f(&n)
	}
	a.steps++
	c, err := a.admin.CreateClient(a.Context(), n)
	if err != nil {
		a.Fatalf("create client: %v", err)
	}
	a.remember(c.ClientSecret)
	return credentials{c.ClientID, c.ClientSecret}
}

// problem is how the admin API refused something; nil when it did not.
func (a *attempt) problem(err error) *adminapi.Problem {
	a.Helper()
	a.steps++
	var p *adminapi.Problem
	if err != nil && !errors.As(err, &p) {
		a.Errorf("the admin API: %v", err)
	}
	if p != nil && p.Status >= 500 && p.Status != http.StatusServiceUnavailable {
		a.Errorf("the admin API: %d %s", p.Status, p)
	}
	return p
}

// wantProblem checks that the admin API refused something with one of the statuses.
func (a *attempt) wantProblem(what string, err error, statuses ...int) {
	a.Helper()
	p := a.problem(err)
	if p == nil {
		a.Errorf("%s: the admin API did it", what)
		return
	}
	if slices.Contains(statuses, p.Status) {
		return
	}
	a.Errorf("%s: the admin API said %d %s, want %v", what, p.Status, p, statuses)
}

// readAnswer reads an answer that did not come through send.
func readAnswer(res *http.Response) (answer, error) {
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	return answer{status: res.StatusCode, header: res.Header, body: text}, err
}

// log is all that the server has logged, news what it has logged since the row began.
func (a *attempt) log() string  { return a.target.Log() }
func (a *attempt) news() string { return a.log()[a.logFrom:] }

// dev starts a server of the row's own. At the end of the row it is killed, because to wait for its drain takes a second.
func (a *attempt) dev(dir string, args ...string) *servertest.Server {
	a.Helper()
	s := servertest.DevIn(a, dir, args...)
	a.Cleanup(s.Kill)
	return s
}
