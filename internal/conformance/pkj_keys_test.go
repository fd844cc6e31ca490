package conformance_test

import (
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// refusesKeys wants a JWK set to be refused at registration.
func (s *server) refusesKeys(t *testing.T, set json.RawMessage) {
	t.Helper()
	_, err := s.admin.CreateClient(t.Context(), adminapi.NewClient{Name: rand.Text(), AuthMethod: "private_key_jwt", JWKS: set})
	var problem *adminapi.Problem
	if !errors.As(err, &problem) || problem.Status != http.StatusUnprocessableEntity {
		t.Errorf("registered, or not refused with 422: %v", err)
	}
}

func pkjWeakKeys(t *testing.T, s *suite) {
	d := s.dev()
	modulus := make([]byte, 128)
	_, _ = rand.Read(modulus)
	modulus[0], modulus[127] = modulus[0]|0x80, modulus[127]|1
	weak := map[string]any{"kty": "RSA", "n": base64.RawURLEncoding.EncodeToString(modulus), "e": "AQAB", "kid": "weak"}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	d.refusesKeys(t, jwks(t, weak))
	for _, private := range []any{rs, newEC(t, elliptic.P256()), newEd(t)} {
		d.refusesKeys(t, jwks(t, jwkOf(t, private, "private")))
	}
	d.refusesKeys(t, jwks(t, map[string]any{"kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "kid": "shared"}))
	// The command line refuses it too, with the exit code of a refusal, and does not print the key.
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, jwks(t, jwkOf(t, rs, "private")), 0o600); err != nil {
		t.Fatal(err)
	}
	out, text, err := servertest.Run(t, nil, "client", "create", "--name", "weak", "--jwks", file, "--data-dir", d.DataDir)
	if err == nil || !strings.Contains(text, "private") || strings.Contains(text+out, base64.RawURLEncoding.EncodeToString(rs.D.Bytes())) {
		t.Errorf("signet client create: %v\n%s", err, text)
	}
	d.register(t, adminapi.NewClient{AuthMethod: "private_key_jwt", JWKS: jwks(t, jwkOf(t, rs.Public(), "public"))})
}

// publisher is a client's server with its JWK set.
type publisher struct {
	*httptest.Server

	visits atomic.Int64
}

// publish starts one, with the certificate that the server under test trusts.
func publish(t *testing.T, s *server, serve http.HandlerFunc) *publisher {
	t.Helper()
	p := &publisher{}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.visits.Add(1)
		serve(w, r)
	}))
	certificate, err := tls.LoadX509KeyPair(s.certificate[0], s.certificate[1])
	if err != nil {
		t.Fatal(err)
	}
	p.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	p.StartTLS()
	t.Cleanup(p.Close)
	return p
}

// pkjFetch holds the fetching of a jwks_uri to its bounds. The server may reach loopback here by configuration; that it may
// not otherwise is the last part, on a server with the default.
func pkjFetch(t *testing.T, s *suite) {
	d := s.tls()
	key := newEC(t, elliptic.P256())
	set := jwks(t, jwkOf(t, key.Public(), "k"))
	client := func(on *server, uri string) client {
		c := on.register(t, adminapi.NewClient{AuthMethod: "private_key_jwt", JWKSURI: uri})
		c.key, c.kid = key, "k"
		return c
	}
	good := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) }

	honest := publish(t, d, good)
	c := client(d, honest.URL+"/jwks")
	d.granted(t, d.requestToken(t, nil, c.assertion(t, d.Issuer)...))
	for range 100 {
		d.requestToken(t, nil, c.assertion(t, d.Issuer, head("kid", rand.Text()))...).unauthorized(t)
	}
	d.granted(t, d.requestToken(t, nil, c.assertion(t, d.Issuer)...))
	if n := honest.visits.Load(); n != 1 {
		t.Errorf("%d fetches for 102 assertions within the cool-down", n)
	}

	target := publish(t, d, good)
	released := make(chan struct{})
	defer close(released)
	for name, serve := range map[string]http.HandlerFunc{
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target.URL, http.StatusFound) },
		"larger than 64 KiB": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"padding":"` + strings.Repeat("a", 64<<10) + `",` + string(set[1:])))
		},
		"slow": func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-released:
			case <-r.Context().Done():
			}
		},
		"error":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"not JSON": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
	} {
		p := publish(t, d, serve)
		c := client(d, p.URL)
		began := time.Now()
		for range 3 {
			a := d.requestToken(t, nil, c.assertion(t, d.Issuer)...)
			if name == "slow" || name == "error" { // nothing is known of the keys, so the assertion is not called wrong
				a.refused(t, 503, "temporarily_unavailable")
				continue
			}
			a.unauthorized(t)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: took %s", name, took)
		}
		if n := p.visits.Load(); n != 1 {
			t.Errorf("%s: %d fetches", name, n)
		}
	}
	if n := target.visits.Load(); n != 0 {
		t.Error("a redirect was followed")
	}

	plain := s.dev()
	for _, uri := range []string{"http://keys.test/jwks", "file:///etc/passwd", "https://user@keys.test/", "https://keys.test/#x", "keys"} {
		if _, err := plain.admin.CreateClient(t.Context(), adminapi.NewClient{Name: rand.Text(), AuthMethod: "private_key_jwt", JWKSURI: uri}); err == nil {
			t.Errorf("jwks_uri %s was registered", uri)
		}
	}
	inside := publish(t, d, good)
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"} {
		uri := strings.Replace(inside.URL, "127.0.0.1", host, 1)
		n := adminapi.NewClient{Name: rand.Text(), AuthMethod: "private_key_jwt", JWKSURI: uri, Grants: plain.grants("orders:read")}
		made, err := plain.admin.CreateClient(t.Context(), n)
		if err != nil {
			continue // refused by its text
		}
		c.id = made.ClientID
		plain.requestToken(t, nil, c.assertion(t, plain.Issuer)...).unauthorized(t)
	}
	if n := inside.visits.Load(); n != 0 {
		t.Errorf("%d requests to a loopback address", n)
	}
}
