// Package rootkeys owns the two secrets that never enter the database: the master key, which seals the signing keys, and
// the pepper, which keys the digests of client secrets. Each is a Set of numbered 256-bit keys, so that a new version can
// be added while data under the old one is still read.
//
// The text form is one key a line, "1:<base64url>", lowest version first, "#" starts a comment; the highest version is the
// current one.
package rootkeys

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrMalformed means that a text is no set of root keys. The wrapped text names the line and never quotes it.
var ErrMalformed = errors.New("malformed root keys")

// maxVersion keeps a typing error from ending the numbers.
const maxVersion = 1 << 20

// Key is one version. It prints as "[redacted]".
type Key struct {
	Version int
	Bytes   [32]byte
}

// Set holds at least one Key, in rising order of version. It prints as "[redacted]". The zero Set holds none and must not
// be used.
type Set struct {
	// A function, because fmt cannot call Format on an unexported field of somebody else's struct, and follows pointers
	// there when the verb does not fit: of a function it prints the address.
	keys func() []Key
}

func newSet(keys []Key) Set { return Set{keys: func() []Key { return keys }} }

// Generate makes a Set of one new key, version 1.
func Generate() Set { return Set{}.Add() }

// Add returns a copy of the Set with a new key, which is the current one.
func (s Set) Add() Set {
	k := Key{Version: 1}
	var keys []Key
	if s.keys != nil {
		keys = slices.Clone(s.keys())
		k.Version = s.Current().Version + 1
	}
	_, _ = rand.Read(k.Bytes[:]) // never fails (crypto/rand documents it)
	return newSet(append(keys, k))
}

// Current returns the key of the highest version. It panics for the zero Set: going on with an empty key would be worse.
func (s Set) Current() Key {
	if s.keys == nil {
		panic("rootkeys: use of the zero Set")
	}
	all := s.keys()
	return all[len(all)-1]
}

// Version returns the key of a version, and whether it is loaded.
func (s Set) Version(v int) (Key, bool) {
	if s.keys == nil {
		return Key{}, false
	}
	for _, k := range s.keys() {
		if k.Version == v {
			return k, true
		}
	}
	return Key{}, false
}

// Reveal returns the text form, for a file that only its owner reads.
func (s Set) Reveal() []byte {
	var b bytes.Buffer
	if s.keys != nil {
		for _, k := range s.keys() {
			fmt.Fprintf(&b, "%d:%s\n", k.Version, base64.RawURLEncoding.EncodeToString(k.Bytes[:]))
		}
	}
	return b.Bytes()
}

// Parse reads the text form. The error is ErrMalformed, wrapped with the number of the line and what is wrong with it.
func Parse(text []byte) (Set, error) {
	var keys []Key
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		k, err := parseLine(line)
		if err != nil {
			return Set{}, fmt.Errorf("%w: line %d: %w", ErrMalformed, n, err)
		}
		if len(keys) > 0 && k.Version <= keys[len(keys)-1].Version {
			return Set{}, fmt.Errorf("%w: line %d: versions do not rise", ErrMalformed, n)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return Set{}, fmt.Errorf("%w: no key", ErrMalformed)
	}
	return newSet(keys), nil
}

// parseLine reads "1:<base64url>". Its errors must not quote the line, so those of strconv and base64 are dropped.
func parseLine(line string) (Key, error) {
	version, encoded, ok := strings.Cut(line, ":")
	if !ok {
		return Key{}, errors.New("want VERSION:KEY")
	}
	v, err := strconv.Atoi(version)
	if err != nil || v < 1 || v > maxVersion || strconv.Itoa(v) != version {
		return Key{}, fmt.Errorf("the version is no number from 1 to %d", maxVersion)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return Key{}, errors.New("the key is not base64url without padding")
	}
	if len(raw) != 32 {
		return Key{}, fmt.Errorf("the key has %d bytes, not 32", len(raw))
	}
	// A placeholder that somebody forgot to replace; random bytes are never all alike.
	if len(bytes.Trim(raw, string(raw[:1]))) == 0 {
		return Key{}, errors.New("the key is one byte repeated")
	}
	return Key{Version: v, Bytes: [32]byte(raw)}, nil
}
