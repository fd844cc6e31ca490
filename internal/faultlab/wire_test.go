package faultlab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-1972b8eb/signet/internal/servertest"
)

// answerTime bounds a request. It is longer than any answer may take, so that a late one is seen to be late.
const answerTime = 6 * time.Second

// revokeWithin is how long /oauth2/revoke may take in every fault (REVOCATION.md P2), and slack what this side adds to it: its
// own scheduling on a machine that runs eight servers besides, and those of others.
const (
	revokeWithin = 1500 * time.Millisecond
	slack        = 1000 * time.Millisecond
)

// slowest remembers how long revocations took. Those of a replica that stood still meanwhile say nothing about it.
type slowest struct {
	mu   sync.Mutex
	most time.Duration
	late int // longer than revokeWithin
	when string
}

func (s *slowest) took(d time.Duration, replica int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d > revokeWithin {
		s.late++
	}
	if d > s.most {
		s.most, s.when = d, fmt.Sprintf("replica %d, answered at %s", replica, stamp(time.Now()))
	}
}

// post sends a form to a replica and returns status and body of the answer. What is allowed at any time is errUndecided.
func (c *cluster) post(ctx context.Context, replica int, path string, by client, form url.Values) (int, string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	m := c.members[replica]
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+m.server.Address+path, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(by.id, by.secret)
	response, err := m.http.Do(request)
	if err != nil {
		return 0, "", fmt.Errorf("%w: %w", errUndecided, err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, "", fmt.Errorf("%w: %w", errUndecided, err)
	}
	body := string(text)
	if response.StatusCode == http.StatusServiceUnavailable {
		if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err != nil || seconds < 1 || strings.Contains(body, "active") {
			return 0, "", fmt.Errorf("%s: 503 with Retry-After %q and %s", path, response.Header.Get("Retry-After"), body)
		}
		return 0, "", fmt.Errorf("%w: 503 %s", errUndecided, body)
	}
	return response.StatusCode, body, nil
}

func (c *cluster) issue(ctx context.Context, replica, worker int) (token, error) {
	return c.tokenFor(ctx, replica, c.workers[worker])
}

func (c *cluster) tokenFor(ctx context.Context, replica int, by client) (token, error) {
	status, body, err := c.post(ctx, replica, "/oauth2/token", by, servertest.Form("grant_type", "client_credentials"))
	if err != nil {
		return token{}, err
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if status == http.StatusUnauthorized && c.victim(by.id) { // disabled a moment ago
		return token{}, fmt.Errorf("%w: %s", errUndecided, body)
	}
	if status != http.StatusOK || json.Unmarshal([]byte(body), &answer) != nil {
		return token{}, fmt.Errorf("token: %d %s", status, body)
	}
	return readToken(answer.AccessToken)
}

// readToken reads what a token says of itself, without believing it.
func readToken(text string) (token, error) {
	claims := jwt.MapClaims{}
	parsed, _, err := jwt.NewParser().ParseUnverified(text, claims)
	if err != nil {
		return token{}, fmt.Errorf("read a token: %w", err)
	}
	expires, err := claims.GetExpirationTime()
	if err != nil || expires == nil {
		return token{}, fmt.Errorf("a token without exp: %w", err)
	}
	t := token{text: text, expires: expires.Time}
	t.jti, _ = claims["jti"].(string)
	t.client, _ = claims["client_id"].(string)
	t.kid, _ = parsed.Header["kid"].(string)
	generation, _ := claims["gen"].(float64)
	t.generation = int64(generation)
	return t, nil
}

func (c *cluster) revoke(ctx context.Context, replica int, t token) error {
	began := time.Now()
	status, body, err := c.post(ctx, replica, "/oauth2/revoke", c.secretOf(t.client), servertest.Form("token", t.text))
	// A connection that broke says nothing of how long the server takes; one that went on for longer than it may, does.
	if took := time.Since(began); ctx.Err() == nil && !c.members[replica].stoodStill(began) && (err == nil || took > revokeWithin) {
		c.slow.took(took, replica)
	}
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("revoke: %d %s", status, body)
	}
	return nil
}

func (c *cluster) check(ctx context.Context, replica int, t token) (bool, error) {
	status, body, err := c.post(ctx, replica, "/oauth2/introspect", c.watch, servertest.Form("token", t.text))
	if err != nil {
		return false, err
	}
	if status == http.StatusOK && body == `{"active":false}` {
		return false, nil
	}
	var answer struct {
		Active bool   `json:"active"`
		JTI    string `json:"jti"`
	}
	if status != http.StatusOK || json.Unmarshal([]byte(body), &answer) != nil || !answer.Active || answer.JTI != t.jti {
		return false, fmt.Errorf("introspect: %d %s", status, body)
	}
	return true, nil
}

func (c *cluster) secretOf(id string) client {
	for _, list := range [][]client{c.workers, c.victims} {
		for _, one := range list {
			if one.id == id {
				return one
			}
		}
	}
	return client{id: id}
}

func (c *cluster) victim(id string) bool {
	return slices.ContainsFunc(c.victims, func(one client) bool { return one.id == id })
}

// doomed: somebody asked for the end of its key, or PostgreSQL knows of a cut-off that has ended it, acknowledged or not.
func (c *cluster) doomed(ctx context.Context, t token) (bool, error) {
	c.mu.Lock()
	asked := c.kids[t.kid]
	c.mu.Unlock()
	if asked || !c.victim(t.client) {
		return asked, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var generation, disabled int64
	if err := c.stores.direct.QueryRowContext(ctx, "SELECT generation, disabled FROM clients WHERE id = $1", t.client).
		Scan(&generation, &disabled); err != nil {
		return false, fmt.Errorf("read the truth: %w", err)
	}
	return t.generation < generation || disabled != 0, nil
}
