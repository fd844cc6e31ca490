package audit

import (
	"maps"
	"slices"
)

// Explanation is what a refusal's reason means to an admin, and what mends it.
type Explanation struct {
	Meaning string
	Remedy  string
}

// Explain translates the reason of a refusal. The second value is false for a reason that is not known.
func Explain(reason string) (Explanation, bool) {
	e, ok := explanations[reason]
	return e, ok
}

// Reasons lists every reason that Explain knows, sorted.
func Reasons() []string { return slices.Sorted(maps.Keys(explanations)) }

const fixRequest = "Mend the request; error_description in the answer says how."

//nolint:gochecknoglobals // a constant table
var explanations = map[string]Explanation{
	// Malformed, whoever sends it.
	"method_not_allowed":   {"The endpoint was called with another HTTP method than POST.", fixRequest},
	"content_type":         {"The body was not application/x-www-form-urlencoded in UTF-8.", fixRequest},
	"body_too_large":       {"The body was larger than 64 KiB.", fixRequest},
	"body_unreadable":      {"The connection broke or stalled while the body was read.", "Look for a proxy or network that cuts connections."},
	"form_malformed":       {"The form has bad percent-encoding, a NUL, invalid UTF-8 or too many parameters.", fixRequest},
	"parameter_repeated":   {"A parameter was sent more than once (RFC 6749 §3.2).", fixRequest},
	"parameter_in_query":   {"A protocol parameter was in the URL, where proxies and histories keep it.", "Send all parameters in the body. If a secret was in the URL, rotate it."},
	"parameter_missing":    {"A required parameter was missing: grant_type at the token endpoint, token at the others.", fixRequest},
	"parameter_invalid":    {"A parameter has a value that it cannot have.", fixRequest},
	"grant_type_unknown":   {"The client asked for a grant that Signet does not do.", "Use grant_type=client_credentials."},
	"authorization_twice":  {"The request has more than one Authorization header.", fixRequest},
	"auth_methods_mixed":   {"The client authenticated in more than one way in one request (RFC 6749 §2.3).", "Send credentials in one place: the Authorization header, or the body."},
	"client_id_differs":    {"client_id in the body is not the client that the credentials are of.", "Leave client_id out, or make it match."},
	"assertion_type":       {"client_assertion and client_assertion_type do not belong together.", "Send both, with the type urn:ietf:params:oauth:client-assertion-type:jwt-bearer."},
	"plain_http":           {"The request came over plain http although TLS is required.", "Use https, and change any secret that was sent in the clear."},
	"not_found":            {"There is nothing at this path.", "See /.well-known/oauth-authorization-server."},
	"unavailable":          {"The server could not reach its database, so it could not know the answer.", "Look at the database; callers may retry as Retry-After says."},
	"internal":             {"A fault of the server.", "Its log has a line with this request ID; please report it."},
	"throttled":            {"Wrong credentials again, after too many failures of this client from this network.", "Find who sends them; right credentials are accepted all the time."},
	"rate_limited":         {"The client gets tokens faster than limits.client_per_second allows.", "Let the client keep a token until it expires, or raise the limit."},
	"assertion_replayed":   {"The client assertion was presented before.", "Make a new assertion, with a new jti, for every request."},
	"token_of_other":       {"The client tried to revoke a token that was issued to another client.", "Revoke it as its own client, or as an admin: signet token revoke."},
	"source_not_allowed":   {"The credentials were right, but the request came from outside the client's networks.", "Check the source address above, and the proxies that are trusted; then signet client update --allow-cidr."},
	"client_without_grant": {"The client is granted nothing, so it cannot get a token.", "signet client update CLIENT --grant 'API=scope'."},

	// Client authentication.
	"credentials_missing":   {"The request had no client credentials.", "Send the client ID and secret by HTTP Basic, or as the client is registered."},
	"auth_scheme":           {"The Authorization header is not of the Basic scheme.", "Use HTTP Basic with client ID and secret."},
	"basic_malformed":       {"The Basic credentials are not base64 of ID:secret.", "Look at how the header is built; beware of line breaks in the base64 text."},
	"secret_malformed":      {"The secret does not have the form of a Signet secret: mistyped, cut off, or another system's.", "Compare its beginning and its last four characters with signet secret list CLIENT."},
	"client_unknown":        {"There is no client with this ID.", "Compare the client ID with signet client list; a deleted client never comes back."},
	"secret_mismatch":       {"The secret is none of this client's.", "Compare the hints of signet secret list CLIENT with the last characters in use; else make a new one with signet secret create."},
	"secret_expired":        {"The secret was right but has expired, perhaps by a rotation.", "Give the caller the newer secret; signet secret list CLIENT shows when each expires."},
	"client_disabled":       {"The credentials were right, but the client is disabled.", "signet client enable CLIENT."},
	"client_expired":        {"The credentials were right, but the client has expired.", "signet client update CLIENT --expires."},
	"auth_method":           {"The credentials were right, but were sent by another method than the client is registered with.", "Send them as registered: signet client show CLIENT."},
	"assertion_malformed":   {"The client assertion is not a compact JWS of at most 16 KiB with a known header.", "Look at the library that signs it."},
	"assertion_alg":         {"The client assertion is signed with an algorithm that is not accepted.", "Use one of token_endpoint_auth_signing_alg_values_supported in the metadata."},
	"assertion_claims":      {"A claim of the client assertion is missing or wrong: iss, sub, aud, exp, iat, nbf or jti.", "iss and sub are the client ID, aud is the issuer alone, exp at most ten minutes ahead; check the caller's clock."},
	"assertion_key_unknown": {"The client has no key that fits the assertion's kid and alg.", "Register the key, or publish it at the client's jwks_uri."},
	"assertion_signature":   {"No key of the client verifies the assertion's signature.", "The caller signs with another key than the registered one."},
	"jwks_unavailable":      {"The client's jwks_uri gave no usable keys.", "See the log for this request ID; private addresses need outbound.allow_cidrs."},
	"jwks_unreachable":      {"The client's jwks_uri gave no answer in two seconds, or a server error; the keys that are kept do not decide. Not counted as a failure.", "Look at the server behind the jwks_uri and the way there; see the log for this client. It is asked again after 30 seconds."},

	// Policy.
	"scope_malformed":    {"scope has characters that RFC 6749 §3.3 does not allow.", fixRequest},
	"scope_not_granted":  {"The client asked for a scope that it is not granted.", "Grant it with signet client update CLIENT --grant, which replaces all that it is granted: repeat what it shall keep (signet client show CLIENT). Or ask for less."},
	"scope_too_much":     {"The scopes asked for, or granted where none were asked for, do not fit into one token.", "Ask for fewer scopes at a time; a client with many scopes needs default scopes for requests that name none."},
	"target_malformed":   {"resource or audience is not an absolute URI without fragment.", fixRequest},
	"target_several":     {"More than one resource or audience was asked for.", "Ask for one token per API."},
	"target_not_granted": {"The client is not granted anything of this API, or there is no such API. Identifiers are compared letter by letter.", "Compare with signet api list and signet client show CLIENT."},
	"target_ambiguous":   {"Nothing says which of the client's APIs is meant.", "Send resource with the API's identifier."},
	"api_disabled":       {"The API is disabled: no new tokens for it.", "signet api update URI --disabled=false."},
}
