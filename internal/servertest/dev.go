package servertest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Server is a running server and what a test needs to talk to it.
type Server struct {
	*Process
	Issuer                string   `json:"issuer"`
	TokenEndpoint         string   `json:"token_endpoint"`
	IntrospectionEndpoint string   `json:"introspection_endpoint"`
	RevocationEndpoint    string   `json:"revocation_endpoint"`
	JWKSURI               string   `json:"jwks_uri"`
	AdminURL              string   `json:"admin_url"`
	AdminSocket           string   `json:"admin_socket"`
	DataDir               string   `json:"data_dir"`
	API                   string   `json:"api"`
	Scopes                []string `json:"scopes"`
	ClientID              string   `json:"client_id"`
	ClientSecret          string   `json:"client_secret"`
	Curl                  string   `json:"curl"`

	Address string `json:"-"` // of the public listener, host:port: where the issuer is, unless a proxy stands before it
	// File and Env are the configuration that Serve has written and the environment beside it, for further commands.
	File string   `json:"-"`
	Env  []string `json:"-"`

	binary   string // what it runs
	database string // PostgreSQL URL; empty: SQLite
	redis    string // its URL; empty: none
}

// Dev starts `signet dev` on free ports with a data directory of its own and waits until it is ready.
func Dev(t testing.TB, args ...string) *Server {
	t.Helper()
	return DevIn(t, ShortDir(t), args...)
}

// DevIn is Dev with the data directory named, so that a test can start it again.
func DevIn(t testing.TB, dataDir string, args ...string) *Server {
	t.Helper()
	out := &Log{}
	args = append([]string{"dev", "--output", "json", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir", dataDir}, args...)
	p := start(t, Binary(t), out, nil, args...)
	s := &Server{Process: p}
	p.wait("print that it is ready", func() bool { return strings.Contains(out.String(), "\n") })
	if err := json.Unmarshal([]byte(out.String()), s); err != nil {
		t.Fatalf("signet dev printed %q: %v", out.String(), err)
	}
	s.Address = strings.TrimPrefix(s.Issuer, "http://")
	return s
}

// wait polls until ready, and fails the test when the process ends or 30 s pass before.
func (p *Process) wait(what string, ready func() bool) {
	p.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ready() {
		select {
		case <-p.done:
			p.t.Fatalf("signet ended before it could %s: %v\n%s", what, p.err, p.Log())
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("signet did not %s in 30 s\n%s", what, p.Log())
		}
	}
}

// ShortDir is a temporary directory with a path short enough for a Unix socket in it.
func ShortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "signet-") //nolint:usetesting // t.TempDir has a longer path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Clean(dir)
}

// Client returns an HTTP client with connections of its own, which end with the test.
func Client(t testing.TB) *http.Client {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// Form builds a form body from pairs of name and value; names may repeat.
func Form(pairs ...string) url.Values {
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return form
}
