package attacks

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
	"testing"
)

// search finds any of many secrets in a text, in one pass over it.
type search struct {
	first  []bool              // by hash of four bytes: may a needle begin so?
	anchor map[string][]needle // by the first bytes of a needle
}

type needle struct{ text, form, secret string }

const (
	anchorLen = 12
	shortest  = 16 // bytes; what is shorter is no secret of ours and would be found by chance
)

func newSearch(secrets ...string) *search {
	s := &search{first: make([]bool, 1<<20), anchor: map[string][]needle{}}
	seen := map[string]bool{}
	for _, secret := range secrets {
		if len(secret) < shortest || seen[secret] {
			continue
		}
		seen[secret] = true
		s.add(secret, "as it is", secret)
		s.add(hex.EncodeToString([]byte(secret)), "in hexadecimal", secret)
		if escaped := url.QueryEscape(secret); escaped != secret {
			s.add(escaped, "URL-encoded", secret)
		}
		for shift := range 3 { // base64 of something that the secret is a part of looks different at each position
			padded := append(bytes.Repeat([]byte{0}, shift), secret...)
			standard := base64.RawStdEncoding.EncodeToString(padded)
			standard = standard[4 : len(standard)-4]
			s.add(standard, "in base64", secret)
			if safe := strings.NewReplacer("+", "-", "/", "_").Replace(standard); safe != standard {
				s.add(safe, "in base64url", secret)
			}
		}
	}
	return s
}

func (s *search) add(text, form, secret string) {
	s.first[hash(text)] = true
	s.anchor[text[:anchorLen]] = append(s.anchor[text[:anchorLen]], needle{text, form, secret})
}

func hash(text string) uint32 {
	return (uint32(text[0]) | uint32(text[1])<<8 | uint32(text[2])<<16 | uint32(text[3])<<24) * 2654435761 >> 12
}

// in gives the secrets that the text has, each once, with the form that they have there.
func (s *search) in(text string) map[string]string {
	found := map[string]string{}
	for i := 0; i+anchorLen <= len(text); i++ {
		if !s.first[hash(text[i:i+4])] {
			continue
		}
		for _, n := range s.anchor[text[i:i+anchorLen]] {
			if strings.HasPrefix(text[i:], n.text) {
				found[n.secret] = n.form
			}
		}
	}
	return found
}

// TestSearch shows that the search of all rows finds what it looks for.
func TestSearch(t *testing.T) {
	t.Parallel()
	const secret, other = "signet_cs_0123456789abcdef/+?", "another secret of some length"
	s := newSearch("short", secret, other)
	for form, text := range map[string]string{
		"as it is":       "x" + secret,
		"in hexadecimal": "x" + hex.EncodeToString([]byte("ab"+secret)),
		"URL-encoded":    "client_secret=" + url.QueryEscape(secret),
		"in base64":      base64.StdEncoding.EncodeToString([]byte("client_0123456:" + secret)),
	} {
		if got := s.in(text); got[secret] != form || len(got) != 1 {
			t.Errorf("%s: found %v", form, got)
		}
	}
	if got := s.in("a text with short words, and signet_cs_0123456789abcdef without its end"); len(got) != 0 {
		t.Errorf("found %v", got)
	}
}
