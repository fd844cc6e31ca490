// Package old builds the version before replicas shared revocations, which tests run beside this one.
package old

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ErrNoHistory is Build's answer where the tree is no clone, or a shallow one: it has no version before.
var ErrNoHistory = errors.New("this is no whole clone")

// Build builds a signet binary of the last commit before Redis, from the history of the clone at root. It has no race detector. A
// later version may take the release before it instead.
func Build(root, path string) error {
	if shallow, err := run(root, "git", "rev-parse", "--is-shallow-repository"); err != nil || shallow != "false" {
		return fmt.Errorf("%w: shallow is %q (%w)", ErrNoHistory, shallow, err)
	}
	commit, err := run(root, "git", "log", "--diff-filter=A", "--format=%P", "--", "internal/redisstore/redisstore.go")
	if err != nil {
		return err
	}
	if commit == "" {
		return errors.New("the history has no version from before Redis")
	}
	dir, err := os.MkdirTemp("", "signet-old-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	archive, tree := filepath.Join(dir, "old.tar"), filepath.Join(dir, "tree")
	for _, step := range []struct {
		in   string
		args []string
	}{
		{root, []string{"git", "archive", "--prefix=tree/", "--output=" + archive, commit}},
		{dir, []string{"tar", "-xf", archive}},
		{tree, []string{"go", "build", "-ldflags=-s -w", "-o", path, "./cmd/signet"}},
	} {
		if _, err := run(step.in, step.args...); err != nil {
			return err
		}
	}
	return nil
}

func run(dir string, args ...string) (string, error) {
	cmd := exec.Command(args[0], args[1:]...) //nolint:gosec,noctx // arguments of this package; bounded by whoever runs it
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}
