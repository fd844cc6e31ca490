package oauth

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-1972b8eb/signet/internal/clientjwks"
	"github.com/seed-1972b8eb/signet/internal/clients"
)

// Bounds of a client assertion (RFC 7523 §3).
const (
	maxAssertion     = 16 << 10         // bytes
	maxAssertionLife = 10 * time.Minute // how far "exp" may lie ahead and "iat" behind
	assertionSkew    = 30 * time.Second // how far "iat" and "nbf" may lie ahead; "exp" has no leeway
	replayMargin     = time.Minute      // how long a "jti" is kept past "exp", for replicas whose clocks differ
)

// assertion is a client assertion whose form and claims are right. Its signature is not verified yet.
type assertion struct {
	alg, kid  string
	clientID  string // "iss" and "sub"
	jti       string
	expires   time.Time
	signed    string // header and claims as they were signed
	signature []byte
}

// byAssertion authenticates by private_key_jwt (RFC 7523 §2.2, OpenID Connect Core §9).
func (s *Server) byAssertion(ctx context.Context, ip netip.Addr, p *presented) (*caller, assertion, error) {
	now := time.Now()
	// What is wrong with the assertion itself says nothing about any client, so the caller is told exactly.
	a, reason, wrong := readAssertion(p.assertion, s.cfg.Issuer, now)
	if reason == "" && p.clientID != "" && p.clientID != a.clientID {
		reason, wrong = ReasonClientIDDiffers, "client_id differs from 'sub'" // RFC 7521 §4.2
	}
	if reason != "" {
		return nil, a, s.challenge(reason, "client_assertion: "+wrong)
	}
	p.clientID = a.clientID
	client, err := s.identify(ctx, ip, *p, func(c *clients.Client) verdict { return s.judgeAssertion(ctx, c, a, now) })
	if err != nil {
		return nil, a, err
	}
	return &caller{client: client, method: clients.PrivateKeyJWT}, a, nil
}

// judgeAssertion verifies at least one signature, whatever it is given.
func (s *Server) judgeAssertion(ctx context.Context, c *clients.Client, a assertion, now time.Time) verdict {
	method := methodOf(a.alg)
	reject := func(reason Reason) verdict {
		_ = method.Verify(a.signed, a.signature, s.decoyKey[a.alg]) // spends the time only: no signature is of that key
		return verdict{reason: reason}
	}
	if c == nil {
		return reject(ReasonClientUnknown)
	}
	if c.AuthMethod != clients.PrivateKeyJWT {
		return reject(ReasonAuthMethod)
	}
	candidates, err := s.keys.candidates(ctx, c, a.kid, a.alg)
	for _, key := range candidates {
		if method.Verify(a.signed, a.signature, key) == nil {
			return standing(c, clients.PrivateKeyJWT, now)
		}
	}
	away, isAway := errors.AsType[*unreachableError](err)
	switch {
	case isAway:
		spent := reject("")
		spent.trouble = keysAway(away)
		return spent
	case err != nil:
		return reject(ReasonJWKSUnavailable)
	case len(candidates) == 0:
		return reject(ReasonAssertionKey)
	default:
		return verdict{reason: ReasonAssertionSig}
	}
}

// keysAway is the answer while the keys of a client cannot be had. Whether the assertion is right is not known, so it is not called wrong
// and counts as no failure (DESIGN.md §8).
func keysAway(cause *unreachableError) *Error {
	e := refuse(http.StatusServiceUnavailable, CodeTemporarilyUnavailable, ReasonJWKSUnreachable,
		"the client's jwks_uri does not answer, so the assertion could not be judged; retry as Retry-After says, with a new 'jti'")
	e.RetryAfter, e.cause = cause.retryAfter, cause
	return e
}

// spend uses the assertion up: of all requests that bear it, on all replicas, one gets through.
func (s *Server) spend(ctx context.Context, clientID string, a assertion) error {
	err := s.cfg.Assertions.Use(ctx, clientID, a.jti, a.expires.Add(replayMargin))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, clients.ErrReplayed):
		return s.challenge(ReasonAssertionReplay, "client_assertion: it was used before; make a new one with a new 'jti' for each request")
	default:
		return unavailable(err)
	}
}

// methodOf gives the signature method of an accepted algorithm, nil for all others: no HMAC, no "none". "Ed25519" is the
// name that RFC 9864 gives to what golang-jwt knows as "EdDSA".
func methodOf(alg string) jwt.SigningMethod {
	switch alg {
	case clientjwks.ES256:
		return jwt.SigningMethodES256
	case clientjwks.RS256:
		return jwt.SigningMethodRS256
	case clientjwks.PS256:
		return jwt.SigningMethodPS256
	case clientjwks.EdDSA, clientjwks.Ed25519:
		return jwt.SigningMethodEdDSA
	default:
		return nil
	}
}

// readAssertion checks all of an assertion that can be checked without knowing the client. A reason that is not empty comes
// with what is wrong in words for the caller.
func readAssertion(text, issuer string, now time.Time) (assertion, Reason, string) {
	var a assertion
	// Size and segments first: nothing is decoded of what cannot be a compact JWS (ATTACKS A1, H1, H5).
	if len(text) > maxAssertion || strings.Count(text, ".") != 2 || strings.ContainsAny(text, "\r\n") { // base64 decoders skip line ends
		return a, ReasonAssertionForm, "not a compact JWS of at most 16384 bytes"
	}
	parser := jwt.NewParser(jwt.WithStrictDecoding())
	claims := jwt.MapClaims{} // a map, because structs would take "EXP" for "exp"
	token, parts, err := parser.ParseUnverified(text, claims)
	if err != nil && !errors.Is(err, jwt.ErrTokenUnverifiable) { // that one: golang-jwt does not know the name of the algorithm
		return a, ReasonAssertionForm, "not a JWT: bad base64url or JSON"
	}
	if a.signature, err = parser.DecodeSegment(parts[2]); err != nil {
		return a, ReasonAssertionForm, "not a JWT: bad base64url"
	}
	a.signed = text[:len(parts[0])+1+len(parts[1])]
	if reason, wrong := a.readHeader(token.Header); reason != "" {
		return a, reason, wrong
	}
	if wrong := a.readClaims(claims, issuer, now); wrong != "" {
		return a, ReasonAssertionClaims, wrong
	}
	return a, "", ""
}

// readHeader takes the algorithm and the kid, and refuses what would change their meaning: extensions (RFC 7515 §4.1.11),
// keys and places of keys that the header itself names, and the types of other JWTs (RFC 8725 §3.10, §3.12).
func (a *assertion) readHeader(header map[string]any) (Reason, string) {
	for _, name := range []string{"crit", "b64", "zip", "enc", "jwk", "jku", "x5u", "x5c"} {
		if _, has := header[name]; has {
			return ReasonAssertionForm, "header member '" + name + "' is not accepted"
		}
	}
	var ok bool
	if a.alg, ok = header["alg"].(string); !ok || methodOf(a.alg) == nil {
		return ReasonAssertionAlg, "'alg' must be one of " + strings.Join(clientjwks.Algorithms(), ", ")
	}
	if kid, has := header["kid"]; has {
		if a.kid, ok = kid.(string); !ok || a.kid == "" {
			return ReasonAssertionForm, "'kid' must be a string"
		}
	}
	if typ, has := header["typ"]; has {
		text, ok := typ.(string)
		text = strings.TrimPrefix(strings.ToLower(text), "application/")
		if !ok || !slices.Contains([]string{"jwt", "client-authentication+jwt"}, text) {
			return ReasonAssertionForm, "'typ' must be client-authentication+jwt, JWT or absent"
		}
	}
	return "", ""
}

// readClaims says what is wrong with the claims, if anything. It holds RFC 7523 §3 as draft-ietf-oauth-rfc7523bis §4 narrows it: "aud" is this issuer and nothing else.
func (a *assertion) readClaims(claims jwt.MapClaims, issuer string, now time.Time) string {
	iss, _ := claims["iss"].(string)
	sub, _ := claims["sub"].(string)
	if iss == "" || iss != sub {
		return "'iss' and 'sub' must both be the client_id"
	}
	if !isAudience(claims["aud"], issuer) {
		return "'aud' must be " + issuer + " and nothing else"
	}
	jti, _ := claims["jti"].(string)
	if jti == "" {
		return "'jti' is missing"
	}
	exp, ok := claims["exp"].(float64)
	switch at := seconds(now); {
	case !ok:
		return "'exp' is missing or not a number"
	case exp <= at:
		return "it has expired; is the clock right?"
	case exp > at+maxAssertionLife.Seconds():
		return "'exp' lies more than 10 minutes ahead"
	}
	if wrong := checkIssued(claims, seconds(now)); wrong != "" {
		return wrong
	}
	a.clientID, a.jti, a.expires = sub, jti, time.Unix(int64(math.Ceil(exp)), 0)
	return ""
}

// checkIssued judges "iat", which is required here so that nobody can make assertions in advance, and "nbf" if it is there.
func checkIssued(claims jwt.MapClaims, at float64) string {
	iat, ok := claims["iat"].(float64)
	switch {
	case !ok:
		return "'iat' is missing or not a number"
	case iat > at+assertionSkew.Seconds():
		return "'iat' lies in the future; is the clock right?"
	case iat < at-maxAssertionLife.Seconds():
		return "'iat' lies more than 10 minutes back"
	}
	if value, has := claims["nbf"]; has {
		nbf, ok := value.(float64)
		if !ok || nbf > at+assertionSkew.Seconds() {
			return "'nbf' lies in the future or is not a number"
		}
	}
	return ""
}

// isAudience compares byte for byte: the issuer as a string, or as the one element of an array. A second audience would let
// another server use the assertion here (ATTACKS E1).
func isAudience(aud any, issuer string) bool {
	if list, ok := aud.([]any); ok && len(list) == 1 {
		aud = list[0]
	}
	return aud == issuer
}

func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }
