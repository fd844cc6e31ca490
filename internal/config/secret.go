package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
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
	var err error
	switch {
	case r.File != "":
		text, err = r.readFile()
	case r.Env != "":
		text = os.Getenv(r.Env)
	default:
		text, err = r.run(ctx)
	}
	if err != nil {
		return "", err
	}
	if len(text) > maxSecret {
		return "", fmt.Errorf("%s holds more than %d bytes", r, maxSecret)
	}
	text = strings.TrimSpace(text)
	if text == "" {
		return "", fmt.Errorf("%s is empty or not set", r)
	}
	return text, nil
}

// readFile reads at most one byte more than a secret may have. O_NONBLOCK lets a FIFO be refused instead of waited for. The
// mode is not looked at, unlike that of root keys: Docker's and Kubernetes' secrets are readable by all who can reach them.
func (r SecretRef) readFile() (string, error) {
	f, err := os.OpenFile(r.File, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file", r)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	return string(b), nil
}

// run starts the command; what it writes to stderr is dropped, since it may repeat the secret.
func (r SecretRef) run(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, execTimeout)
	defer cancel()
	out := capped{left: maxSecret}
	cmd := exec.CommandContext(ctx, r.Exec[0], r.Exec[1:]...) //nolint:gosec // the operator's own configuration names the command
	cmd.Stdout = &out
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s: %w", r, ctx.Err())
	case out.left < 0: // before err, which is only how the command took it
		return "", fmt.Errorf("%s prints more than %d bytes", r, maxSecret)
	case err != nil:
		return "", fmt.Errorf("%s: %w", r, err)
	}
	return out.buf.String(), nil
}

// capped is a writer that fails once left is below zero, so that a runaway command cannot fill the memory.
type capped struct {
	buf  bytes.Buffer
	left int
}

func (c *capped) Write(p []byte) (int, error) {
	if c.left -= len(p); c.left < 0 {
		return 0, io.ErrShortWrite
	}
	return c.buf.Write(p)
}
