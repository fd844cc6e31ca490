package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/tokens"
)

// Introspection is the answer of RFC 7662 §2.2. In JSON an inactive one is exactly {"active":false}.
type Introspection struct {
	Active bool
	Claims tokens.Claims // of an active token; the zero value otherwise
	Caller string        // client ID of who asked; not part of the answer
	Reason Reason        // why it is inactive, for metrics; not part of the answer
}

// MarshalJSON gives the token's own claims, so that a resource server sees the same as one that reads the token.
func (i Introspection) MarshalJSON() ([]byte, error) {
	if !i.Active {
		return []byte(`{"active":false}`), nil
	}
	out := make(map[string]any, len(i.Claims.Extra)+12)
	maps.Copy(out, i.Claims.Extra) // first, so that no static claim stands for one of ours
	out["active"] = true
	out["iss"] = i.Claims.Issuer
	out["sub"] = i.Claims.Subject
	out["aud"] = i.Claims.Audience
	out["client_id"] = i.Claims.ClientID
	out["scope"] = i.Claims.Scope
	out["iat"] = i.Claims.IssuedAt.Unix()
	out["exp"] = i.Claims.ExpiresAt.Unix()
	out["jti"] = i.Claims.ID
	out["gen"] = i.Claims.Generation
	out["token_type"] = "Bearer"
	return json.Marshal(out)
}

// Introspect decides a request at the introspection endpoint (RFC 7662 §2.1). Every error is an *Error; a token that is not
// live, or not for this caller to know, is no error but inactive.
func (s *Server) Introspect(ctx context.Context, req *Request) (*Introspection, error) {
	form, err := readForm(req.HTTP)
	if err != nil {
		return nil, mapped(err, "")
	}
	// 1. Who asks? Client authentication only: a bearer token would let whoever stole one look at others (RFC 7662 §4).
	c, err := s.authenticate(ctx, req, form)
	if err != nil {
		return nil, err
	}
	text, err := tokenParam(form)
	if err != nil {
		return nil, mapped(err, c.client.ID)
	}
	inactive := func(reason Reason) *Introspection { return &Introspection{Caller: c.client.ID, Reason: reason} }
	// 2. Is it one of ours, and live by its own times? token_type_hint changes nothing: there is one kind (§2.1).
	now := time.Now()
	claims, err := s.cfg.Tokens.ParseFresh(ctx, text, now)
	if errors.Is(err, tokens.ErrInvalid) {
		return inactive(ReasonTokenInvalid), nil
	}
	if err != nil {
		return nil, mapped(unavailable(err), c.client.ID)
	}
	// 3. May this caller know? (RFC 7662 §4; DESIGN.md §3)
	if !maySee(c.client, claims) {
		return inactive(ReasonTokenUnseen), nil
	}
	// 4. Is its client one that there is, and has it not been cut off since? A deleted one has a cut-off; one that a restored
	// backup does not know has none, nor has one whose expiry was brought forward and has come. A cut-off is kept for as long as
	// a token lives by the clock of the database; one whose issuer was ahead lives longer, and generations only ever rise.
	owner := c.client
	if claims.ClientID != owner.ID {
		if owner, err = s.cfg.Registry.Client(ctx, claims.ClientID); errors.Is(err, clients.ErrNotFound) {
			return inactive(ReasonTokenRevoked), nil
		}
		if err != nil {
			return nil, mapped(unavailable(err), c.client.ID)
		}
		if owner.Expired(now) {
			return inactive(ReasonClientExpired), nil
		}
	}
	if claims.Generation < owner.Generation {
		return inactive(ReasonTokenRevoked), nil
	}
	// 5. Was it taken back? When that cannot be known, 503 and never a guess (DESIGN.md §7).
	revoked, err := s.cfg.Revocations.Check(ctx, revocations.Token{
		JTI: claims.ID, ClientID: claims.ClientID, KID: claims.KID, Generation: claims.Generation, ExpiresAt: claims.ExpiresAt,
	})
	if err != nil {
		return nil, mapped(unavailable(err), c.client.ID)
	}
	if revoked {
		return inactive(ReasonTokenRevoked), nil
	}
	return &Introspection{Active: true, Claims: claims, Caller: c.client.ID}, nil
}

// maySee holds the rule of who may introspect: the client that the token was issued to, and those registered for its API.
func maySee(c *clients.Client, claims tokens.Claims) bool {
	return claims.ClientID == c.ID || slices.Contains(c.Introspects, claims.Audience)
}

// tokenParam reads the one parameter that revocation and introspection need.
func tokenParam(form url.Values) (string, error) {
	text := form.Get("token")
	if text == "" {
		return "", badRequest(ReasonParamMissing, "parameter token is missing")
	}
	return text, nil
}
