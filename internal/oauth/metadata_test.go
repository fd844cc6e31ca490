package oauth_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMetadata(t *testing.T) {
	t.Parallel()
	b := setup(t)
	text, err := json.Marshal(b.Metadata())
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	methods := []any{"client_secret_basic", "client_secret_post", "private_key_jwt"}
	algs := []any{"ES256", "RS256", "PS256", "EdDSA", "Ed25519"}
	want := map[string]any{ // all of it: what is not here is not claimed (MET-11)
		"issuer":                                issuer, // MET-03
		"token_endpoint":                        issuer + "/oauth2/token",
		"jwks_uri":                              issuer + "/.well-known/jwks.json",
		"revocation_endpoint":                   issuer + "/oauth2/revoke",
		"introspection_endpoint":                issuer + "/oauth2/introspect",
		"grant_types_supported":                 []any{"client_credentials"}, // MET-05
		"response_types_supported":              []any{},                     // MET-04
		"token_endpoint_auth_methods_supported": methods,
		"token_endpoint_auth_signing_alg_values_supported":         algs, // MET-06
		"revocation_endpoint_auth_methods_supported":               methods,
		"revocation_endpoint_auth_signing_alg_values_supported":    algs, // MET-07
		"introspection_endpoint_auth_methods_supported":            methods,
		"introspection_endpoint_auth_signing_alg_values_supported": algs,
		"subject_types_supported":                                  []any{"public"},
		"id_token_signing_alg_values_supported":                    []any{"ES256"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
