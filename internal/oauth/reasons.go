package oauth

// Reason says what exactly was wrong with a refused request, in one word that stays the same between releases. Callers of
// the protocol never see it; metrics are labelled with it and "signet explain" translates it.
type Reason string

// Reasons of requests that are malformed, whoever sends them.
const (
	ReasonMethod          Reason = "method_not_allowed"   // not POST
	ReasonContentType     Reason = "content_type"         // not application/x-www-form-urlencoded in UTF-8
	ReasonBodyTooLarge    Reason = "body_too_large"       // more than MaxBody bytes
	ReasonBodyUnreadable  Reason = "body_unreadable"      // the connection broke or timed out
	ReasonFormMalformed   Reason = "form_malformed"       // bad percent-encoding, NUL, invalid UTF-8, too many parameters
	ReasonParamRepeated   Reason = "parameter_repeated"   // RFC 6749 §3.2
	ReasonParamInQuery    Reason = "parameter_in_query"   // a protocol parameter in the URL, where proxies log it
	ReasonParamMissing    Reason = "parameter_missing"    // grant_type or token
	ReasonParamInvalid    Reason = "parameter_invalid"    // expires_in, request, request_uri
	ReasonGrantType       Reason = "grant_type_unknown"   // a grant that Signet does not do
	ReasonAuthRepeated    Reason = "authorization_twice"  // more than one Authorization header
	ReasonMethodsMixed    Reason = "auth_methods_mixed"   // more than one way of client authentication (RFC 6749 §2.3)
	ReasonClientIDDiffers Reason = "client_id_differs"    // client_id is another client than the credentials are of
	ReasonAssertionType   Reason = "assertion_type"       // client_assertion and client_assertion_type do not belong together
	ReasonUnavailable     Reason = "unavailable"          // the answer cannot be known now
	ReasonInternal        Reason = "internal"             // a fault of the server
	ReasonThrottled       Reason = "throttled"            // wrong credentials again, after too many failures
	ReasonRate            Reason = "rate_limited"         // more tokens than an operator lets one client have
	ReasonAssertionReplay Reason = "assertion_replayed"   // this "jti" was used before
	ReasonForeignToken    Reason = "token_of_other"       // revocation of a token that was issued to another client
	ReasonNotAllowedFrom  Reason = "source_not_allowed"   // right credentials from outside the client's networks
	ReasonNoGrants        Reason = "client_without_grant" // client_credentials by a client that is granted nothing
)

// Reasons of failed client authentication. All of them but the first two, ReasonAuthMethod and the claim checks of an
// assertion look the same to the caller.
const (
	ReasonNoCredentials   Reason = "credentials_missing"   // neither Authorization header nor credentials in the body
	ReasonAuthScheme      Reason = "auth_scheme"           // an Authorization header that is not Basic
	ReasonBasicMalformed  Reason = "basic_malformed"       // not base64, no colon, bad form-encoding
	ReasonSecretMalformed Reason = "secret_malformed"      // not the form of a Signet secret: mistyped or cut off
	ReasonClientUnknown   Reason = "client_unknown"        // no such client
	ReasonSecretMismatch  Reason = "secret_mismatch"       // not a secret of this client
	ReasonSecretExpired   Reason = "secret_expired"        // right, but past its expiry
	ReasonClientDisabled  Reason = "client_disabled"       // right credentials of a disabled client
	ReasonClientExpired   Reason = "client_expired"        // right credentials of a client past its expiry
	ReasonAuthMethod      Reason = "auth_method"           // right credentials by another method than the client's own
	ReasonAssertionForm   Reason = "assertion_malformed"   // not a compact JWS of bounded size and known header
	ReasonAssertionAlg    Reason = "assertion_alg"         // an algorithm that is not accepted
	ReasonAssertionClaims Reason = "assertion_claims"      // iss, sub, aud, exp, iat, nbf or jti is missing or wrong
	ReasonAssertionKey    Reason = "assertion_key_unknown" // the client has no key that fits "kid" and "alg"
	ReasonAssertionSig    Reason = "assertion_signature"   // no fitting key verifies the signature
	ReasonJWKSUnavailable Reason = "jwks_unavailable"      // the client's jwks_uri gave no usable keys
	ReasonJWKSUnreachable Reason = "jwks_unreachable"      // the client's jwks_uri gave no answer, or said that it is in trouble: 503
)

// Reasons of policy: the client is who it says, but may not have what it asks for.
const (
	ReasonScopeMalformed  Reason = "scope_malformed"   // RFC 6749 §3.3
	ReasonScopeNotGranted Reason = "scope_not_granted" // a scope that the client does not hold for the API
	ReasonScopeTooMuch    Reason = "scope_too_much"    // the scopes do not fit into one token
	ReasonTargetMalformed Reason = "target_malformed"  // resource is no absolute URI without fragment (RFC 8707 §2)
	ReasonTargetSeveral   Reason = "target_several"    // more than one resource or audience
	ReasonTargetNotGrant  Reason = "target_not_granted"
	ReasonTargetAmbiguous Reason = "target_ambiguous" // nothing says which of the client's APIs is meant
	ReasonAPIDisabled     Reason = "api_disabled"
)

// Reasons of an inactive token, in an Introspection.
const (
	ReasonTokenInvalid Reason = "token_invalid"   // malformed, foreign, expired or wrongly signed
	ReasonTokenUnseen  Reason = "token_not_yours" // live or not, this caller may not see it
	ReasonTokenRevoked Reason = "token_revoked"   // taken back, by itself or by a cut-off
)
