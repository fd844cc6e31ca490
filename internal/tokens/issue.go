package tokens

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/seed-1972b8eb/signet/internal/apis"
)

// header is the JOSE header (RFC 7515 §4.1), without anything that a verifier could be led astray by.
type header struct {
	Alg apis.Alg `json:"alg"`
	KID string   `json:"kid"`
	Typ apis.Typ `json:"typ"`
}

// payload is the claims set (RFC 9068 §2.2). Static claims are appended to it.
type payload struct {
	Issuer     string `json:"iss"`
	Subject    string `json:"sub"`
	ClientID   string `json:"client_id"`
	Audience   string `json:"aud"`
	Scope      string `json:"scope"`
	IssuedAt   int64  `json:"iat"`
	ExpiresAt  int64  `json:"exp"`
	ID         string `json:"jti"`
	Generation int64  `json:"gen"`
}

// Issue signs an access token and returns it with its claims as signed: it sets Issuer, IssuedAt, ID and what is from the header,
// and cuts times to whole seconds. The caller sets the rest. An error that wraps keys.ErrNoActiveKey means that nothing
// signs with the algorithm now, ErrTooLarge that there are too many claims; any other is a claim that must not be signed.
func (i *Issuer) Issue(now time.Time, c Claims, alg apis.Alg, typ apis.Typ) (string, Claims, error) {
	c.Issuer = i.name
	c.IssuedAt = now.UTC().Truncate(time.Second)
	c.ExpiresAt = c.ExpiresAt.UTC().Truncate(time.Second)
	c.ID = newID()
	if err := issuable(c, typ); err != nil {
		return "", Claims{}, fmt.Errorf("issue access token: %w", err)
	}
	signer, err := i.ring.Sign(alg)
	if err != nil {
		return "", Claims{}, fmt.Errorf("issue access token: %w", err)
	}
	c.KID, c.Typ, c.Alg = signer.KID, string(typ), string(alg)
	input, err := signingInput(header{Alg: alg, KID: signer.KID, Typ: typ}, c)
	if err != nil {
		return "", Claims{}, fmt.Errorf("issue access token: %w", err)
	}
	signature, err := signer.Signature(input)
	if err != nil {
		return "", Claims{}, fmt.Errorf("issue access token: %w", err)
	}
	token := base64.RawURLEncoding.AppendEncode(append(input, '.'), signature)
	if len(token) > MaxSize {
		return "", Claims{}, fmt.Errorf("issue access token: %w: %d bytes, at most %d", ErrTooLarge, len(token), MaxSize)
	}
	return string(token), c, nil
}

// issuable refuses what Parse would not read back, and what no policy may let through.
func issuable(c Claims, typ apis.Typ) error {
	if typ != apis.TypAccessToken && typ != apis.TypJWT {
		return fmt.Errorf("unknown type %q", typ)
	}
	for _, text := range []string{c.Subject, c.ClientID, c.Audience, c.Scope} {
		// JSON would replace invalid UTF-8, and the verifier compare something that was never granted.
		if text == "" || !utf8.ValidString(text) {
			return errors.New("sub, client_id, aud and scope must be text, and not empty")
		}
	}
	if lifetime := c.ExpiresAt.Sub(c.IssuedAt); lifetime < apis.MinTokenTTL || lifetime > apis.MaxTokenTTL {
		return fmt.Errorf("lifetime %s is not between %s and %s", lifetime, apis.MinTokenTTL, apis.MaxTokenTTL)
	}
	if c.Generation < 1 {
		return fmt.Errorf("generation %d, the first is 1", c.Generation)
	}
	for name := range c.Extra {
		if IsReserved(name) || name == "" || !utf8.ValidString(name) {
			return fmt.Errorf("static claim %q has a reserved or unusable name", name)
		}
	}
	return nil
}

// signingInput returns base64url(header) "." base64url(claims) (RFC 7515 §5.1), with room for the signature of ES256.
func signingInput(h header, c Claims) ([]byte, error) {
	head, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(payload{
		Issuer: c.Issuer, Subject: c.Subject, ClientID: c.ClientID, Audience: c.Audience, Scope: c.Scope,
		IssuedAt: c.IssuedAt.Unix(), ExpiresAt: c.ExpiresAt.Unix(), ID: c.ID, Generation: c.Generation,
	})
	if err != nil {
		return nil, err
	}
	if len(c.Extra) > 0 {
		extra, err := marshalStatic(c.Extra)
		if err != nil {
			return nil, fmt.Errorf("static claims: %w", err)
		}
		// Two JSON objects made one: names cannot repeat, because all of payload's are reserved.
		body = append(bytes.TrimSuffix(body, []byte("}")), ',')
		body = append(body, extra[1:]...)
	}
	b64 := base64.RawURLEncoding
	input := make([]byte, 0, b64.EncodedLen(len(head))+b64.EncodedLen(len(body))+2+b64.EncodedLen(64))
	input = b64.AppendEncode(input, head)
	input = append(input, '.')
	return b64.AppendEncode(input, body), nil
}

// CheckStatic says whether static claims can be signed as far as their values are concerned: they are JSON that Parse would
// read back. Names are for IsReserved.
func CheckStatic(claims map[string]any) error {
	if len(claims) == 0 {
		return nil
	}
	_, err := marshalStatic(claims)
	return err
}

func marshalStatic(claims map[string]any) ([]byte, error) {
	text, err := json.Marshal(claims)
	if err != nil {
		return nil, err
	}
	return text, checkUnique(text)
}

// newID returns a jti of nearly 128 random bits (RFC 7519 §4.1.7). It never begins with "-": on a command line that would be a
// flag.
func newID() string {
	var b [16]byte
	for {
		_, _ = rand.Read(b[:]) // never fails (crypto/rand documents it)
		if id := base64.RawURLEncoding.EncodeToString(b[:]); id[0] != '-' {
			return id
		}
	}
}
