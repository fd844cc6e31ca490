package oauth

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/ory/fosite"

	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/tokens"
)

// clientCredentials is the token endpoint handler of RFC 6749 §4.4. It has no state: all of a request is in its session.
type clientCredentials struct{}

// CanSkipClientAuth is always false: true would swallow wrong secrets and outages.
func (clientCredentials) CanSkipClientAuth(context.Context, fosite.AccessRequester) bool {
	return false
}

// CanHandleTokenEndpointRequest says whether the request is of this grant.
func (clientCredentials) CanHandleTokenEndpointRequest(_ context.Context, request fosite.AccessRequester) bool {
	return request.GetGrantTypes().ExactOne(grantClientCredentials)
}

// HandleTokenEndpointRequest decides what the caller gets.
func (clientCredentials) HandleTokenEndpointRequest(ctx context.Context, request fosite.AccessRequester) error {
	sess, err := sessionOf(request)
	if err != nil {
		return err
	}
	// The caller is taken from the request and not from the session, so that what fosite authenticated is what is served.
	c, ok := request.GetClient().(*caller)
	if !ok || c != sess.caller {
		return errFenced
	}
	if sess.decision, err = sess.server.decide(ctx, c.client, sess.form, sess.now); err != nil {
		return err
	}
	// The limit is on proven clients, so that nobody uses up what another may have.
	if wait, ok := sess.server.cfg.Rate.Allow(c.client.ID); !ok {
		return rateLimited(wait)
	}
	return nil
}

// PopulateTokenEndpointResponse issues what was decided. Generation, claims and client are all of the one record that
// authenticated, so that a token never mixes two states of a client (DESIGN.md §7).
func (clientCredentials) PopulateTokenEndpointResponse(_ context.Context, request fosite.AccessRequester, response fosite.AccessResponder) error {
	sess, err := sessionOf(request)
	if err != nil {
		return err
	}
	if sess.caller == nil || sess.decision == nil {
		return errFenced
	}
	client, api := sess.caller.client, sess.decision.api
	scope := strings.Join(sess.decision.scopes, " ")
	text, claims, err := sess.server.cfg.Tokens.Issue(sess.now, tokens.Claims{
		Subject:    client.ID,
		ClientID:   client.ID,
		Audience:   api.Identifier,
		Scope:      scope,
		ExpiresAt:  sess.decision.expires,
		Generation: client.Generation,
		Extra:      client.Claims,
	}, api.Alg, api.Typ)
	if errors.Is(err, keys.ErrNoActiveKey) {
		return unavailable(err) // an admin has to make one; until then no answer is right
	}
	if errors.Is(err, tokens.ErrTooLarge) { // scopes are what fills a token: all else is bounded when it is registered
		return refuse(http.StatusBadRequest, CodeInvalidScope, ReasonScopeTooMuch,
			"a token with these scopes would be larger than %d bytes; ask for fewer at a time", tokens.MaxSize)
	}
	if err != nil {
		return err
	}
	response.SetAccessToken(text)
	response.SetTokenType("Bearer")
	sess.issued = &TokenResponse{
		AccessToken: text,
		TokenType:   "Bearer",
		ExpiresIn:   int64(claims.ExpiresAt.Sub(claims.IssuedAt).Seconds()),
		Scope:       scope,
		ClientID:    client.ID,
		SecretID:    sess.caller.secretID,
		AuthMethod:  sess.caller.method,
		GrantType:   grantClientCredentials,
		API:         api.Identifier,
		Alg:         api.Alg,
		JTI:         claims.ID,
		ExpiresAt:   claims.ExpiresAt,
	}
	return nil
}
