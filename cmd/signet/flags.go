package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/seed-1972b8eb/signet/internal/config"
)

// duration is a flag for a length of time, days too: 90d.
type duration struct {
	value time.Duration
	set   bool
}

// String, Set and Type make duration a flag.
func (d *duration) String() string {
	if !d.set {
		return ""
	}
	return config.FormatDuration(d.value)
}

// Type names the value in the help.
func (d *duration) Type() string { return "duration" }

// Set reads a length of time above zero.
func (d *duration) Set(s string) error {
	v, err := config.ParseDuration(s)
	if err != nil {
		return err
	}
	if v <= 0 {
		return fmt.Errorf("want a length of time above zero")
	}
	d.value, d.set = v, true
	return nil
}

// seconds is the value on the wire; the server knows whole seconds only.
func (d *duration) seconds() (int64, error) {
	if d.value%time.Second != 0 {
		return 0, usageError("%s is not a whole number of seconds", d.value)
	}
	return int64(d.value / time.Second), nil
}

// fromNow is the expiry after d, or never where the flag was not given.
func (d *duration) fromNow() time.Time {
	if !d.set {
		return time.Time{}
	}
	return time.Now().UTC().Add(d.value).Truncate(time.Second)
}

// pairs reads key=value flags.
func pairs(flag string, texts []string) (map[string]string, error) {
	out := make(map[string]string, len(texts))
	for _, t := range texts {
		k, v, ok := strings.Cut(t, "=")
		if !ok || k == "" {
			return nil, usageError("--%s %q is not key=value", flag, t)
		}
		if _, twice := out[k]; twice {
			return nil, usageError("--%s %s is given twice", flag, k)
		}
		out[k] = v
	}
	return out, nil
}

// claims reads --claim flags. A value that is JSON is taken as such (7, true, ["a"]); anything else is text.
func claims(texts []string) (map[string]any, error) {
	raw, err := pairs("claim", texts)
	if err != nil {
		return nil, err
	}
	out := make(map[string]any, len(raw))
	for k, v := range raw {
		var value any
		if json.Unmarshal([]byte(v), &value) != nil {
			value = v
		}
		out[k] = value
	}
	return out, nil
}

// maxArgument bounds what is read from a file or stdin in place of an argument.
const maxArgument = 1 << 20

// readArgument returns the argument itself, or stdin for "-", so that a token need not stand in the process list.
func (env *cliEnv) readArgument(arg string) (string, error) {
	if arg != "-" {
		return strings.TrimSpace(arg), nil
	}
	b, err := io.ReadAll(io.LimitReader(env.Stdin, maxArgument))
	if err != nil {
		return "", fmt.Errorf("read stdin: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// readFile returns a file's content, or stdin for "-".
func (env *cliEnv) readFile(path string) ([]byte, error) {
	if path == "-" {
		b, err := io.ReadAll(io.LimitReader(env.Stdin, maxArgument))
		if err != nil {
			return nil, fmt.Errorf("read stdin: %w", err)
		}
		return b, nil
	}
	return os.ReadFile(path)
}
