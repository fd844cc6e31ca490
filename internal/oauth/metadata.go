package oauth

import (
	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/clientjwks"
	"github.com/seed-1972b8eb/signet/internal/clients"
)

// The paths below the issuer.
const (
	tokenPath      = "/oauth2/token" //nolint:gosec // a path, not a credential
	revokePath     = "/oauth2/revoke"
	introspectPath = "/oauth2/introspect"
	jwksPath       = "/.well-known/jwks.json"
)

// Metadata is the authorization server metadata of RFC 8414 §2. It is served under the OpenID Connect name too, because many
// verifiers look only there; for them it has the members that OpenID Connect Discovery §3 requires and that are true here.
type Metadata struct {
	Issuer                 string   `json:"issuer"`
	TokenEndpoint          string   `json:"token_endpoint"`
	JWKSURI                string   `json:"jwks_uri"`
	RevocationEndpoint     string   `json:"revocation_endpoint"`
	IntrospectionEndpoint  string   `json:"introspection_endpoint"`
	GrantTypes             []string `json:"grant_types_supported"`
	ResponseTypes          []string `json:"response_types_supported"` // required by RFC 8414 §2; empty: no authorization endpoint
	AuthMethods            []string `json:"token_endpoint_auth_methods_supported"`
	AuthAlgorithms         []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	RevocationMethods      []string `json:"revocation_endpoint_auth_methods_supported"`
	RevocationAlgorithms   []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	IntrospectionMethods   []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectionAlgorithm []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	SubjectTypes           []string `json:"subject_types_supported"`
	SigningAlgorithms      []string `json:"id_token_signing_alg_values_supported"` // what signs access tokens
}

// Metadata gives the document as it is now; it changes only when an algorithm begins or ends to sign.
func (s *Server) Metadata() Metadata {
	methods := []string{string(clients.SecretBasic), string(clients.SecretPost), string(clients.PrivateKeyJWT)}
	algorithms := clientjwks.Algorithms()
	signing := []string{}
	for _, alg := range s.cfg.Algorithms() {
		signing = append(signing, string(alg))
	}
	if len(signing) == 0 { // the member must not be empty; this is what the first key will be
		signing = append(signing, string(apis.ES256))
	}
	return Metadata{
		Issuer:                 s.cfg.Issuer,
		TokenEndpoint:          s.cfg.TokenEndpoint,
		JWKSURI:                s.cfg.Issuer + jwksPath,
		RevocationEndpoint:     s.cfg.Issuer + revokePath,
		IntrospectionEndpoint:  s.cfg.Issuer + introspectPath,
		GrantTypes:             []string{grantClientCredentials},
		ResponseTypes:          []string{},
		AuthMethods:            methods,
		AuthAlgorithms:         algorithms,
		RevocationMethods:      methods,
		RevocationAlgorithms:   algorithms,
		IntrospectionMethods:   methods,
		IntrospectionAlgorithm: algorithms,
		SubjectTypes:           []string{"public"},
		SigningAlgorithms:      signing,
	}
}
