package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

const someIssuer = "https://auth.example.com"

// signed makes a token with a header and claims that a test changed.
func signed(t *testing.T, key *ecdsa.PrivateKey, change func(header map[string]any, claims jwt.MapClaims)) string {
	t.Helper()
	now := time.Now()
	claims := jwt.MapClaims{
		"iss": someIssuer, "aud": "https://api.example.com", "exp": now.Add(time.Minute).Unix(), "iat": now.Unix(), "scope": "read",
	}
	token := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	token.Header["typ"], token.Header["kid"] = "at+jwt", "k"
	change(token.Header, claims)
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestEachCheckFailsAlone(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	keys := &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"},
		{Key: other.Public(), KeyID: "rsa", Algorithm: "RS256", Use: "sig"},
		{Key: []byte("hmac"), KeyID: "h", Algorithm: "HS256"},
		{Key: key.Public(), KeyID: "twice", Algorithm: "ES256"},
		{Key: key.Public(), KeyID: "twice", Algorithm: "ES256"},
	}}
	set := func(name string, value any) func(map[string]any, jwt.MapClaims) {
		return func(_ map[string]any, c jwt.MapClaims) { c[name] = value }
	}
	header := func(name string, value any) func(map[string]any, jwt.MapClaims) {
		return func(h map[string]any, _ jwt.MapClaims) { h[name] = value }
	}
	// Subtests wait for those before them, so times count from when one runs.
	at := func(name string, offset time.Duration) func(map[string]any, jwt.MapClaims) {
		return func(_ map[string]any, c jwt.MapClaims) { c[name] = time.Now().Add(offset).Unix() }
	}
	tests := []struct {
		name   string
		change func(map[string]any, jwt.MapClaims)
		failed string // the one check that fails; empty for none
	}{
		{"good", func(map[string]any, jwt.MapClaims) {}, ""},
		{"audience in a list", set("aud", []string{"https://a.example", "https://api.example.com"}), ""},
		{"plain typ", header("typ", "JWT"), ""},
		{"typ with its prefix", header("typ", "application/AT+JWT"), ""},
		{"clock a little ahead", at("iat", 30*time.Second), ""},
		{"another key", header("kid", "rsa"), "signature"},
		{"key of an HMAC", header("kid", "h"), "signature"},
		{"unknown key", header("kid", "x"), "signature"},
		{"key that is there twice", header("kid", "twice"), "signature"},
		{"kid that is no text", header("kid", 7), "signature"},
		{"typ of an ID token", header("typ", "id+jwt"), "typ"},
		{"no typ", func(h map[string]any, _ jwt.MapClaims) { delete(h, "typ") }, "typ"},
		{"another issuer", set("iss", someIssuer+"/"), "iss"},
		{"issuer that is no text", set("iss", []string{someIssuer}), "iss"},
		{"another audience", set("aud", "https://api.example.com/"), "aud"},
		{"no audience", func(_ map[string]any, c jwt.MapClaims) { delete(c, "aud") }, "aud"},
		{"empty audience", set("aud", []string{}), "aud"},
		{"expired", at("exp", -time.Second), "exp"},
		{"no expiry", func(_ map[string]any, c jwt.MapClaims) { delete(c, "exp") }, "exp"},
		{"expiry as text", set("exp", "9999999999"), "exp"},
		{"expiry beyond time", set("exp", 1e300), "exp"},
		{"issued in the future", at("iat", 2*time.Minute), "iat"},
		{"no time of issue", func(_ map[string]any, c jwt.MapClaims) { delete(c, "iat") }, "iat"},
		{"no scope", func(_ map[string]any, c jwt.MapClaims) { delete(c, "scope") }, "scope"},
		{"scope in a list", set("scope", []string{"read"}), "scope"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			checks := verifyToken(signed(t, key, tt.change), someIssuer, "https://api.example.com", keys)
			if len(checks) != 7 {
				t.Errorf("%d checks, want all 7", len(checks))
			}
			var failed []string
			for _, c := range checks {
				if !c.OK {
					failed = append(failed, c.Check)
				}
			}
			if got := strings.Join(failed, " "); got != tt.failed {
				t.Errorf("failed %q, want %q", got, tt.failed)
			}
		})
	}
	good := signed(t, key, func(map[string]any, jwt.MapClaims) {})
	for name, text := range map[string]string{"cut": good[:len(good)-4], "longer": good + "AAAA", "other payload": strings.Replace(good, ".", ".e", 1)} {
		if checks := verifyToken(text, someIssuer, "", keys); checks[0].OK {
			t.Errorf("%s token: %s is ok", name, checks[0].Check)
		}
	}
}

// TestNoTextSteersTheTerminal prints what strangers wrote: nothing but visible characters may come out.
func TestNoTextSteersTheTerminal(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"\x1b[2J", "\u009b2J", "a\r\nb", "\u202eabc", "\x7f"} {
		for _, out := range []string{plainJSON(text), printable(text)} {
			for _, r := range out {
				if r < ' ' || r >= 0x7f {
					t.Errorf("%q is printed as %q", text, out)
				}
			}
		}
	}
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	var says string
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/tenant":
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":"https://keys.example.com"}`, says)
		case "/.well-known/oauth-authorization-server/moved":
			http.Redirect(w, r, "/.well-known/oauth-authorization-server", http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(ts.Close)
	for _, path := range []string{"", "/tenant"} { // RFC 8414 §3.1: the path goes after the well-known part
		says = ts.URL + path
		if uri, err := discoverKeys(t.Context(), says); err != nil || uri != "https://keys.example.com" {
			t.Errorf("%q: %q, %v", path, uri, err)
		}
	}
	says = "https://another.example.com"
	for name, issuer := range map[string]string{
		"metadata of another issuer": ts.URL, "redirect": ts.URL + "/moved", "not there": ts.URL + "/none", "http beyond loopback": "http://auth.example.com",
		"query": ts.URL + "?a", "file": "file:///etc/passwd", "nothing": "x",
	} {
		if uri, err := discoverKeys(t.Context(), issuer); err == nil {
			t.Errorf("%s: found %q", name, uri)
		}
	}
}
