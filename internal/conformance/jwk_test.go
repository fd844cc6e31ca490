package conformance_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// jwkRows are the rows of the key set. Most look at the replicas, whose init made keys of all three algorithms.
func jwkRows() []row {
	return []row{
		{"JWK-01", func(t *testing.T, s *suite) {
			a := s.tls().get(t, pathJWKS)
			if keys, ok := a.json["keys"].([]any); a.status != http.StatusOK || !ok || len(keys) == 0 || a.header.Get("Content-Type") != "application/json" {
				t.Errorf("%d %s %s", a.status, a.header.Get("Content-Type"), a.body)
			}
		}},
		{"JWK-02", func(t *testing.T, s *suite) {
			for _, server := range []*server{s.dev(), s.tls(), s.pair()[0]} {
				for _, key := range server.rawKeys(t) {
					for _, member := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
						if key[member] != nil {
							t.Errorf("key %v has %s", key["kid"], member)
						}
					}
					if key["kty"] == "oct" {
						t.Error("a symmetric key")
					}
				}
			}
		}},
		{"JWK-03", func(t *testing.T, s *suite) {
			seen := map[any]bool{}
			for _, key := range s.tls().rawKeys(t) {
				if key["kty"] == nil || key["use"] != "sig" || key["alg"] == nil || seen[key["kid"]] {
					t.Errorf("key %v", key)
				}
				if want := thumbprint(t, key); key["kid"] != want {
					t.Errorf("kid %v, thumbprint %s", key["kid"], want)
				}
				seen[key["kid"]] = true
			}
		}},
		{"JWK-04", jwkStrength},
		{"JWK-05", func(t *testing.T, s *suite) { jwkAlgorithm(t, s, "RS256") }},
		{"JWK-06", func(t *testing.T, s *suite) { jwkAlgorithm(t, s, "EdDSA") }},
		{"JWK-10", func(t *testing.T, s *suite) {
			for _, server := range []*server{s.dev(), s.tls()} {
				server.cacheable(t, pathJWKS, 300, 3600)
			}
		}},
	}
}

// jwkSerial are the rows that change the keys of the replicas, each those of another algorithm or after the one before.
func jwkSerial() []row {
	return []row{{"JWK-07", jwkPublished}, {"JWK-08", jwkRetired}, {"JWK-11", jwkEveryNode}, {"JWK-09", jwkCompromised}}
}

func jwkStrength(t *testing.T, s *suite) {
	server := s.tls()
	raw := map[string]map[string]any{}
	for _, key := range server.rawKeys(t) {
		kid, _ := key["kid"].(string)
		raw[kid] = key
	}
	kinds := map[string]int{}
	size := func(key map[string]any, member string) int {
		text, _ := key[member].(string)
		bytes, err := base64.RawURLEncoding.Strict().DecodeString(text)
		if err != nil {
			t.Errorf("%s: %v", member, err)
		}
		return len(bytes)
	}
	for _, key := range server.published(t).Keys {
		members := raw[key.KeyID]
		switch public := key.Key.(type) {
		case *ecdsa.PublicKey:
			if members["kty"] != "EC" || members["crv"] != "P-256" || size(members, "x") != 32 || size(members, "y") != 32 || key.Algorithm != "ES256" {
				t.Errorf("EC key %v", members)
			}
		case *rsa.PublicKey:
			if members["kty"] != "RSA" || public.N.BitLen() < 2048 || public.E != 65537 || key.Algorithm != "RS256" {
				t.Errorf("RSA key of %d bits, %s", public.N.BitLen(), key.Algorithm)
			}
		case ed25519.PublicKey:
			if members["kty"] != "OKP" || members["crv"] != "Ed25519" || size(members, "x") != 32 || key.Algorithm != "EdDSA" {
				t.Errorf("OKP key %v", members)
			}
		default:
			t.Errorf("key %v", members)
		}
		kinds[key.Algorithm]++
	}
	for _, alg := range []string{"ES256", "RS256", "EdDSA"} {
		if kinds[alg] < 2 {
			t.Errorf("%d keys of %s, want one that signs and one that stands by", kinds[alg], alg)
		}
	}
}

// jwkAlgorithm gets a token of an API of this algorithm, and wants one name for it in header, JWK and metadata.
func jwkAlgorithm(t *testing.T, s *suite, alg string) {
	t.Helper()
	server := s.tls()
	identifier := "https://api.test/" + strings.ToLower(alg)
	server.api(t, identifier, alg, "orders:read")
	c := server.register(t, adminapi.NewClient{Grants: []adminapi.Grant{{API: identifier, Scopes: []string{"orders:read"}}}})
	token := server.issue(t, c) // verifies with the JWK whose alg and kid are the header's
	if token.header["alg"] != alg {
		t.Errorf("alg %v", token.header["alg"])
	}
	if listed := list(t, server.metadata(t), "id_token_signing_alg_values_supported"); !slices.Contains(listed, alg) || slices.Contains(listed, "Ed25519") {
		t.Errorf("metadata lists %v", listed)
	}
	server.introspect(t, c, token.text).active(t)
}

// visible is how long a key is published before it may sign: twice the max-age of the JWKS, which also covers a minute's skew.
const visible = 10 * time.Minute

// pairAPI is an API of the replicas that is signed for with this algorithm.
func pairAPI(t *testing.T, pair []*server, alg string) string {
	t.Helper()
	identifier := "https://api.test/pair/" + strings.ToLower(alg) + "/" + strings.ToLower(t.Name())
	pair[0].api(t, identifier, alg, "orders:read")
	c := pair[0].register(t, adminapi.NewClient{Grants: []adminapi.Grant{{API: identifier, Scopes: []string{"orders:read"}}}})
	eventually(t, "know the API on the other replica", func() bool { return pair[1].requestToken(t, c.basic()).status == http.StatusOK })
	return identifier
}

func standby(t *testing.T, s *server, alg, state string) adminapi.Key {
	t.Helper()
	all, err := s.admin.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range all {
		if key.Alg == alg && key.State == state {
			return key
		}
	}
	t.Fatalf("no %s key of %s", state, alg)
	return adminapi.Key{}
}

// jwkPublished wants the next key to be in every JWKS, and the rotation refused until it was there long enough.
func jwkPublished(t *testing.T, s *suite) {
	pair := s.pair()
	next := standby(t, pair[0], "RS256", "pending")
	for _, replica := range pair {
		if !replica.publishes(t, next.KID) {
			t.Errorf("%s does not publish the standby %s", replica.Address, next.KID)
		}
	}
	_, err := pair[0].admin.RotateKey(t.Context(), "RS256")
	var problem *adminapi.Problem
	if from := next.PublishedAt.Add(visible).UTC().Truncate(time.Second).Format(time.RFC3339); !errors.As(err, &problem) ||
		problem.Status != http.StatusConflict || !strings.Contains(problem.Detail, from) {
		t.Errorf("rotated, or not refused until %s: %v", from, err)
	}
	pgtest.Exec(t, pair[0].Database(), "UPDATE signing_keys SET published_at = $1 WHERE kid = $2", time.Now().Add(-visible+5*time.Second).UnixMicro(), next.KID)
	if _, err := pair[0].admin.RotateKey(t.Context(), "RS256"); err == nil {
		t.Error("rotated five seconds too early")
	}
	if _, after := rotate(t, pair, "RS256", pairAPI(t, pair, "RS256")); after != next.KID {
		t.Errorf("%s signs, published was %s", after, next.KID)
	}
}

// jwkRetired moves the moment at which two keys stopped signing into the past: one to just inside the longest life of its
// tokens plus leeway and caches, one to just outside. A replica that starts retires what is due first of all.
func jwkRetired(t *testing.T, s *suite) {
	pair := s.pair()
	inside, _ := rotate(t, pair, "EdDSA", pairAPI(t, pair, "EdDSA"))
	outside, _ := rotate(t, pair, "ES256", pair[0].API)
	kept := 24*time.Hour + time.Minute + 5*time.Minute // token ceiling, leeway, max-age
	age := func(kid string, past time.Duration) {
		if n := pgtest.Exec(t, pair[0].Database(), "UPDATE signing_keys SET retiring_at = $1 WHERE kid = $2 AND state = 'retiring'",
			time.Now().Add(-past).UnixMicro(), kid); n != 1 {
			t.Fatalf("%s is not retiring", kid)
		}
	}
	for _, kid := range []string{inside, outside} {
		if !pair[0].publishes(t, kid) || !pair[1].publishes(t, kid) {
			t.Errorf("%s is gone right after the rotation", kid)
		}
	}
	age(inside, kept)
	age(outside, kept+2*time.Minute)
	s.serve(servertest.Config{ReplicaOf: pair[0].Server}, servertest.Client(t))
	for _, replica := range pair {
		eventually(t, "retire the key that nobody needs", func() bool { return !replica.publishes(t, outside) })
		if !replica.publishes(t, inside) {
			t.Errorf("%s is gone while tokens of it may live", inside)
		}
	}
}

// jwkCompromised revokes a key that signs: it leaves every JWKS, its tokens end at once, the standby signs.
func jwkCompromised(t *testing.T, s *suite) {
	pair := s.pair()
	a, b := pair[0], pair[1]
	api := pairAPI(t, pair, "EdDSA")
	c := a.register(t, adminapi.NewClient{Grants: []adminapi.Grant{{API: api, Scopes: []string{"orders:read"}}}})
	token := a.issue(t, c)
	kid, _ := token.header["kid"].(string)
	a.introspect(t, c, token.text).active(t)
	a.Signet(t, "key", "revoke", kid, "--yes")
	b.introspect(t, c, token.text).inactive(t)
	a.introspect(t, c, token.text).inactive(t)
	for _, replica := range pair {
		eventually(t, "drop the key", func() bool { return !replica.publishes(t, kid) })
		if next := replica.issue(t, c); next.header["kid"] == kid {
			t.Error("the compromised key signs")
		}
		replica.introspect(t, c, token.text).inactive(t)
	}
}

// jwkEveryNode gets tokens from all nodes while keys rotate, and looks for the kid of each in the JWKS of every node.
func jwkEveryNode(t *testing.T, s *suite) {
	pair := s.pair()
	api := pairAPI(t, pair, "ES256")
	c := pair[0].register(t, adminapi.NewClient{Grants: []adminapi.Grant{{API: api, Scopes: []string{"orders:read"}}}})
	kids := map[any]bool{}
	check := func() {
		for _, replica := range pair {
			kid, _ := replica.issue(t, c).header["kid"].(string)
			kids[kid] = true
			for _, other := range pair {
				if !other.publishes(t, kid) {
					t.Errorf("%s signs with %s, which %s does not publish", replica.Address, kid, other.Address)
				}
			}
		}
	}
	check()
	pgtest.Exec(t, pair[0].Database(), "UPDATE signing_keys SET published_at = published_at - $1 WHERE alg = 'ES256' AND state = 'pending'", time.Hour.Microseconds())
	done := make(chan error)
	go func() {
		_, err := pair[0].admin.RotateKey(t.Context(), "ES256")
		done <- err
	}()
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		check()
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	check()
	if len(kids) != 2 {
		t.Errorf("%d keys have signed, want the one before and the one after", len(kids))
	}
	if a, b := pair[0].get(t, pathJWKS), pair[1].get(t, pathJWKS); a.body != b.body || a.header.Get("ETag") != b.header.Get("ETag") {
		t.Error("two replicas serve different documents")
	}
}
