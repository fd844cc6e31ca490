package attacks

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func TestMain(m *testing.M) {
	code := m.Run()
	servertest.CleanUp()
	os.Exit(code)
}

// row is one weakness: its number in the catalogue, and what is tried.
type row struct {
	id  string
	run func(*attempt)
}

// group is a chapter of the catalogue.
type group struct {
	name string
	rows []row
}

// catalogue is everything that is tried. N comes last: it looks for what all the others have left behind.
func catalogue() []group {
	return []group{
		{"A", algorithmRows()},
		{"B", keyRows()},
		{"C", forgeryRows()},
		{"D", replayRows()},
		{"E", authenticationRows()},
		{"F", timingRows()},
		{"G", costRows()},
		{"H", parserRows()},
		{"I", revocationRows()},
		{"J", confusionRows()},
		{"K", privilegeRows()},
		{"N", leakRows()},
	}
}

// TestAttacks runs the catalogue against one server. One row after another, and not in parallel: what the memory and the log
// of the server show after a row must be that row's doing.
func TestAttacks(t *testing.T) {
	s := newTarget(t)
	tried := 0
	for _, g := range catalogue() {
		t.Run(g.name, func(t *testing.T) {
			for _, r := range g.rows {
				t.Run(r.id, func(t *testing.T) {
					tried++
					s.attack(t, r)
				})
			}
		})
	}
	fmt.Printf("attacks survived %d/%d\n", s.survived, tried-s.skipped)
}

// The APIs of the target. Most rows are about the first.
const (
	ordersAPI = "https://orders.test"
	jobsAPI   = "https://jobs.test"
	edAPI     = "https://ed.test"
)

// credentials are those of a client that authenticates by secret.
type credentials struct{ id, secret string }

// target is the server under attack, in the configuration of production but for three things: its log says all it ever
// says, failures are not throttled (rows about throttling have servers of their own), and one private network may be
// reached for jwks_uri, 127.0.0.2, where the certificates of the test's own authority are believed.
type target struct {
	*servertest.Server

	http  *http.Client
	admin *adminapi.Client
	good  credentials // a client that must go on working
	watch credentials // a client that may introspect the tokens of every API
	ca    *authority

	// Signing keys of the issuer whose private halves the test has: what is forged with them is forged perfectly, so that a
	// refusal is for the reason that the row is about and not for the signature.
	forge   signingKey // ES256
	forgeEd signingKey // EdDSA

	survived, skipped int
	planted           []string // every secret, token and assertion of all rows
}

func newTarget(t *testing.T) *target {
	t.Helper()
	s := &target{ca: newAuthority(t)}
	s.Server = servertest.Serve(t, servertest.Config{
		Env: []string{"SSL_CERT_FILE=" + s.ca.file},
		ExtraYAML: "log: {level: debug}\nlimits: {failures_burst: 1000000, failures_per_second: 1000000}\n" +
			"outbound: {allow_cidrs: [127.0.0.2/32]}\n",
	})
	s.http, s.admin = newHTTP(t), adminapi.NewUnix(s.AdminSocket)
	for identifier, alg := range map[string]string{ordersAPI: "ES256", jobsAPI: "ES256", edAPI: "EdDSA"} {
		_, err := s.admin.CreateAPI(t.Context(), adminapi.NewAPI{
			Identifier: identifier, Name: identifier, Alg: alg,
			Scopes: []adminapi.NewScope{{Name: "read"}, {Name: "write"}, {Name: identifier[8:11] + ":run"}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	s.good = s.register(t, adminapi.NewClient{Name: "good", Grants: grant(ordersAPI, "read", "write")})
	s.watch = s.register(t, adminapi.NewClient{Name: "watch", Introspects: []string{ordersAPI, jobsAPI, edAPI}})
	s.forge, s.forgeEd = s.importKeys(t)
	return s
}

// newHTTP returns a client that follows no redirect and waits long enough to see how slow an answer is.
func newHTTP(t *testing.T) *http.Client {
	t.Helper()
	c := servertest.Client(t)
	c.Timeout = 15 * time.Second
	return c
}

func grant(api string, scopes ...string) []adminapi.Grant {
	return []adminapi.Grant{{API: api, Scopes: scopes}}
}

// register creates a client that authenticates by secret.
func (s *target) register(t *testing.T, n adminapi.NewClient) credentials {
	t.Helper()
	c, err := s.admin.CreateClient(t.Context(), n)
	if err != nil {
		t.Fatalf("create client %s: %v", n.Name, err)
	}
	s.planted = append(s.planted, c.ClientSecret)
	return credentials{c.ClientID, c.ClientSecret}
}

// importKeys makes the two keys that rows forge with known to the server, as published standbys.
func (s *target) importKeys(t *testing.T) (signingKey, signingKey) {
	t.Helper()
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	es, ed := signingKey{alg: "ES256", private: ecKey}, signingKey{alg: "EdDSA", private: edKey}
	for _, k := range []*signingKey{&es, &ed} {
		der, err := x509.MarshalPKCS8PrivateKey(k.private)
		if err != nil {
			t.Fatal(err)
		}
		text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
		made, err := s.admin.ImportKey(t.Context(), adminapi.ImportKey{Alg: k.alg, Key: text})
		if err != nil {
			t.Fatal(err)
		}
		k.kid = made.KID
		s.planted = append(s.planted, text, b64(der))
	}
	return es, ed
}

// unix is an HTTP client of the admin socket, for requests that pkg/adminapi would never send.
func (s *target) unix() *http.Client {
	return &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", s.AdminSocket)
		},
	}}
}
