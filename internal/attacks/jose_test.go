package attacks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// This file forges: it writes JWTs by hand, because a library would refuse to write most of what is needed.

type object map[string]any

// with is the object with some members replaced; one that is nil goes.
func (o object) with(members object) object {
	out := object{}
	for _, from := range []object{o, members} {
		for name, value := range from {
			out[name] = value
			if value == nil {
				delete(out, name)
			}
		}
	}
	return out
}

func b64[T string | []byte](x T) string { return base64.RawURLEncoding.EncodeToString([]byte(x)) }

// unb64 decodes what b64 has encoded.
func unb64(t testing.TB, text string) []byte {
	t.Helper()
	out, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// text writes a part of a JWT: a string as it is, all else as JSON.
func text(part any) string {
	if s, ok := part.(string); ok {
		return s
	}
	out, err := json.Marshal(part)
	if err != nil {
		panic(err) // a mistake in the table of a row
	}
	return string(out)
}

// signingKey is a private key and what its JWTs say of it.
type signingKey struct {
	alg, kid string
	private  crypto.Signer
}

// jwt signs a header and claims, each an object or raw text.
func (k signingKey) jwt(header, claims any) string {
	input := b64(text(header)) + "." + b64(text(claims))
	return input + "." + b64(k.sign(input))
}

// sign is the JWS signature of an input (RFC 7518 §3).
func (k signingKey) sign(input string) []byte {
	digest := sha256.Sum256([]byte(input))
	var signature []byte
	var err error
	switch private := k.private.(type) {
	case *ecdsa.PrivateKey:
		r, s, failed := ecdsa.Sign(rand.Reader, private, digest[:])
		if err = failed; err == nil {
			signature = rawSignature(r, s)
		}
	case ed25519.PrivateKey:
		signature = ed25519.Sign(private, []byte(input))
	case *rsa.PrivateKey:
		if k.alg == "PS256" {
			signature, err = rsa.SignPSS(rand.Reader, private, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			signature, err = rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA256, digest[:])
		}
	}
	if err != nil {
		panic(err)
	}
	return signature
}

func rawSignature(r, s *big.Int) []byte {
	out := make([]byte, 64)
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return out
}

// hs256 signs with a secret of the attacker's choice.
func hs256(secret []byte, header, claims any) string {
	input := b64(text(header)) + "." + b64(text(claims))
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(input))
	return input + "." + b64(mac.Sum(nil))
}

// modulus is that of an RSA key.
func (o object) modulus() string {
	s, _ := o["n"].(string)
	return s
}

// jwk is the public half, as a client registers it.
func (k signingKey) jwk() object {
	out := object{"use": "sig"}
	if k.kid != "" {
		out["kid"] = k.kid
	}
	switch public := k.private.Public().(type) {
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if err != nil {
			panic(err)
		}
		return out.with(object{"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])})
	case ed25519.PublicKey:
		return out.with(object{"kty": "OKP", "crv": "Ed25519", "x": b64([]byte(public))})
	case *rsa.PublicKey:
		return out.with(object{"kty": "RSA", "n": b64(public.N.Bytes()), "e": "AQAB"})
	default:
		panic("no such kind of key")
	}
}

func jwks(keys ...object) json.RawMessage { return json.RawMessage(text(object{"keys": keys})) }

// newES256 makes a key of a client or of an attacker.
func newES256(t testing.TB, kid string) signingKey {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signingKey{alg: "ES256", kid: kid, private: private}
}

// newRS256 gives the one RSA key of the package: they take long to make.
func newRS256(t testing.TB, kid string) signingKey {
	t.Helper()
	private, err := rsaKey()
	if err != nil {
		t.Fatal(err)
	}
	return signingKey{alg: "RS256", kid: kid, private: private}
}

var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// machine is a client that authenticates by private_key_jwt.
type machine struct {
	id     string
	key    signingKey
	issuer string
}

// machine registers a client with a key.
func (a *attempt) machine(key signingKey, change ...func(*adminapi.NewClient)) machine {
	a.Helper()
	c := a.client(append([]func(*adminapi.NewClient){func(n *adminapi.NewClient) {
		n.AuthMethod, n.JWKS = "private_key_jwt", jwks(key.jwk())
	}}, change...)...)
	return machine{id: c.id, key: key, issuer: a.Issuer}
}

// header is that of a right assertion.
func (m machine) header() object {
	out := object{"alg": m.key.alg, "typ": "client-authentication+jwt"}
	if m.key.kid != "" {
		out["kid"] = m.key.kid
	}
	return out
}

// claims are those of a right assertion, new each time.
func (m machine) claims() object {
	now := time.Now().Unix()
	return object{"iss": m.id, "sub": m.id, "aud": m.issuer, "iat": now, "exp": now + 60, "jti": rand.Text()}
}

// assertion is a right one with some of its claims replaced.
func (m machine) assertion(claims object) string {
	return m.key.jwt(m.header(), m.claims().with(claims))
}

// present asks for a token with an assertion.
func (a *attempt) present(assertion string, pairs ...string) answer {
	a.Helper()
	return a.send(request{path: "/oauth2/token", form: servertest.Form(append([]string{
		"grant_type", "client_credentials", "client_assertion", assertion,
		"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
	}, pairs...)...)})
}

// wantDenied checks that an assertion authenticates nobody.
func (a *attempt) wantDenied(what, assertion string) {
	a.Helper()
	a.want(what, a.present(assertion), 401, "invalid_client")
}

// wantUndecided presents an assertion to a server that cannot have the client's keys: it says so, and calls nobody wrong.
func (a *attempt) wantUndecided(what, assertion string) {
	a.Helper()
	a.want(what, a.present(assertion), 503, "temporarily_unavailable")
}

// wantAccepted checks the control of a row: what is right is accepted, so that what is refused is refused for its fault.
func (a *attempt) wantAccepted(what, assertion string) {
	a.Helper()
	r := a.present(assertion)
	a.remember(r.text("access_token"))
	if r.status != 200 {
		a.Errorf("%s: %d %s (%s)", what, r.status, r.body, r.reason)
	}
}

// perfect is the header and the claims of a token that the server would have issued to the good client: the rows change one
// thing, and sign it with a key of the server's.
func (a *attempt) perfect() (object, object) {
	now := time.Now().Unix()
	return object{"alg": a.forge.alg, "kid": a.forge.kid, "typ": "at+jwt"},
		object{
			"iss": a.Issuer, "sub": a.good.id, "client_id": a.good.id, "aud": ordersAPI, "scope": "read", "iat": now, "exp": now + 300,
			"jti": rand.Text(), "gen": 1,
		}
}

// wantForgeryWorks is the control of rows that use perfect: without a fault, it is a token like any other.
func (a *attempt) wantForgeryWorks() {
	a.Helper()
	header, claims := a.perfect()
	if !a.active(a.watch, a.forge.jwt(header, claims)) {
		a.Error("the control of this row fails: a perfectly forged token is not active, so nothing is shown by a refusal")
	}
}

// forged is perfect with changes, signed with the server's key.
func (a *attempt) forged(header, claims object) string {
	h, c := a.perfect()
	return a.forge.jwt(h.with(header), c.with(claims))
}

// flip changes one bit of a text.
func flip(text string, bit int) string {
	out := []byte(text)
	out[bit/8] ^= 1 << (bit % 8)
	return string(out)
}

// parts are the three segments of a compact JWS: header, payload, signature.
func parts(token string) (string, string, string) {
	s := strings.Split(token, ".")
	return s[0], s[1], s[2]
}

// malleate gives the second ECDSA signature that everybody can make of a first: (r, n-s).
func malleate(t testing.TB, token string) string {
	t.Helper()
	cut := strings.LastIndex(token, ".") + 1
	raw := unb64(t, token[cut:])
	s := new(big.Int).Sub(elliptic.P256().Params().N, new(big.Int).SetBytes(raw[32:]))
	return token[:cut] + b64(rawSignature(new(big.Int).SetBytes(raw[:32]), s))
}
