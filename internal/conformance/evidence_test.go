package conformance_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"sync"
)

// evidence remembers everything secret that the suite has sent or got, and finds it in texts. Safe for concurrent use.
type evidence struct {
	mu     sync.Mutex
	whole  map[string]bool   // to look for as it is
	pieces map[string]string // what must not stand in a text as a word -> what it is
}

func newEvidence() *evidence { return &evidence{whole: map[string]bool{}, pieces: map[string]string{}} }

// add remembers secrets, assertions and tokens: the text, the parts of a JWT that hold its claims and its signature, and the
// hash that some systems log in place of a secret.
func (e *evidence) add(secrets ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, secret := range secrets {
		if len(secret) < 20 || len(secret) > 16<<10 || e.whole[secret] {
			continue
		}
		e.whole[secret] = true
		sum := sha256.Sum256([]byte(secret))
		e.pieces[hex.EncodeToString(sum[:])] = "SHA-256 of a secret in hex"
		e.pieces[base64.RawURLEncoding.EncodeToString(sum[:])] = "SHA-256 of a secret in base64url"
		if segments := strings.Split(secret, "."); len(segments) == 3 {
			e.pieces[segments[1]], e.pieces[segments[2]] = "claims of a JWT", "signature of a JWT"
		} else {
			e.pieces[secret] = "a secret"
		}
	}
}

func (e *evidence) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.whole)
}

// find names what of the evidence stands in a text: each word of it is looked up, and a sample is searched for as it is,
// should a secret stand inside a longer word.
func (e *evidence) find(text string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	found := map[string]bool{}
	for _, word := range strings.FieldsFunc(text, func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-'
		return !letter
	}) {
		if what, hit := e.pieces[word]; hit && len(word) >= 20 {
			found[what] = true
		}
	}
	sample := 0
	for secret := range e.whole {
		if sample++; sample > 200 {
			break
		}
		if strings.Contains(text, secret) {
			found["a secret inside a word"] = true
		}
	}
	var out []string
	for what := range found {
		out = append(out, what)
	}
	return out
}
