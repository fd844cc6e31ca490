package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// clockLeeway is how far the issuer's clock may be ahead of ours.
const clockLeeway = time.Minute

// tokenCheck is one check of a token.
type tokenCheck struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// verifyToken makes every check that a resource server makes (RFC 9068 §4), also after one has failed, so that the user
// sees all that is wrong. What the token says is printed as JSON text: it may be anybody's.
func verifyToken(text, issuer, audience string, keys *jose.JSONWebKeySet) []tokenCheck {
	token, claims, err := readToken(text)
	if err != nil {
		return []tokenCheck{{Check: "format", Detail: err.Error()}}
	}
	now := time.Now()
	return []tokenCheck{
		checkSignature(text, token, keys),
		checkTyp(token),
		equals("iss", claims["iss"], issuer),
		checkAudience(claims["aud"], audience),
		checkExpiry(claims["exp"], now),
		checkIssued(claims["iat"], now),
		checkScope(claims["scope"]),
	}
}

func readToken(text string) (*jwt.Token, jwt.MapClaims, error) {
	claims := jwt.MapClaims{}
	token, _, err := jwt.NewParser(jwt.WithJSONNumber()).ParseUnverified(text, claims)
	if err != nil {
		return nil, nil, errors.New("this is no JWT: three parts of base64url, with dots between them")
	}
	return token, claims, nil
}

// checkSignature takes the algorithm from the key and not from the token (RFC 8725 §3.1).
func checkSignature(text string, token *jwt.Token, keys *jose.JSONWebKeySet) tokenCheck {
	c := tokenCheck{Check: "signature"}
	kid, ok := token.Header["kid"].(string)
	if !ok {
		c.Detail = "the token names no kid"
		return c
	}
	found := keys.Key(kid)
	if len(found) != 1 {
		c.Detail = fmt.Sprintf("the issuer publishes no key with kid %q", kid)
		return c
	}
	alg := found[0].Algorithm
	method := jwt.GetSigningMethod(alg)
	if method == nil || strings.HasPrefix(alg, "HS") || alg == "none" {
		c.Detail = fmt.Sprintf("key %q is for algorithm %q, which this program does not know", kid, alg)
		return c
	}
	if said := token.Header["alg"]; said != alg {
		c.Detail = fmt.Sprintf("the token says %s, its key is for %s", plainJSON(said), alg)
		return c
	}
	dot := strings.LastIndexByte(text, '.')
	signature, err := base64.RawURLEncoding.Strict().DecodeString(text[dot+1:])
	if err != nil || method.Verify(text[:dot], signature, found[0].Key) != nil {
		c.Detail = "does not match the key " + kid
		return c
	}
	c.OK, c.Detail = true, alg+" by key "+kid
	return c
}

// checkTyp holds RFC 9068 §4; JWT is for APIs that were set up with it.
func checkTyp(token *jwt.Token) tokenCheck {
	typ, _ := token.Header["typ"].(string)
	ok := strings.EqualFold(typ, "at+jwt") || strings.EqualFold(typ, "application/at+jwt") || typ == "JWT"
	return tokenCheck{Check: "typ", OK: ok, Detail: plainJSON(token.Header["typ"])}
}

func equals(name string, got any, want string) tokenCheck {
	c := tokenCheck{Check: name, OK: got == want, Detail: plainJSON(got)}
	if !c.OK {
		c.Detail += ", want " + plainJSON(want)
	}
	return c
}

// checkAudience accepts the string and the array form (RFC 7519 §4.1.3).
func checkAudience(aud any, want string) tokenCheck {
	c := tokenCheck{Check: "aud", Detail: plainJSON(aud)}
	var all []any
	switch v := aud.(type) {
	case string:
		all = []any{v}
	case []any:
		all = v
	}
	for _, one := range all {
		text, ok := one.(string)
		if ok && text != "" && (want == "" || text == want) {
			c.OK = true
		}
	}
	if !c.OK && want != "" {
		c.Detail += ", want " + plainJSON(want)
	}
	return c
}

func checkExpiry(exp any, now time.Time) tokenCheck {
	at, ok := numericDate(exp)
	c := tokenCheck{Check: "exp", OK: ok && now.Before(at)}
	switch {
	case !ok:
		c.Detail = plainJSON(exp) + " is no time"
	case c.OK:
		c.Detail = fmt.Sprintf("%s, in %s", when(at), at.Sub(now).Round(time.Second))
	default:
		c.Detail = fmt.Sprintf("%s, %s ago", when(at), now.Sub(at).Round(time.Second))
	}
	return c
}

func checkIssued(iat any, now time.Time) tokenCheck {
	at, ok := numericDate(iat)
	c := tokenCheck{Check: "iat", OK: ok && !at.After(now.Add(clockLeeway)), Detail: when(at)}
	if !ok {
		c.Detail = plainJSON(iat) + " is no time"
	} else if !c.OK {
		c.Detail += " is in the future"
	}
	return c
}

func checkScope(scope any) tokenCheck {
	text, ok := scope.(string)
	return tokenCheck{Check: "scope", OK: ok && strings.TrimSpace(text) != "", Detail: plainJSON(scope)}
}

// numericDate reads RFC 7519 §2 NumericDate.
func numericDate(v any) (time.Time, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return time.Time{}, false
	}
	f, err := n.Float64()
	if err != nil || f < 0 || f > 1<<40 {
		return time.Time{}, false
	}
	return time.Unix(int64(f), 0).UTC(), true
}

// plainJSON writes a value so that it cannot steer a terminal; what is not there is "missing".
func plainJSON(v any) string {
	if v == nil {
		return "missing"
	}
	text, err := json.Marshal(v)
	if err != nil {
		return "unreadable"
	}
	return printable(string(text))
}

// printable escapes what is no visible character; JSON leaves C1 controls as they are.
func printable(text string) string {
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
