package tokens

import "strings"

// IsReserved tells whether a claim name is the server's own, so that no admin may set it as a static claim (RFC 7519 §10.1.1,
// RFC 9068 §2.2). Upper and lower case count as one: many JSON decoders take "Sub" for "sub".
func IsReserved(name string) bool {
	switch strings.ToLower(name) {
	case "iss", "sub", "aud", "exp", "nbf", "iat", "jti": // RFC 7519 §4.1
		return true
	case "client_id", "scope", "scp", "authorization_details": // RFC 8693 §4.2 and §4.3, RFC 9396 §9.1; scp is other makers' scope
		return true
	case "act", "may_act", "cnf", "status": // RFC 8693 §4.1 and §4.4, RFC 7800 §3.1, Token Status List §6.1
		return true
	case "auth_time", "acr", "amr", "azp", "nonce", "sid", "at_hash", "c_hash", "s_hash": // OpenID Connect, RFC 9068 §2.2.1
		return true
	case "events", "toe", "txn", "sub_id", "token_introspection": // RFC 8417 §2.2, RFC 9701 §5: other kinds of JWT
		return true
	case "gen", "bind": // Signet's own
		return true
	case "alg", "kid", "typ", "crit", "jwk", "jku", "cty", "zip", "b64": // header parameters; some libraries merge the two
		return true
	default:
		return false
	}
}
