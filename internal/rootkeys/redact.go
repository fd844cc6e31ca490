package rootkeys

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Format implements fmt.Formatter, so that no verb reaches the bytes.
func (s Set) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String implements fmt.Stringer.
func (s Set) String() string { return redacted }

// LogValue implements slog.LogValuer.
func (s Set) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps a Set out of JSON and every other encoding; Reveal is the one way out.
func (s Set) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format implements fmt.Formatter, so that no verb reaches the bytes.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String implements fmt.Stringer.
func (k Key) String() string { return redacted }

// LogValue implements slog.LogValuer.
func (k Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps a Key out of JSON and every other encoding.
func (k Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }
