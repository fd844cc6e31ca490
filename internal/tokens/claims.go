package tokens

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
)

// Why a token is refused, where golang-jwt does not say it.
var (
	errTooLong    = fmt.Errorf("more than %d bytes", MaxSize)
	errNotCompact = errors.New("not three segments of base64url")
	errHeader     = errors.New("header is not exactly alg, kid and typ")
	errWrongTyp   = errors.New("typ is not that of an access token")
	errWrongAlg   = errors.New("alg is not that of the key")
	errTimes      = errors.New("iat and exp do not go together")
	errFuture     = errors.New("issued in the future")
	errNotJSON    = errors.New("not a JSON object")
	errDuplicate  = errors.New("duplicate member")
	errDepth      = errors.New("nested too deeply")
	errReserved   = errors.New("a reserved claim that this version does not issue")
)

// maxDepth is how deep static claims may nest.
const maxDepth = 32

// fromMap reads the verified claims by their exact names.
func fromMap(m map[string]any) (Claims, error) {
	var c Claims
	for name, field := range map[string]*string{
		"iss": &c.Issuer, "sub": &c.Subject, "client_id": &c.ClientID, "aud": &c.Audience, "scope": &c.Scope, "jti": &c.ID,
	} {
		text, ok := m[name].(string)
		if !ok || text == "" {
			return Claims{}, fmt.Errorf("claim %s is missing or no text", name)
		}
		*field = text
		delete(m, name)
	}
	var issued, expires int64
	for name, field := range map[string]*int64{"iat": &issued, "exp": &expires, "gen": &c.Generation} {
		number, _ := m[name].(json.Number)
		// Digits only: "1e9" and "1.0" are numbers too, but not how this issuer writes them.
		n, err := strconv.ParseInt(number.String(), 10, 64)
		if err != nil {
			return Claims{}, fmt.Errorf("claim %s is missing or no integer", name)
		}
		*field = n
		delete(m, name)
	}
	c.IssuedAt, c.ExpiresAt = time.Unix(issued, 0).UTC(), time.Unix(expires, 0).UTC()
	if len(m) > 0 {
		c.Extra = m
	}
	return c, nil
}

// checkTimes holds what this issuer promises of every token: it was issued before now and lives no longer than the ceiling.
func checkTimes(c Claims, now time.Time) error {
	if c.IssuedAt.After(now.Add(ClockSkew)) {
		return errFuture
	}
	if lifetime := c.ExpiresAt.Sub(c.IssuedAt); lifetime < apis.MinTokenTTL || lifetime > apis.MaxTokenTTL {
		return errTimes
	}
	return nil
}

// checkUnique refuses what JSON parsers read differently: members that occur twice at any level (RFC 7519 §4), more than one
// value, deep nesting.
func checkUnique(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	first, err := decoder.Token()
	if err != nil || first != json.Delim('{') {
		return errNotJSON
	}
	if err := uniqueObject(decoder, 1); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errNotJSON
	}
	return nil
}

// uniqueObject reads the members of an object whose brace was read, and its closing brace.
func uniqueObject(decoder *json.Decoder, depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	seen := map[string]bool{}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return errNotJSON
		}
		text, ok := name.(string)
		if !ok {
			return errNotJSON
		}
		if seen[text] {
			return errDuplicate
		}
		seen[text] = true
		if err := uniqueValue(decoder, depth); err != nil {
			return err
		}
	}
	return closing(decoder)
}

func uniqueValue(decoder *json.Decoder, depth int) error {
	token, err := decoder.Token()
	if err != nil {
		return errNotJSON
	}
	switch token {
	case json.Delim('{'):
		return uniqueObject(decoder, depth+1)
	case json.Delim('['):
		if depth+1 > maxDepth {
			return errDepth
		}
		for decoder.More() {
			if err := uniqueValue(decoder, depth+1); err != nil {
				return err
			}
		}
		return closing(decoder)
	default:
		return nil
	}
}

func closing(decoder *json.Decoder) error {
	if _, err := decoder.Token(); err != nil {
		return errNotJSON
	}
	return nil
}
