// Package interop runs other people's clients and verifiers, unchanged, against the real binary: x/oauth2, go-oidc, jwx and
// curl here, and jose, openid-client and express-oauth2-jwt-bearer from the folder node.
package interop
