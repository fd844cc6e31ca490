// Package main is what Signet's speed is measured against: a net/http handler that does the least which a token endpoint
// cannot do without. It parses the form, checks one HMAC and signs a token with golang-jwt, as a hand-written endpoint would.
// It is a benchmark's yardstick and no server to use.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const lifetime = 5 * time.Minute

// endpoint knows one client.
type endpoint struct {
	issuer, clientID string
	pepper           []byte
	digest           []byte // of the client's secret
	key              *ecdsa.PrivateKey
}

type answer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"`
	Scope       string `json:"scope"`
}

// main serves the client whose ID and secret are its arguments, on a free port of 127.0.0.1, and prints the address.
func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want two arguments, client ID and secret; got %d", len(args))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // lives as long as the process
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	e := &endpoint{issuer: "http://" + listener.Addr().String(), clientID: args[0], pepper: []byte(rand.Text()), key: key}
	e.digest = e.sum(args[1])
	mux := http.NewServeMux()
	mux.HandleFunc("POST /oauth2/token", e.token)
	if _, err := fmt.Fprintln(os.Stdout, listener.Addr()); err != nil {
		return fmt.Errorf("print the address: %w", err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	return fmt.Errorf("serve: %w", server.Serve(listener))
}

func (e *endpoint) sum(secret string) []byte {
	mac := hmac.New(sha256.New, e.pepper)
	mac.Write([]byte(secret))
	return mac.Sum(nil)
}

func (e *endpoint) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil || r.PostForm.Get("grant_type") != "client_credentials" {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	id, secret, ok := r.BasicAuth()
	if !ok || id != e.clientID || !hmac.Equal(e.sum(secret), e.digest) {
		http.Error(w, "wrong credentials", http.StatusUnauthorized)
		return
	}
	scope := r.PostForm.Get("scope")
	text, err := e.sign(id, r.PostForm.Get("resource"), scope)
	if err != nil {
		http.Error(w, "cannot sign", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(answer{text, "Bearer", int64(lifetime / time.Second), scope}) //nolint:gosec // the token is the answer
}

// sign makes a token with the same claims as Signet's.
func (e *endpoint) sign(id, audience, scope string) (string, error) {
	var jti [16]byte
	_, _ = rand.Read(jti[:]) // never fails (crypto/rand documents it)
	now := time.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": e.issuer, "sub": id, "client_id": id, "aud": audience, "scope": scope, "iat": now.Unix(),
		"exp": now.Add(lifetime).Unix(), "jti": base64.RawURLEncoding.EncodeToString(jti[:]), "gen": 1,
	})
	token.Header["typ"] = "at+jwt"
	token.Header["kid"] = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
	text, err := token.SignedString(e.key)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return text, nil
}
