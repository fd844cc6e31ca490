package oauth

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/tokens"
)

// Revoke decides a request at the revocation endpoint (RFC 7009 §2). nil means 200: the token is taken back, or was never
// one that could be used. Every error is an *Error.
func (s *Server) Revoke(ctx context.Context, req *Request) error {
	form, err := readForm(req.HTTP)
	if err != nil {
		return mapped(err, "")
	}
	// 1. Who asks? (§2.1)
	c, err := s.authenticate(ctx, req, form)
	if err != nil {
		return err
	}
	text, err := tokenParam(form)
	if err != nil {
		return mapped(err, c.client.ID)
	}
	// 2. Is there anything to take back? Unknown and malformed tokens are not an error (§2.2), nor are expired ones, which are
	// taken back like others. token_type_hint changes nothing: there is one kind of token.
	now := time.Now()
	claims, err := s.revocable(ctx, text, now)
	if errors.Is(err, tokens.ErrUnknownKey) {
		// A key that was revoked a moment ago is unknown here, and its tokens may live elsewhere until that is confirmed.
		if err := s.cfg.Revocations.Confirm(ctx); err != nil {
			return mapped(unavailable(err), c.client.ID)
		}
	}
	if errors.Is(err, tokens.ErrInvalid) {
		return nil
	}
	if err != nil {
		return mapped(unavailable(err), c.client.ID)
	}
	// 3. Is it the caller's own? (§2.1: otherwise the request is refused and the client is informed.)
	if claims.ClientID != c.client.ID {
		return mapped(refuse(http.StatusBadRequest, CodeUnauthorizedClient, ReasonForeignToken,
			"the token was issued to another client; only that client, or an admin, can revoke it"), c.client.ID)
	}
	// 4. Take it back, also when it is already: that somebody wrote a row is not yet a promise kept. When the outcome is
	// unknown the answer is 503 and never 200 (§2.2.1; ATTACKS I1).
	err = s.cfg.Revocations.Revoke(ctx,
		revocations.Revocation{JTI: claims.ID, ClientID: claims.ClientID, ExpiresAt: claims.ExpiresAt, RevokedAt: now.UTC(), Reason: "by its client"},
		audit.Event{
			Time:     now.UTC(),
			Actor:    audit.Actor{ID: c.client.ID, RequestID: req.RequestID, Source: req.ClientIP.String()},
			Action:   "token.revoke",
			Subject:  claims.ID,
			ClientID: claims.ClientID,
			Detail:   map[string]any{"api": claims.Audience},
		})
	if err != nil {
		return mapped(unavailable(err), c.client.ID)
	}
	return nil
}

// revocable reads a token of ours, whatever its times, and whatever a newer version has added to it: a 200 promises that nobody
// calls it active from now on, and neither another replica, by its clock or version, nor this one after its clock was set need
// agree with what this one says now.
func (s *Server) revocable(ctx context.Context, text string, now time.Time) (tokens.Claims, error) {
	claims, err := s.cfg.Tokens.ParseFresh(ctx, text, now)
	if !errors.Is(err, tokens.ErrInvalid) || errors.Is(err, tokens.ErrUnknownKey) {
		return claims, err
	}
	return s.cfg.Tokens.ParseIssued(text)
}
