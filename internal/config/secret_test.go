package config

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestSecretRefReads(t *testing.T) {
	t.Setenv("SIGNET_TEST_SECRET", " from-env\n")
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, ref := range map[string]SecretRef{
		"from-file": {File: file},
		"from-env":  {Env: "SIGNET_TEST_SECRET"},
		"from-exec": {Exec: []string{"echo", "from-exec"}},
	} {
		if got, err := ref.Read(t.Context()); err != nil || got != want {
			t.Errorf("%v: %q, %v, want %q", ref, got, err, want)
		}
	}
	for _, ref := range []SecretRef{
		{},
		{File: file, Env: "SIGNET_TEST_SECRET"},
		{File: file + ".none"},
		{Env: "SIGNET_TEST_SECRET_THAT_IS_NOT_SET"},
		{Exec: []string{"false"}},
		{Exec: []string{"true"}},
		{Exec: []string{"sh", "-c", "echo hunter2 >&2; echo hunter2; exit 1"}},
	} {
		got, err := ref.Read(t.Context())
		if err == nil {
			t.Errorf("%v: read %q, want an error", ref, got)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v: error repeats the secret: %v", ref, err)
		}
	}
}

// TestSecretRefIsBounded holds that neither a command that prints for ever nor a file without end fills the memory.
func TestSecretRefIsBounded(t *testing.T) {
	t.Setenv("SIGNET_TEST_SECRET", strings.Repeat("x", maxSecret+1))
	dir := t.TempDir()
	large, exact, fifo := filepath.Join(dir, "large"), filepath.Join(dir, "exact"), filepath.Join(dir, "fifo")
	if err := os.WriteFile(large, []byte(strings.Repeat(" ", maxSecret)+"x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(exact, []byte(strings.Repeat("x", maxSecret)), 0o444); err != nil { // as Docker's are
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, refs := range map[string][]SecretRef{
		"more than 65536 bytes": {
			{File: large},
			{Env: "SIGNET_TEST_SECRET"},
			{Exec: []string{"head", "-c", "65537", "/dev/zero"}},
			{Exec: []string{"cat", "/dev/zero"}},
		},
		"not a regular file": {{File: fifo}, {File: dir}, {File: "/dev/zero"}},
	} {
		for _, ref := range refs {
			if _, err := ref.Read(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", ref, err, want)
			}
		}
	}
	if got, err := (SecretRef{File: exact}).Read(t.Context()); err != nil || len(got) != maxSecret {
		t.Errorf("the largest secret: %d bytes, %v", len(got), err)
	}
}

func TestSecretRefEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := (SecretRef{Exec: []string{"sleep", "60"}}).Read(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error: %v, want the context's", err)
	}
}
