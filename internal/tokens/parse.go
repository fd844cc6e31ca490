package tokens

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/keys"
)

// ClockSkew is how far the clocks of replicas may differ: a token may have been issued that far in the future.
const ClockSkew = time.Minute

// Parse reads a token of this issuer back and verifies it: form, type, key, signature, issuer, times. The error is always
// ErrInvalid, wrapped with the reason; the reason quotes nothing of the token. A token counts until the second of its exp,
// without leeway (RFC 7519 §4.1.4): this is the clock that set it.
func (i *Issuer) Parse(text string, now time.Time) (Claims, error) {
	c, err := i.parse(text, now)
	if err != nil {
		return Claims{}, err
	}
	for name := range c.Extra {
		// A claim that a newer version gave a meaning to (a key that the token is bound to, say) must not be lost here.
		if IsReserved(name) {
			return Claims{}, invalid(errReserved)
		}
	}
	return c, nil
}

// parse is Parse but for claims that a newer version issues: they are in Extra, which must not be handed on with them.
func (i *Issuer) parse(text string, now time.Time) (Claims, error) {
	// 1. Form, before anything is decoded or allocated (RFC 7515 §7.1: compact serialisation only).
	head, body, err := split(text)
	if err != nil {
		return Claims{}, invalid(err)
	}
	// 2. Header: exactly the three parameters that this issuer writes, so there is no crit, jwk, jku, x5c or b64 to obey.
	h, err := parseHeader(head)
	if err != nil {
		return Claims{}, invalid(err)
	}
	// 3. Key: the kid names one of ours, and the key's own algorithm is the token's (RFC 8725 §3.1).
	key, ok := i.ring.Public(h.KID)
	if !ok {
		return Claims{}, invalid(ErrUnknownKey)
	}
	if key.Alg != h.Alg {
		return Claims{}, invalid(errWrongAlg)
	}
	// 4. Signature, exp and iss.
	claims := jwt.MapClaims{}
	if err := i.verify(text, claims, key.Key, key.Alg, now); err != nil {
		return Claims{}, invalid(err)
	}
	// 5. Claims: all there, of the right type, and none twice.
	if err := checkUnique(body); err != nil {
		return Claims{}, invalid(fmt.Errorf("claims: %w", err))
	}
	c, err := fromMap(claims)
	if err != nil {
		return Claims{}, invalid(err)
	}
	if err := checkTimes(c, now); err != nil {
		return Claims{}, invalid(err)
	}
	c.KID, c.Typ, c.Alg = h.KID, string(h.Typ), string(h.Alg)
	return c, nil
}

// ParseFresh is Parse for callers whose answer must not depend on how lately this process has read the keys: a token under a
// key that it does not know makes it read them again first, because another replica may have made the key a moment ago. An
// error that is not ErrInvalid means that the answer cannot be known now.
func (i *Issuer) ParseFresh(ctx context.Context, text string, now time.Time) (Claims, error) {
	began := time.Now()
	c, err := i.Parse(text, now)
	if !errors.Is(err, ErrUnknownKey) {
		return c, err
	}
	refreshed := i.ring.Refresh(ctx, began)
	if c, err = i.Parse(text, now); errors.Is(err, ErrUnknownKey) && conceals(refreshed, text) {
		return Claims{}, fmt.Errorf("look for the key of a token: %w", refreshed)
	}
	return c, err
}

// ParseIssued is Parse whatever the clock says: it judges the token by the moment at which it was issued, or begins. It is for taking
// back, which must not go by one clock: a token that has expired by this one, or lies in its future, may count for a replica
// whose clock differs, or here once the clock is set right. Nor does it go by what this version knows: a token with a claim that
// a newer one gave a meaning to counts for a replica that runs that, and can be taken back here.
func (i *Issuer) ParseIssued(text string) (Claims, error) {
	claims := jwt.MapClaims{}
	if _, _, err := split(text); err != nil {
		return Claims{}, invalid(err)
	}
	if _, _, err := jwt.NewParser().ParseUnverified(text, claims); err != nil { // only for a moment to judge it by
		return Claims{}, invalid(errNotJSON)
	}
	issued, err := claims.GetIssuedAt()
	if err != nil || issued == nil {
		return Claims{}, invalid(errTimes)
	}
	at := issued.Time
	if begins, err := claims.GetNotBefore(); err == nil && begins != nil && begins.After(at) {
		at = begins.Time // no token of this version has one
	}
	c, err := i.parse(text, at)
	c.Extra = nil // may hold what IsReserved, and who takes back needs none of it
	return c, err
}

// conceals tells whether a Refresh that ended so leaves open what the key of a well-formed token is. Keys that cannot be
// unsealed leave it open for their own tokens only: the ring knows the names of all others.
func conceals(refreshed error, text string) bool {
	unusable, ok := errors.AsType[*keys.UnusableError](refreshed)
	if !ok {
		return refreshed != nil
	}
	head, _, err := split(text)
	if err != nil {
		return false
	}
	h, err := parseHeader(head)
	return err == nil && unusable.Names(h.KID)
}

func invalid(cause error) error { return fmt.Errorf("%w: %w", ErrInvalid, cause) }

// split checks size, alphabet and the number of segments, and decodes the first two.
func split(text string) ([]byte, []byte, error) {
	if len(text) > MaxSize {
		return nil, nil, errTooLong
	}
	if strings.Count(text, ".") != 2 {
		return nil, nil, errNotCompact
	}
	for j := range len(text) {
		if c := text[j]; c != '.' && !isBase64URL(c) {
			return nil, nil, errNotCompact
		}
	}
	head, rest, _ := strings.Cut(text, ".")
	body, _, _ := strings.Cut(rest, ".")
	decoder := base64.RawURLEncoding.Strict()
	h, err := decoder.DecodeString(head)
	if err != nil {
		return nil, nil, errNotCompact
	}
	b, err := decoder.DecodeString(body)
	if err != nil {
		return nil, nil, errNotCompact
	}
	return h, b, nil
}

func isBase64URL(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

func parseHeader(text []byte) (header, error) {
	if err := checkUnique(text); err != nil {
		return header{}, fmt.Errorf("header: %w", err)
	}
	// A map, because names of struct fields would match in any case.
	var params map[string]string
	if err := json.Unmarshal(text, &params); err != nil {
		return header{}, errHeader
	}
	h := header{Alg: apis.Alg(params["alg"]), KID: params["kid"], Typ: apis.Typ(params["typ"])}
	if len(params) != 3 || h.Alg == "" || h.KID == "" {
		return header{}, errHeader
	}
	if h.Typ != apis.TypAccessToken && h.Typ != apis.TypJWT { // other kinds of JWT by the same key (RFC 8725 §3.12)
		return header{}, errWrongTyp
	}
	return h, nil
}

// verify lets golang-jwt check signature, exp and iss. It is handed the one method and the one key that are left. A signature
// that was good before is not checked again: the text is the same, and so is the key that it names.
func (i *Issuer) verify(text string, claims jwt.MapClaims, key crypto.PublicKey, alg apis.Alg, now time.Time) error {
	options := []jwt.ParserOption{
		jwt.WithValidMethods([]string{string(alg)}),
		jwt.WithStrictDecoding(), // a changed last character must not make a second spelling of the same token
		jwt.WithJSONNumber(),
		jwt.WithIssuer(i.name),
		jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(func() time.Time { return now }),
	}
	if i.verified.has(text) {
		if _, _, err := jwt.NewParser(options...).ParseUnverified(text, claims); err != nil {
			return err
		}
		return jwt.NewValidator(options...).Validate(claims)
	}
	_, err := jwt.NewParser(options...).ParseWithClaims(text, claims, func(*jwt.Token) (any, error) { return key, nil })
	if err == nil {
		i.verified.add(text)
	}
	return err
}
