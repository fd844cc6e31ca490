package tokens_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
)

// A16: no single changed bit survives, wherever it is.
func TestParseBitFlips(t *testing.T) {
	t.Parallel()
	issuer, _ := newIssuer(t, apis.EdDSA)
	now := time.Now()
	token, _, err := issuer.Issue(now, someClaims(now), apis.EdDSA, apis.TypAccessToken)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(token) {
		for bit := range 8 {
			flipped := []byte(token)
			flipped[i] ^= 1 << bit
			if _, err := issuer.Parse(string(flipped), now); err == nil {
				t.Fatalf("bit %d of byte %d makes no difference", bit, i)
			}
		}
	}
	for range 2000 { // and some changes of several bytes
		changed := []byte(token)
		for range 1 + rand.IntN(4) {
			changed[rand.IntN(len(changed))] = "ABCxyz019-_."[rand.IntN(12)]
		}
		if _, err := issuer.Parse(string(changed), now); err == nil && string(changed) != token {
			t.Fatal("a changed token was accepted")
		}
	}
}

// FuzzParse looks for a panic, and for a text that is accepted though nobody signed it.
func FuzzParse(f *testing.F) {
	issuer, d := newIssuer(f, apis.ES256, apis.EdDSA)
	now := time.Unix(1772362900, 0)
	good := forge(f, d, apis.ES256, goodHeader, goodClaims)
	other := forge(f, d, apis.EdDSA, strings.Replace(goodHeader, "ES256", "EdDSA", 1), strings.Replace(goodClaims, "{", `{"x":[{}],`, 1))
	f.Add(good)
	f.Add(other)
	f.Add(good + ".")
	f.Add("..")
	f.Add(b64(`{"alg":"none","kid":"x","typ":"at+jwt"}`) + "." + b64(goodClaims) + ".")
	f.Add(b64(goodHeader) + "." + b64("[[[[") + ".AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		_, err := issuer.Parse(text, now)
		_, errIssued := issuer.ParseIssued(text)
		if (err == nil || errIssued == nil) && text != good && text != other {
			t.Fatal("accepted what nobody signed")
		}
	})
}
