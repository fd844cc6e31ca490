package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/seed-1972b8eb/signet/internal/apis"
)

// maxImport is in bytes; an RSA key of 4096 bits takes 3.3 KiB.
const maxImport = 32 << 10

// parsePrivate reads a private key for an algorithm from PEM (PKCS #8, PKCS #1, SEC 1) or a JWK. Errors are ErrInvalid with the
// reason; they never quote the text.
func parsePrivate(text []byte, alg apis.Alg) (crypto.Signer, error) {
	if len(text) > maxImport {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrInvalid, maxImport)
	}
	parse := parsePEM
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		parse = parseJWK
	}
	private, err := parse(text, alg)
	if err != nil {
		return nil, err
	}
	if err := fits(alg, private.Public()); err != nil {
		return nil, err
	}
	if err := sound(private); err != nil {
		return nil, err
	}
	return private, nil
}

func parsePEM(text []byte, _ apis.Alg) (crypto.Signer, error) {
	var block *pem.Block
	for rest := text; ; {
		var next *pem.Block
		next, rest = pem.Decode(rest)
		if next == nil {
			break
		}
		if next.Type == "EC PARAMETERS" { // openssl ecparam -genkey writes them before the key
			continue
		}
		if block != nil {
			return nil, fmt.Errorf("%w: more than one PEM block", ErrInvalid)
		}
		block = next
	}
	if block == nil {
		return nil, fmt.Errorf("%w: neither PEM nor a JWK", ErrInvalid)
	}
	defer clear(block.Bytes)
	if _, ok := block.Headers["DEK-Info"]; ok || block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["Proc-Type"] != "" {
		return nil, fmt.Errorf("%w: the key is encrypted; decrypt it first", ErrInvalid)
	}
	var private any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		private, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		private, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		private, err = x509.ParseECPrivateKey(block.Bytes)
	case "PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE":
		return nil, fmt.Errorf("%w: only a public key, a private one is wanted", ErrInvalid)
	default:
		return nil, fmt.Errorf("%w: PEM type is none of PRIVATE KEY, RSA PRIVATE KEY, EC PRIVATE KEY", ErrInvalid)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the PEM block holds no sound key", ErrInvalid) // the parser's error may quote numbers
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: a key of type %T does not sign", ErrInvalid, private)
	}
	return signer, nil
}

func parseJWK(text []byte, alg apis.Alg) (crypto.Signer, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, fmt.Errorf("%w: not JSON", ErrInvalid)
	}
	if _, ok := members["keys"]; ok {
		return nil, fmt.Errorf("%w: a JWK set, one JWK is wanted", ErrInvalid)
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(text); err != nil {
		return nil, fmt.Errorf("%w: no sound JWK", ErrInvalid) // the parser's error may quote numbers
	}
	if jwk.Use != "" && jwk.Use != "sig" {
		return nil, fmt.Errorf(`%w: the JWK's "use" is not "sig"`, ErrInvalid) // RFC 7517 §4.2
	}
	if jwk.Algorithm != "" && jwk.Algorithm != string(alg) {
		return nil, fmt.Errorf(`%w: the JWK's "alg" is not %s`, ErrInvalid, alg)
	}
	if jwk.IsPublic() {
		return nil, fmt.Errorf("%w: only a public key, a private one is wanted", ErrInvalid)
	}
	signer, ok := jwk.Key.(crypto.Signer)
	if !ok {
		kty := strings.TrimPrefix(fmt.Sprintf("%T", jwk.Key), "*")
		return nil, fmt.Errorf("%w: a JWK of type %s does not sign", ErrInvalid, kty)
	}
	return signer, nil
}

// sound tells whether the private key belongs to its public key and is not weak. A JWK names both, and a mismatch would
// sign tokens that nobody verifies.
func sound(private crypto.Signer) error {
	switch key := private.(type) {
	case *ecdsa.PrivateKey:
		text, err := key.Bytes()
		if err != nil {
			return fmt.Errorf("%w: the private number is out of range", ErrInvalid)
		}
		defer clear(text)
		derived, err := ecdsa.ParseRawPrivateKey(key.Curve, text)
		if err != nil || !derived.PublicKey.Equal(&key.PublicKey) {
			return fmt.Errorf("%w: private and public part do not belong together", ErrInvalid)
		}
		return nil
	case ed25519.PrivateKey:
		return nil // both parsers make it from the seed, and compare
	case *rsa.PrivateKey:
		return checkRSAPrivate(key)
	default:
		return fmt.Errorf("%w: keys of type %T are not supported", ErrInvalid, private)
	}
}
