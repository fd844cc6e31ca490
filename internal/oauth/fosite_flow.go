package oauth

import (
	"context"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"

	"github.com/ory/fosite"
)

// errFenced is what every door of fosite answers that Signet keeps shut. It reaches a caller as 500.
var errFenced = errors.New("fosite reached for what is fenced off")

// newFlow sets fosite up by hand, never through compose. Every value that fosite would otherwise fill in on first use, and
// without a lock, is set: scope and audience strategies to refuse all (the policy is ours), the hasher to match nothing, the
// JWKS fetcher to one that cannot fetch.
func newFlow(s *Server) *fosite.Fosite {
	config := &fosite.Config{
		TokenURL:                     s.cfg.TokenEndpoint,
		AccessTokenIssuer:            s.cfg.Issuer,
		ScopeStrategy:                func([]string, string) bool { return false },
		AudienceMatchingStrategy:     func([]string, []string) error { return errFenced },
		ClientSecretsHasher:          shutHasher{},
		JWKSFetcherStrategy:          shutFetcher{},
		ClientAuthenticationStrategy: authenticateInFlow,
		TokenEndpointHandlers:        fosite.TokenEndpointHandlers{clientCredentials{}},
		SendDebugMessagesToClients:   false,
	}
	return fosite.NewOAuth2Provider(shutStorage{}, config)
}

// run takes a session through fosite. The request that fosite gets is made up: it says POST and the grant type, so that
// neither the caller's form (fosite's scope handling is quadratic, its audience parsing loose) nor a client_assertion (its
// JWT parser is unsafe) ever reaches it. What is real travels in the session.
func (s *Server) run(ctx context.Context, sess *session) (*TokenResponse, error) {
	request, err := s.flow.NewAccessRequest(ctx, s.flowRequest, sess)
	if err != nil {
		return nil, err
	}
	response, err := s.flow.NewAccessResponse(ctx, request)
	if err != nil {
		return nil, err
	}
	if response.GetAccessToken() == "" || sess.issued == nil {
		return nil, errors.New("the flow ended without a token")
	}
	return sess.issued, nil
}

// newFlowRequest makes what fosite reads instead of any caller's request. The forms are set, so that it parses nothing; it
// writes nothing either, so that one serves all.
func newFlowRequest() *http.Request {
	form := url.Values{"grant_type": {grantClientCredentials}}
	return &http.Request{Method: http.MethodPost, Form: form, PostForm: form, MultipartForm: new(multipart.Form)} //nolint:forbidigo // the field, not http.PostForm
}

// authenticateInFlow is fosite's client authentication strategy: ours, on the real request, which the session carries.
func authenticateInFlow(ctx context.Context, _ *http.Request, _ url.Values) (fosite.Client, error) {
	request, ok := ctx.Value(fosite.AccessRequestContextKey).(*fosite.AccessRequest)
	if !ok {
		return nil, errFenced
	}
	sess, err := sessionOf(request)
	if err != nil {
		return nil, err
	}
	c, err := sess.server.authenticate(ctx, sess.request, sess.form)
	if err != nil {
		return nil, err
	}
	sess.caller = c
	return c, nil
}

func sessionOf(request fosite.Requester) (*session, error) {
	sess, ok := request.GetSession().(*session)
	if !ok {
		return nil, fmt.Errorf("%w: foreign session", errFenced)
	}
	return sess, nil
}
