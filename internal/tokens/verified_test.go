package tokens_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/tokens"
)

// TestParseAgain: a token whose signature was good before reads the same, its times and its key count each time, and nothing
// else is believed because of it.
func TestParseAgain(t *testing.T) {
	t.Parallel()
	issuer, d := newIssuer(t, apis.ES256)
	token := forge(t, d, apis.ES256, goodHeader, goodClaims)
	first, err := issuer.Parse(token, duringLife())
	if err != nil {
		t.Fatal(err)
	}
	again, err := issuer.Parse(token, duringLife())
	if err != nil || cmp.Diff(first, again) != "" {
		t.Errorf("Parse = %v, %s", err, cmp.Diff(first, again))
	}
	_, err = issuer.Parse(token, first.ExpiresAt)
	refused(t, "at exp", err, "expired")
	_, err = issuer.Parse(token, first.IssuedAt.Add(-2*tokens.ClockSkew))
	refused(t, "before iat", err, "future")

	for i := range token {
		changed := []byte(token)
		changed[i] ^= 1
		if _, err := issuer.Parse(string(changed), duringLife()); err == nil {
			t.Fatalf("the lowest bit of byte %d makes no difference", i)
		}
	}
	cut := strings.LastIndexByte(token, '.') + 1
	other := forge(t, d, apis.ES256, goodHeader, strings.Replace(goodClaims, "read", "write", 1))
	swapped := token[:cut] + other[strings.LastIndexByte(other, '.')+1:]
	for range 2 { // what was refused is not remembered either
		_, err = issuer.Parse(swapped, duringLife())
		refused(t, "the signature of another token", err, "signature")
	}

	kid := first.KID
	if _, err := d.manager.Compromise(t.Context(), audit.System(), kid, "test"); err != nil {
		t.Fatal(err)
	}
	if err := d.ring.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = issuer.Parse(token, duringLife())
	refused(t, "a compromised key", err, "unknown key")
}

// TestVerifiedIsBounded: what is remembered takes the same memory however many tokens there are, and what is asked for stays.
func TestVerifiedIsBounded(t *testing.T) {
	t.Parallel()
	v, asked := tokens.NewVerified(), "asked for again and again"
	v.Add(asked)
	for i := range 20 * tokens.VerifiedKept {
		v.Add(fmt.Sprint(i))
		if i%(tokens.VerifiedKept/2) == 0 && !v.Has(asked) {
			t.Fatalf("forgotten after %d others", i)
		}
	}
	if n := v.Len(); n < tokens.VerifiedKept || n > 2*tokens.VerifiedKept {
		t.Errorf("%d are remembered, want %d and twice that at most", n, tokens.VerifiedKept)
	}
	if v.Has("0") || !v.Has(fmt.Sprint(20*tokens.VerifiedKept-1)) || v.Has("never") {
		t.Error("the oldest is remembered, or the newest is not, or one that never was")
	}
}
