// Package credential owns the text form of the secrets that Signet makes (client secrets, and API tokens when they come),
// and the keyed digest under which they are stored. Who a credential belongs to, and whether it still counts, is for the
// packages clients and apitokens to say.
//
// The form is
//
//	signet_<kind>_<ID: 12 Base62><secret: 43 Base62><CRC32: 6 Base62>
//
// one double-click word of letters, digits and "_", so that form-encoding it changes nothing (RFC 6749 appendix B).
// The secret part carries 256 random bits. The checksum lets a scanner or the server tell a typo from a secret without any
// look-up; it protects nothing.
package credential

import (
	"errors"
	"hash/crc32"
	"strings"
)

// Kind says what a credential is for; it is part of its text.
type Kind string

// The kinds of credential.
const (
	ClientSecret Kind = "cs"
	APIToken     Kind = "at"
)

// The parts of the text form, in characters.
const (
	brand       = "signet_"
	idLen       = 12
	secretLen   = 43 // 62^43 > 2^256
	checksumLen = 6  // 62^6 > 2^32
	bodyLen     = idLen + secretLen
	hintLen     = 4
)

// ErrMalformed means that a text is not a credential of the wanted kind: wrong prefix, length, alphabet or checksum.
var ErrMalformed = errors.New("malformed credential")

// Secret is a credential in the clear. It prints as "[redacted]" however it is printed; Reveal is the one way out.
// The zero Secret is no credential: nothing matches it.
type Secret struct {
	// A pointer, because fmt cannot call Format on an unexported field of somebody else's struct: there it prints an
	// address. It also makes == useless, and secrets are never compared with ==.
	text *string
}

// New makes a credential of the kind from the system's random source, which cannot fail.
func New(k Kind) Secret {
	body := prefix(k) + Base62(bodyLen)
	text := body + checksum(body)
	return Secret{text: &text}
}

// Parse reads the text form back. The error is always ErrMalformed and never tells what the text was.
func Parse(k Kind, text string) (Secret, error) {
	p := prefix(k)
	if len(text) != len(p)+bodyLen+checksumLen || !strings.HasPrefix(text, p) {
		return Secret{}, ErrMalformed
	}
	for i := len(p); i < len(text); i++ {
		if !isBase62(text[i]) {
			return Secret{}, ErrMalformed
		}
	}
	body := text[:len(text)-checksumLen]
	if text[len(body):] != checksum(body) {
		return Secret{}, ErrMalformed
	}
	return Secret{text: &text}, nil
}

// ID returns the credential's public name, "cs_" or "at_" and 12 characters; empty for the zero Secret.
func (s Secret) ID() string {
	if s.text == nil {
		return ""
	}
	return (*s.text)[len(brand) : len(*s.text)-secretLen-checksumLen]
}

// Hint returns the last four characters, which tell secrets apart for people. They are of the checksum, so they give away
// nothing that would help to guess the 256 bits.
func (s Secret) Hint() string {
	if s.text == nil {
		return ""
	}
	return (*s.text)[len(*s.text)-hintLen:]
}

// Reveal returns the text. It is shown once, to the one who asked for the credential, and goes nowhere else.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

func prefix(k Kind) string { return brand + string(k) + "_" }

// checksum returns CRC-32 (IEEE) of the text before it, in Base62 with leading zeros.
func checksum(body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	var out [checksumLen]byte
	for i := checksumLen - 1; i >= 0; i-- {
		out[i] = alphabet[sum%62]
		sum /= 62
	}
	return string(out[:])
}
