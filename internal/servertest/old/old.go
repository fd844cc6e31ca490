// Package old builds the version before replicas shared revocations, which tests run beside this one.
package old

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
)

// ErrNoHistory is Build's answer where the tree is no clone, or a shallow one: it has no version before.
var ErrNoHistory = errors.New("this is no whole clone")

// BuildOnce is Build where path is not there yet: it is always the same version.
func BuildOnce(root, path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	return Build(root, path)
}

// Build builds a signet binary of the last commit before Redis, from the history of the clone at root. It has no race detector. A
// later version may take the release before it instead.
func Build(root, path string) error {
	shallow, err := daemon.Output(root, "git", "rev-parse", "--is-shallow-repository")
	if err == nil && shallow != "false" {
		err = errors.New("it is shallow")
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoHistory, err)
	}
	commit, err := daemon.Output(root, "git", "log", "--diff-filter=A", "--format=%P", "--", "internal/redisstore/redisstore.go")
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
		if _, err := daemon.Output(step.in, step.args...); err != nil {
			return err
		}
	}
	return nil
}
