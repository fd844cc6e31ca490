package credential_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/credential"
	"github.com/seed-1972b8eb/signet/internal/rootkeys"
)

func TestPepperMatches(t *testing.T) {
	t.Parallel()
	first := rootkeys.Generate()
	both := first.Add()
	old, rotated, foreign := credential.NewPepper(first), credential.NewPepper(both), credential.NewPepper(rootkeys.Generate())
	s, other := credential.New(credential.ClientSecret), credential.New(credential.ClientSecret)
	digest := old.Digest("client_a", s)
	flipped := digest
	flipped.Sum[31] ^= 1
	renumbered := digest
	renumbered.Pepper = 2
	for name, c := range map[string]struct {
		pepper *credential.Pepper
		owner  string
		secret credential.Secret
		digest credential.Digest
		want   bool
		err    error
	}{
		"the secret":                       {old, "client_a", s, digest, true, nil},
		"after the pepper was rotated":     {rotated, "client_a", s, digest, true, nil},
		"another secret":                   {old, "client_a", other, digest, false, nil},
		"another owner":                    {old, "client_b", s, digest, false, nil},
		"no owner":                         {old, "", s, digest, false, nil},
		"another pepper":                   {foreign, "client_a", s, digest, false, nil},
		"one bit of the digest":            {old, "client_a", s, flipped, false, nil},
		"the digest under another version": {rotated, "client_a", s, renumbered, false, nil},
		"a version that is not loaded":     {old, "client_a", s, renumbered, false, credential.ErrUnknownPepper},
		"the zero digest":                  {old, "client_a", s, credential.Digest{}, false, nil},
		"the zero secret":                  {old, "client_a", credential.Secret{}, digest, false, nil},
		"zero secret against its digest":   {old, "", credential.Secret{}, old.Digest("", credential.Secret{}), false, nil},
	} {
		got, err := c.pepper.Matches(c.owner, c.secret, c.digest)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: Matches = %v, %v; want %v, %v", name, got, err, c.want, c.err)
		}
	}
	if v := rotated.Digest("client_a", s).Pepper; v != 2 {
		t.Errorf("a new digest is made under version %d, want the current one, 2", v)
	}
}

// The input of the HMAC is fixed for ever: digests in databases depend on it.
func TestDigestInput(t *testing.T) {
	t.Parallel()
	set := rootkeys.Generate()
	s := credential.New(credential.ClientSecret)
	key := set.Current()
	mac := hmac.New(sha256.New, key.Bytes[:])
	mac.Write([]byte("\x00\x00\x00\x00\x00\x00\x00\x08client_a" + s.Reveal()))
	got := credential.NewPepper(set).Digest("client_a", s)
	if !hmac.Equal(mac.Sum(nil), got.Sum[:]) {
		t.Error("the digest is not HMAC-SHA-256(pepper, len(owner) || owner || text)")
	}
}

func TestDigestText(t *testing.T) {
	t.Parallel()
	d := credential.NewPepper(rootkeys.Generate()).Digest("client_a", credential.New(credential.ClientSecret))
	text := d.Text()
	got, err := credential.ParseDigest(text)
	if err != nil || got != d {
		t.Fatalf("ParseDigest(Text()) = %v, %v", got, err)
	}
	sum := strings.TrimPrefix(text, "v1:")
	for name, bad := range map[string]string{
		"empty": "", "no version": sum, "zero version": "v0:" + sum, "negative": "v-1:" + sum, "leading zero": "v01:" + sum,
		"plus": "v+1:" + sum, "no v": "1:" + sum, "no sum": "v1:", "short": "v1:" + sum[:42], "long": "v1:" + sum + "AA",
		"padding": text + "=", "newline inside": text[:20] + "\n" + text[20:], "space": text + " ", "huge version": "v99999999999999999999:" + sum,
		"last bits set": text[:len(text)-1] + "_", "standard alphabet": "v1:" + strings.Repeat("+", 43), "all zero": "v1:" + strings.Repeat("A", 43),
	} {
		if _, err := credential.ParseDigest(bad); !errors.Is(err, credential.ErrMalformedDigest) {
			t.Errorf("%s: ParseDigest = %v, want ErrMalformedDigest", name, err)
		}
	}
}

func BenchmarkMatches(b *testing.B) {
	p := credential.NewPepper(rootkeys.Generate())
	text := credential.New(credential.ClientSecret).Reveal()
	s, _ := credential.Parse(credential.ClientSecret, text)
	d := p.Digest("client_a", s)
	b.ReportAllocs()
	for b.Loop() {
		s, _ := credential.Parse(credential.ClientSecret, text)
		if ok, err := p.Matches("client_a", s, d); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
