package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// execTimeout bounds a command that prints a secret, so that a hanging one does not hang the start for ever.
const execTimeout = 30 * time.Second

// maxSecret bounds a secret's text.
const maxSecret = 64 << 10

func (r SecretRef) empty() bool { return r.File == "" && r.Env == "" && len(r.Exec) == 0 }

func (r SecretRef) count() int {
	n := 0
	for _, set := range []bool{r.File != "", r.Env != "", len(r.Exec) > 0} {
		if set {
			n++
		}
	}
	return n
}

// String says where the secret is found. The arguments of a command are left out: people put secrets there.
func (r SecretRef) String() string {
	switch {
	case r.File != "":
		return "file " + r.File
	case r.Env != "":
		return "environment variable " + r.Env
	case len(r.Exec) > 0:
		return "command " + r.Exec[0]
	default:
		return "nowhere"
	}
}

// Read returns the secret without white space around it. Errors name the place, never the content.
func (r SecretRef) Read(ctx context.Context) (string, error) {
	if r.count() != 1 {
		return "", errors.New("secret needs exactly one of file, env and exec")
	}
	var text string
	switch {
	case r.File != "":
		b, err := os.ReadFile(r.File)
		if err != nil {
			return "", fmt.Errorf("read secret: %w", err)
		}
		text = string(b)
	case r.Env != "":
		text = os.Getenv(r.Env)
	default:
		out, err := r.run(ctx)
		if err != nil {
			return "", err
		}
		text = out
	}
	text = strings.TrimSpace(text)
	if text == "" {
		return "", fmt.Errorf("%s is empty or not set", r)
	}
	if len(text) > maxSecret {
		return "", fmt.Errorf("%s holds more than %d bytes", r, maxSecret)
	}
	return text, nil
}

// run starts the command; what it writes to stderr is dropped, since it may repeat the secret.
func (r SecretRef) run(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, execTimeout)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, r.Exec[0], r.Exec[1:]...) //nolint:gosec // the operator's own configuration names the command
	cmd.Stdout = &out
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w", r, err)
	}
	return out.String(), nil
}
