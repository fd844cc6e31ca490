package oauth

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/usage"
)

// grantClientCredentials is the one grant type so far (RFC 6749 §4.4).
const grantClientCredentials = "client_credentials"

// TokenResponse is the answer to a token request (RFC 6749 §5.1). The members without a JSON name are for metrics and logs.
// It holds the token: it prints as "[redacted]".
type TokenResponse struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"` // "Bearer"
	ExpiresIn   int64  `json:"expires_in"` // seconds
	Scope       string `json:"scope"`      // always there, as it is in the token

	ClientID   string             `json:"-"`
	SecretID   string             `json:"-"` // empty for private_key_jwt
	AuthMethod clients.AuthMethod `json:"-"`
	GrantType  string             `json:"-"`
	API        string             `json:"-"`
	Alg        apis.Alg           `json:"-"`
	JTI        string             `json:"-"`
	ExpiresAt  time.Time          `json:"-"`
}

const redacted = "[redacted]"

// String keeps the token out of texts.
func (TokenResponse) String() string { return redacted }

// GoString keeps the token out of %#v.
func (TokenResponse) GoString() string { return redacted }

// LogValue keeps the token out of logs.
func (TokenResponse) LogValue() slog.Value { return slog.StringValue(redacted) }

// Token decides a request at the token endpoint. Every error is an *Error.
func (s *Server) Token(ctx context.Context, req *Request) (*TokenResponse, error) {
	// 1. What holds of any request (RFC 6749 §3.2).
	form, err := readForm(req.HTTP)
	if err != nil {
		return nil, mapped(err, "")
	}
	// 2. The grant type, before authentication, so that the answer does not depend on it (RFC 6749 §5.2).
	switch grant := form.Get("grant_type"); grant {
	case grantClientCredentials:
	case "":
		return nil, mapped(badRequest(ReasonParamMissing, "grant_type is missing; send grant_type=%s", grantClientCredentials), form.Get("client_id"))
	default:
		return nil, mapped(refuse(http.StatusBadRequest, CodeUnsupportedGrantType, ReasonGrantType,
			"this server takes grant_type=%s", grantClientCredentials), form.Get("client_id"))
	}
	// 3. Authentication, policy and issue, in fosite's access-request and access-response flow.
	sess := &session{server: s, request: req, form: form, now: time.Now()}
	response, err := s.run(ctx, sess)
	if err != nil {
		var claimed string
		if sess.caller != nil {
			claimed = sess.caller.client.ID
		}
		return nil, mapped(err, claimed)
	}
	s.cfg.Usage.Count(usage.Use{ClientID: response.ClientID, SecretID: response.SecretID, API: response.API, At: sess.now})
	return response, nil
}
