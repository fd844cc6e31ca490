package credential_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/credential"
)

func TestNewHasTheDocumentedForm(t *testing.T) {
	t.Parallel()
	for kind, form := range map[credential.Kind]string{
		credential.ClientSecret: `^signet_cs_[0-9A-Za-z]{61}$`,
		credential.APIToken:     `^signet_at_[0-9A-Za-z]{61}$`,
	} {
		s := credential.New(kind)
		text := s.Reveal()
		if !regexp.MustCompile(form).MatchString(text) {
			t.Errorf("%s: the text does not match %s", kind, form)
		}
		if want := text[len("signet_") : len("signet_")+15]; s.ID() != want {
			t.Errorf("%s: ID = %q, want %q", kind, s.ID(), want)
		}
		if want := text[len(text)-4:]; s.Hint() != want {
			t.Errorf("%s: Hint = %q, want %q", kind, s.Hint(), want)
		}
	}
}

func TestNewNeverRepeats(t *testing.T) {
	t.Parallel()
	texts, ids := map[string]bool{}, map[string]bool{}
	const n = 10_000
	for range n {
		s := credential.New(credential.ClientSecret)
		texts[s.Reveal()], ids[s.ID()] = true, true
	}
	if len(texts) != n || len(ids) != n {
		t.Errorf("%d texts and %d IDs of %d are different", len(texts), len(ids), n)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	// Fixed, so that a change of the form is seen: secrets that are out there must stay readable.
	const fixed = "signet_cs_000000000000" + "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg" + "34gZKp"
	good := credential.New(credential.ClientSecret).Reveal()
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"fixed":                  {fixed, true},
		"fresh":                  {good, true},
		"empty":                  {"", false},
		"prefix only":            {"signet_cs_", false},
		"other kind":             {credential.New(credential.APIToken).Reveal(), false},
		"other kind's prefix":    {"signet_at_" + good[10:], false},
		"upper-case prefix":      {"SIGNET_cs_" + good[10:], false},
		"one character short":    {good[:len(good)-1], false},
		"one character more":     {good + "0", false},
		"space before":           {" " + good, false},
		"newline after":          {good + "\n", false},
		"wrong checksum":         {fixed[:len(fixed)-1] + "n", false},
		"not Base62":             {"signet_cs_" + strings.Repeat("-", 61), false},
		"percent sign":           {good[:20] + "%" + good[21:], false},
		"NUL":                    {good[:20] + "\x00" + good[21:], false},
		"letter of another code": {good[:20] + "é" + good[22:], false},
	} {
		s, err := credential.Parse(credential.ClientSecret, c.text)
		if c.ok != (err == nil) || err != nil && !errors.Is(err, credential.ErrMalformed) {
			t.Errorf("%s: Parse = %v, want ok = %v", name, err, c.ok)
		}
		if c.ok && s.Reveal() != c.text {
			t.Errorf("%s: the text did not come back", name)
		}
	}
}

// Every typing error in one place is caught, and every swap of two neighbours (CRC-32 finds all bursts up to 32 bits).
func TestParseCatchesTypos(t *testing.T) {
	t.Parallel()
	good := credential.New(credential.ClientSecret).Reveal()
	for i := len("signet_cs_"); i < len(good); i++ {
		for _, c := range []byte("0Zz") {
			if typo := good[:i] + string(c) + good[i+1:]; typo != good {
				if _, err := credential.Parse(credential.ClientSecret, typo); err == nil {
					t.Errorf("a wrong character at %d was not noticed", i)
				}
			}
		}
		if i+1 < len(good) && good[i] != good[i+1] {
			swapped := good[:i] + string(good[i+1]) + string(good[i]) + good[i+2:]
			if _, err := credential.Parse(credential.ClientSecret, swapped); err == nil {
				t.Errorf("two swapped characters at %d were not noticed", i)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(credential.New(credential.ClientSecret).Reveal())
	f.Add("signet_cs_")
	f.Add("signet_cs_" + strings.Repeat("z", 61))
	f.Fuzz(func(t *testing.T, text string) {
		s, err := credential.Parse(credential.ClientSecret, text)
		if err != nil {
			if s.Reveal() != "" || s.ID() != "" || s.Hint() != "" {
				t.Fatal("a refused text came back")
			}
			return
		}
		if s.Reveal() != text || len(s.ID()) != 15 || len(s.Hint()) != 4 {
			t.Fatal("an accepted text did not come back")
		}
	})
}

func TestParseAllocatesLittle(t *testing.T) {
	text := credential.New(credential.ClientSecret).Reveal()
	flood := strings.Repeat("z", 1<<20)
	allocs := testing.AllocsPerRun(100, func() {
		_, _ = credential.Parse(credential.ClientSecret, text)
		_, _ = credential.Parse(credential.ClientSecret, flood)
	})
	if allocs > 4 {
		t.Errorf("%v allocations", allocs)
	}
}

// chi-squared over 62 characters: 61 degrees of freedom, 99.9999 % below 133. Taking bytes modulo 62 gives thousands.
func TestBase62IsUnbiased(t *testing.T) {
	t.Parallel()
	const n = 620_000
	counts := map[rune]int{}
	for _, c := range credential.Base62(n) {
		counts[c]++
	}
	if len(counts) != 62 {
		t.Fatalf("%d different characters, want 62", len(counts))
	}
	var chi float64
	for _, got := range counts {
		d := float64(got) - n/62
		chi += d * d / (n / 62)
	}
	if chi > 133 {
		t.Errorf("chi-squared is %.0f", chi)
	}
	for _, length := range []int{0, 1, 20} {
		if got := len(credential.Base62(length)); got != length {
			t.Errorf("Base62(%d) has %d characters", length, got)
		}
	}
}
