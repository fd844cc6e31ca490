package credential

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Format implements fmt.Formatter, so that no verb reaches the text: %d of a struct would ignore String.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String implements fmt.Stringer.
func (s Secret) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (s Secret) GoString() string { return redacted }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON keeps a Secret out of JSON; what shows a new secret calls Reveal.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText keeps it out of every other encoding.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
