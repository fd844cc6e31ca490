package conformance_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// suite has the servers that rows share. Each is started by the first row that asks for it and lives until the last has run.
type suite struct {
	t      *testing.T
	seen   *evidence
	dev    func() *server   // signet dev: SQLite, http on loopback
	proxy  func() *server   // SQLite, behind a proxy that speaks https; the issuer has a path; traced
	tls    func() *server   // SQLite, https; may reach loopback for a jwks_uri
	pair   func() []*server // two replicas on one PostgreSQL
	shared *pgtest.Server   // that one
	outage func() *outage   // on a PostgreSQL of its own, which is away

	mu     sync.Mutex
	all    []*server
	traces *servertest.Log // what a collector got
}

func newSuite(t *testing.T) *suite {
	s := &suite{t: t, seen: newEvidence(), traces: &servertest.Log{}}
	s.dev = sync.OnceValue(func() *server { return s.adopt(servertest.Dev(t), servertest.Client(t)) })
	s.proxy = sync.OnceValue(s.startProxied)
	s.tls = sync.OnceValue(s.startTLS)
	s.pair = sync.OnceValue(s.startPair)
	s.outage = sync.OnceValue(s.startOutage)
	return s
}

// server is one server with a way to talk to it.
type server struct {
	*servertest.Server

	suite *suite
	base  string // what paths are put behind: the issuer, but for a second replica
	http  *http.Client
	admin *adminapi.Client

	certificate [2]string // files, of the one that speaks https
}

func (s *suite) adopt(started *servertest.Server, client *http.Client) *server {
	out := &server{Server: started, suite: s, base: started.Issuer, http: client, admin: adminapi.NewUnix(started.AdminSocket)}
	s.seen.add(started.ClientSecret)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, out)
	return out
}

// serve starts a server with the checklist's API and debug logs, so that there is much to look through for secrets.
func (s *suite) serve(c servertest.Config, client *http.Client) *server {
	c.ExtraYAML += "log:\n  level: debug\n"
	out := s.adopt(servertest.Serve(s.t, c), client)
	if c.ReplicaOf == nil {
		out.API = "https://api.test/orders"
		out.api(s.t, out.API, "ES256", "orders:read", "orders:write")
	}
	return out
}

const (
	proxiedIssuer = "https://auth.test/t1"
	trustedPeer   = "127.0.0.2" // every address of 127/8 is loopback: this one plays the proxy
)

func (s *suite) startProxied() *server {
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = s.traces.Write(body)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	s.t.Cleanup(collector.Close)
	yaml := "proxy:\n  terminates_tls: true\n  trusted_cidrs: [" + trustedPeer + "/32]\n" +
		"telemetry:\n  traces_endpoint: " + collector.URL + "\n  traces_ratio: 1\n"
	way := &proxy{}
	out := s.serve(servertest.Config{Issuer: proxiedIssuer, ExtraYAML: yaml}, &http.Client{Transport: way, CheckRedirect: noRedirect})
	way.address = out.Address
	way.inner = &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(trustedPeer)}}).DialContext}
	s.t.Cleanup(way.inner.CloseIdleConnections)
	return out
}

// proxy is what a TLS terminating proxy does: https requests go on as http, from a trusted address, with the headers that say so.
type proxy struct {
	address string
	inner   *http.Transport
}

func (p *proxy) RoundTrip(r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.Host = "http", p.address, r.URL.Host
	if r.URL.Scheme == "https" {
		out.Header.Set("X-Forwarded-Proto", "https")
	}
	if out.Header.Get("X-Forwarded-For") == "" {
		out.Header.Set("X-Forwarded-For", "203.0.113.7")
	}
	return p.inner.RoundTrip(out)
}

func (s *suite) startTLS() *server {
	certificate, key := certify(s.t)
	yaml := "tls:\n  cert_file: " + certificate + "\n  key_file: " + key + "\n" +
		"outbound:\n  allow_cidrs: [127.0.0.0/8]\nlimits:\n  failures_burst: 10000\n"
	roots := x509.NewCertPool()
	text, err := os.ReadFile(certificate)
	if err != nil || !roots.AppendCertsFromPEM(text) {
		s.t.Fatal("read the certificate:", err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	s.t.Cleanup(transport.CloseIdleConnections)
	out := s.serve(servertest.Config{Issuer: "https://ADDRESS", ExtraYAML: yaml, Env: []string{"SSL_CERT_FILE=" + certificate}},
		&http.Client{Transport: transport, CheckRedirect: noRedirect})
	out.certificate = [2]string{certificate, key}
	return out
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// certify writes a certificate of 127.0.0.1 and its key. Whoever trusts the certificate trusts both servers that use it.
func certify(t *testing.T) (string, string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "conformance"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, bytes []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", sealed)
}

func (s *suite) startPair() []*server {
	s.shared = pgtest.Start(s.t) // of its own: Signet refuses that of all tests, which forgets what it acknowledged
	a := s.serve(servertest.Config{Database: s.shared.URL()}, servertest.Client(s.t))
	b := s.serve(servertest.Config{ReplicaOf: a.Server}, servertest.Client(s.t))
	b.API, b.base = a.API, "http://"+b.Address
	return []*server{a, b}
}

// outage is a server whose database is away, and what it knew before.
type outage struct {
	*server

	postgres *pgtest.Server
	cached   client // in the registry cache
	unknown  client // not in it
	keyed    client // in it, authenticates by assertion
	token    string // of cached
	mu       sync.Mutex
	since    time.Time
}

func (s *suite) startOutage() *outage {
	postgres := pgtest.Start(s.t)
	o := &outage{postgres: postgres, server: s.serve(servertest.Config{Database: postgres.URL()}, servertest.Client(s.t))}
	o.cached, o.unknown, o.keyed = o.client(s.t), o.client(s.t), o.keyedClient(s.t)
	o.away(s.t)
	return o
}

// down returns with the database away, and for less than the 60 s for which the server goes on with what it knows.
func (o *outage) down(t *testing.T) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Since(o.since) > 30*time.Second {
		o.postgres.Start()
		o.away(t)
	}
}

func (o *outage) away(t *testing.T) {
	t.Helper()
	eventually(t, "read PostgreSQL again", func() bool { return o.get(t, "/readyz").json["status"] == "ready" })
	// What changed since the last poll of the registry epoch is dropped from memory by the next one: wait for that.
	changed := time.Now()
	eventually(t, "read the registry epoch", func() bool { return o.epochReadAfter(t, changed) })
	o.token = o.issue(t, o.cached).text
	o.requestToken(t, nil, o.keyed.assertion(t, o.Issuer)...)
	o.postgres.Stop()
	o.since = time.Now()
}

// epochReadAfter says whether the server has begun to read the registry epoch after a moment.
func (s *server) epochReadAfter(t *testing.T, moment time.Time) bool {
	t.Helper()
	asked := time.Now()
	_, rest, found := strings.Cut(s.metrics(t), "\nsignet_registry_staleness_seconds ")
	text, _, _ := strings.Cut(rest, "\n")
	stale, err := strconv.ParseFloat(text, 64)
	if !found || err != nil {
		t.Fatalf("staleness of the registry: %q, %v", text, err)
	}
	return asked.Add(-time.Duration(stale * float64(time.Second))).After(moment)
}

// eventually polls for 10 s at most.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("did not %s in 10 s", what)
		case <-tick.C:
		}
	}
}

// metrics is the text of the admin listener's /metrics.
func (s *server) metrics(t *testing.T) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.AdminURL+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil || !strings.Contains(string(text), "signet_") {
		t.Fatalf("metrics: %v", err)
	}
	return string(text)
}
