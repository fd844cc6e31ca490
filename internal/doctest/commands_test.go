package doctest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
)

// enough is how long the commands of one document may take.
const enough = 2 * time.Minute

// devIssuer is the issuer that the documents show: that of a dev server that was told nothing.
const devIssuer = "http://127.0.0.1:8080"

// TestCommands runs the marked commands of each document, beside a dev server.
func TestCommands(t *testing.T) {
	t.Parallel()
	for _, d := range documents(t) {
		blocks := d.marked("test", "sh")
		if len(blocks) == 0 {
			continue
		}
		t.Run(d.path, func(t *testing.T) {
			t.Parallel()
			s := servertest.Dev(t)
			runBlocks(t, d, blocks, strings.NewReplacer(devIssuer, s.Issuer), "SIGNET_DATA_DIR="+s.DataDir)
		})
	}
}

// TestInstall runs the commands that set a server up where there is none.
func TestInstall(t *testing.T) {
	t.Parallel()
	for _, d := range documents(t) {
		blocks := d.marked("test install", "sh")
		if len(blocks) == 0 {
			continue
		}
		t.Run(d.path, func(t *testing.T) {
			t.Parallel()
			root := servertest.ShortDir(t) // a Unix socket lies below it
			place := []string{"127.0.0.1:8080", freeAddress(t), "127.0.0.1:8081", freeAddress(t)}
			for _, dir := range []string{"/etc/signet", "/var/lib/signet", "/var/backups/signet"} {
				if err := os.MkdirAll(filepath.Dir(root+dir), 0o700); err != nil {
					t.Fatal(err)
				}
				place = append(place, dir, root+dir)
			}
			runBlocks(t, d, blocks, strings.NewReplacer(place...))
		})
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	port, err := daemon.ReservePort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(port.Release)
	return port.Addr()
}

// runBlocks runs blocks one after the other in one bash that ends at the first failure. The binary stands where a build
// puts it, bin/signet, and in the path.
func runBlocks(t *testing.T, d document, blocks []block, place *strings.Replacer, env ...string) {
	t.Helper()
	work := t.TempDir()
	if err := os.Mkdir(filepath.Join(work, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(servertest.Binary(t), filepath.Join(work, "bin", "signet")); err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	script.WriteString("set -euo pipefail\numask 077\n")
	for _, b := range blocks {
		fmt.Fprintf(&script, "echo '+ %s:%d' >&2\n%s", d.path, b.line, place.Replace(b.text))
	}
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script.String())
	cmd.Dir, cmd.WaitDelay = work, time.Second
	cmd.Env = append([]string{
		"PATH=" + filepath.Join(work, "bin") + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + work, "NO_COLOR=1", "LC_ALL=C",
	}, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("the commands of %s end with %v; the last line that begins with + says where:\n%s", d.path, err, out)
	}
}

// TestConfigurations holds the marked parts of a configuration against the real check.
func TestConfigurations(t *testing.T) {
	t.Parallel()
	for _, d := range documents(t) {
		for _, b := range d.marked("test", "yaml") {
			t.Run(fmt.Sprintf("%s:%d", d.path, b.line), func(t *testing.T) {
				t.Parallel()
				text := b.text
				if !strings.HasPrefix(text, "issuer:") {
					text = "issuer: https://auth.example.com\n" + text
				}
				file := filepath.Join(t.TempDir(), "signet.yaml")
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				if _, problems, err := servertest.Run(t, nil, "config", "check", "--config", file); err != nil {
					t.Errorf("signet config check: %v\n%s", err, problems)
				}
			})
		}
	}
}
