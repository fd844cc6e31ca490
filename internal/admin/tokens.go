package admin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/tokens"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// searched is how many revocations are looked through for the reason of one.
const searched = 1000

func (a *api) tokenRoutes() {
	handle(a, operation("inspect-token", http.MethodPost, "/tokens/inspect", "Read an access token and say whether it counts"), a.inspectToken)
	handle(a, operation("revoke-token", http.MethodPost, "/tokens/revoke", "Take one access token back, by its text or jti"), a.revokeToken)
}

func (a *api) inspectToken(ctx context.Context, in *struct{ Body adminapi.TokenText }) (*reply[adminapi.TokenReport], error) {
	text := strings.TrimSpace(in.Body.Token)
	out := &reply[adminapi.TokenReport]{}
	out.Body.Header, out.Body.Claims = unverified(text)
	c, err := a.Tokens.ParseFresh(ctx, text, time.Now())
	if errors.Is(err, tokens.ErrInvalid) {
		out.Body.Reason = a.whyInvalid(ctx, out.Body.Header["kid"], err)
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	out.Body.Valid, out.Body.Expires = true, c.ExpiresAt
	revoked, err := a.Revocations.Check(ctx, revocations.Token{
		JTI: c.ID, ClientID: c.ClientID, KID: c.KID, Generation: c.Generation, ExpiresAt: c.ExpiresAt,
	})
	if err != nil {
		return nil, err
	}
	reason, err := a.whyEnded(ctx, c, revoked)
	if err != nil {
		return nil, err
	}
	out.Body.Active, out.Body.Reason = reason == "", reason
	return out, nil
}

// whyEnded says why a valid token is not active, or "" when it is. The answers of introspection and this one come from the
// same store; the words are found afterwards.
func (a *api) whyEnded(ctx context.Context, c tokens.Claims, revoked bool) (string, error) {
	client, err := a.Clients.Find(ctx, c.ClientID)
	switch {
	case errors.Is(err, clients.ErrNotFound) || err == nil && client.ID != c.ClientID:
		return "its client was deleted", nil
	case err != nil:
		return "", err
	case client.Disabled:
		return "its client is disabled", nil
	case client.Expired(time.Now()):
		return "its client has expired", nil
	case c.Generation < client.Generation:
		return fmt.Sprintf("its client was cut off: the token is of generation %d, the client of %d", c.Generation, client.Generation), nil
	case !revoked:
		return "", nil
	}
	list, err := a.Revocations.Revocations(ctx, searched)
	if err != nil {
		return "", err
	}
	for _, r := range list {
		if r.JTI == c.ID {
			return "it was revoked at " + r.RevokedAt.UTC().Format(time.RFC3339) + because(r.Reason), nil
		}
	}
	return "it was revoked", nil
}

// whyInvalid has better words for a key that the ring no longer knows: verification cannot tell an ended key from one that
// never was.
func (a *api) whyInvalid(ctx context.Context, kid any, invalid error) string {
	text, _ := kid.(string)
	key, err := a.findKey(ctx, text)
	if err != nil {
		return invalid.Error()
	}
	switch key.State {
	case keys.Compromised:
		return "its signing key was revoked at " + key.EndedAt.UTC().Format(time.RFC3339)
	case keys.Retired:
		return "its signing key was retired at " + key.EndedAt.UTC().Format(time.RFC3339)
	case keys.Pending, keys.Active, keys.Retiring:
	}
	return invalid.Error()
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// unverified reads what the header and the claims of a token say, for people to look at. Nothing is decided by it.
func unverified(text string) (map[string]any, map[string]any) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return nil, nil
	}
	return member(parts[0]), member(parts[1])
}

func member(part string) map[string]any {
	raw, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return nil
	}
	var out map[string]any
	if json.Unmarshal(raw, &out) != nil {
		return nil
	}
	return out
}

func (a *api) revokeToken(ctx context.Context, in *struct{ Body adminapi.RevokeToken }) (*reply[adminapi.Revocation], error) {
	now := time.Now().UTC()
	r, err := a.revocation(ctx, in.Body, now)
	if err != nil {
		return nil, err
	}
	event := audit.Event{
		Time: now, Actor: actor(ctx), Action: "token.revoke", Subject: r.JTI, ClientID: r.ClientID, Detail: map[string]any{"reason": r.Reason},
	}
	if err := a.Revocations.Revoke(ctx, r, event); err != nil {
		return nil, err
	}
	return &reply[adminapi.Revocation]{wireRevocation(r)}, nil
}

// revocation is what a request asks to take back. Of a jti alone nobody knows the expiry, so the ceiling of all lifetimes
// stands in for it, twice: the clock of this replica may be behind, or that of the one that issued the token ahead.
func (a *api) revocation(ctx context.Context, in adminapi.RevokeToken, now time.Time) (revocations.Revocation, error) {
	if (in.Token == "") == (in.JTI == "") {
		return revocations.Revocation{}, fmt.Errorf("%w: give either token or jti", errInvalid)
	}
	r := revocations.Revocation{JTI: in.JTI, RevokedAt: now, ExpiresAt: now.Add(2 * apis.MaxTokenTTL), Reason: in.Reason}
	if in.JTI != "" {
		if strings.ContainsFunc(in.JTI, func(c rune) bool { return c <= ' ' || c > '~' }) {
			return revocations.Revocation{}, fmt.Errorf("%w: a jti has no spaces and only ASCII characters", errInvalid)
		}
		return r, nil
	}
	text := strings.TrimSpace(in.Token)
	c, err := a.Tokens.ParseFresh(ctx, text, now)
	if errors.Is(err, tokens.ErrInvalid) && !errors.Is(err, tokens.ErrUnknownKey) {
		c, err = a.Tokens.ParseIssued(text) // by another clock, or for a newer version, it may count
	}
	if errors.Is(err, tokens.ErrInvalid) {
		return revocations.Revocation{}, fmt.Errorf("%w: this token counts for nothing anyway: %w", errInvalid, err)
	}
	if err != nil {
		return revocations.Revocation{}, err
	}
	r.JTI, r.ClientID, r.ExpiresAt = c.ID, c.ClientID, c.ExpiresAt
	return r, nil
}
