package admin

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"

	"github.com/seed-1972b8eb/signet/internal/apis"
)

// algOf is the algorithm that a key to import is for, where the request leaves it open: each kind of key has one. What it
// cannot tell is given to the default's import, which refuses it and names why.
func algOf(text []byte) apis.Alg {
	text = bytes.TrimSpace(text)
	if bytes.HasPrefix(text, []byte("{")) {
		return algOfJWK(text)
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "RSA PRIVATE KEY":
			return apis.RS256
		case "PRIVATE KEY":
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return apis.ES256
			}
			switch key.(type) {
			case *rsa.PrivateKey:
				return apis.RS256
			case ed25519.PrivateKey:
				return apis.EdDSA
			}
			return apis.ES256
		}
	}
	return apis.ES256
}

func algOfJWK(text []byte) apis.Alg {
	var jwk struct {
		Kty string `json:"kty"`
		Alg string `json:"alg"`
	}
	if json.Unmarshal(text, &jwk) != nil {
		return apis.ES256
	}
	switch {
	case apis.Alg(jwk.Alg).Valid():
		return apis.Alg(jwk.Alg)
	case jwk.Kty == "RSA":
		return apis.RS256
	case jwk.Kty == "OKP":
		return apis.EdDSA
	}
	return apis.ES256
}
