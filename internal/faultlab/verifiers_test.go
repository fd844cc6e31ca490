package faultlab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-1972b8eb/signet/internal/servertest"
)

// verifier is a resource server that keeps the published keys for as long as it is told, and never asks for them before: not
// even for a key that it does not know. That is the least that a verifier may do, and what the rotation is planned for.
type verifier struct {
	cluster *cluster
	http    *http.Client
	life    time.Duration // how long it keeps keys; 0: as long as Cache-Control says

	verified, refused, fetches atomic.Int64

	mu      sync.Mutex
	next    int // the replica that is asked next
	keys    *published
	fetched time.Time // when the answer had arrived, which is later than when it was made
}

// published is an answer of the JWKS endpoint.
type published struct {
	replica int
	keys    map[string]any // public keys by kid
	maxAge  time.Duration
}

func newVerifier(t testing.TB, c *cluster, first int, life time.Duration) *verifier {
	t.Helper()
	return &verifier{cluster: c, http: servertest.Client(t), life: life, next: first}
}

// verify says why a token is refused. What cannot be decided, because no keys could be had, is refused, too.
func (v *verifier) verify(ctx context.Context, text, audience string) error {
	keys, age, err := v.known(ctx)
	if err == nil {
		_, err = jwt.ParseWithClaims(text, jwt.MapClaims{}, func(t *jwt.Token) (any, error) {
			kid, _ := t.Header["kid"].(string)
			if key, ok := keys.keys[kid]; ok {
				return key, nil
			}
			return nil, fmt.Errorf("key %s is not among the %d that replica %d published %v ago", kid, len(keys.keys), keys.replica, age)
		}, jwt.WithIssuer(v.cluster.members[0].server.Issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired(),
			jwt.WithValidMethods(algorithms))
	}
	if err != nil {
		v.refused.Add(1)
		return err
	}
	v.verified.Add(1)
	return nil
}

// known returns the keys that it has, and fetches them when they are too old.
func (v *verifier) known(ctx context.Context) (*published, time.Duration, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.keys != nil {
		life := v.keys.maxAge
		if v.life > 0 {
			life = v.life
		}
		if age := time.Since(v.fetched); age < life {
			return v.keys, age, nil
		}
	}
	keys, err := v.cluster.published(ctx, v.http, v.next%replicaCount)
	v.next++
	v.fetches.Add(1)
	if err != nil {
		return nil, 0, err
	}
	v.keys, v.fetched = keys, time.Now()
	return keys, 0, nil
}

var maxAge = regexp.MustCompile(`(?:^|[ ,])max-age=(\d+)(?:$|[ ,])`)

// published asks a replica for its keys.
func (c *cluster) published(ctx context.Context, by *http.Client, replica int) (*published, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	address := "http://" + c.members[replica].server.Address + "/.well-known/jwks.json"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := by.Do(request)
	if err != nil {
		return nil, fmt.Errorf("fetch the JWKS: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("fetch the JWKS: %w", err)
	}
	set, found := jose.JSONWebKeySet{}, maxAge.FindStringSubmatch(response.Header.Get("Cache-Control"))
	if err := json.Unmarshal(body, &set); err != nil || response.StatusCode != http.StatusOK || found == nil {
		return nil, fmt.Errorf("JWKS: %d with Cache-Control %q (%w)", response.StatusCode, response.Header.Get("Cache-Control"), err)
	}
	seconds, err := strconv.Atoi(found[1])
	if err != nil {
		return nil, fmt.Errorf("max-age: %w", err)
	}
	out := &published{replica: replica, keys: map[string]any{}, maxAge: time.Duration(seconds) * time.Second}
	for _, key := range set.Keys {
		out.keys[key.KeyID] = key.Key
	}
	return out, nil
}
