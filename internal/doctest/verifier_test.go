package doctest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
)

// The verifiers of the documents are for this issuer; their audience is the demo API of a dev server.
const shownIssuer = "https://auth.example.com"

// TestVerifiers runs the programs that the documents show to resource servers. A verifier that takes a good token proves
// little: each must refuse those that it is there to refuse.
func TestVerifiers(t *testing.T) {
	t.Parallel()
	for _, d := range documents(t) {
		for _, b := range d.marked("test verifier", "go", "js", "python") {
			t.Run(fmt.Sprintf("%s:%d %s", d.path, b.line, b.lang), func(t *testing.T) {
				t.Parallel()
				s := servertest.Dev(t)
				verify := program(t, b.lang, strings.ReplaceAll(b.text, shownIssuer, s.Issuer))
				good := token(t, s, s.ClientID, s.ClientSecret)
				if out, err := verify(good); err != nil {
					t.Fatalf("a good token is refused: %v\n%s", err, out)
				}
				for why, bad := range bads(t, s, good) {
					if out, err := verify(bad); err == nil {
						t.Errorf("a token is accepted that is %s:\n%s", why, out)
					}
				}
			})
		}
	}
}

// bads are tokens that no verifier may take, and why.
func bads(t *testing.T, s *servertest.Server, good string) map[string]string {
	t.Helper()
	const otherAPI = "https://other.example.com"
	s.Signet(t, "api", "create", "--identifier", otherAPI, "--name", "Other")
	s.Signet(t, "scope", "create", "--api", otherAPI, "orders:read")
	var other struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	made := s.Signet(t, "client", "create", "--name", "other", "--grant", otherAPI+"=orders:read", "--output", "json")
	if err := json.Unmarshal([]byte(made), &other); err != nil {
		t.Fatal(err)
	}
	foreign := servertest.Dev(t) // the same API identifier at another issuer
	part := strings.Split(good, ".")
	flipped := "A"
	if part[2][0] == 'A' {
		flipped = "B"
	}
	const none = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0" // {"alg":"none","typ":"at+jwt"}
	return map[string]string{
		"for another API":     token(t, s, other.ID, other.Secret),
		"of another issuer":   token(t, foreign, foreign.ClientID, foreign.ClientSecret),
		"wrongly signed":      part[0] + "." + part[1] + "." + flipped + part[2][1:],
		"not signed":          none + "." + part[1] + ".",
		"nothing like a JWT":  "x",
		"a JWT without claim": none + ".e30.",
	}
}

// token gets an access token.
func token(t *testing.T, s *servertest.Server, id, secret string) string {
	t.Helper()
	form := servertest.Form("grant_type", "client_credentials", "scope", "orders:read")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.TokenEndpoint, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(id, secret)
	resp, err := servertest.Client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.AccessToken == "" {
		t.Fatalf("no token: status %d (%v)", resp.StatusCode, err)
	}
	return answer.AccessToken
}

// program makes a program of a block ready, and returns what runs it with a token as its argument.
func program(t *testing.T, lang, text string) func(token string) ([]byte, error) {
	t.Helper()
	dir := t.TempDir()
	write := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var argv []string
	switch lang {
	case "go":
		binary := filepath.Join(dir, "verify")
		build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, write("main.go"))
		build.Dir = servertest.Root() // whose go.mod knows the libraries
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, out)
		}
		argv = []string{binary}
	case "js":
		modules(t, dir)
		argv = []string{"node", write("verify.mjs")}
	case "python":
		// Debian's packages are for its own Python, which need not be the one in PATH.
		python := daemon.Program{
			Name: "python3", Glob: "/usr/bin/python3", Check: []string{"-c", "import jwt, cryptography"}, Debian: "python3-jwt python3-cryptography",
		}
		argv = []string{python.Require(t), write("verify.py")}
	}
	return func(token string) ([]byte, error) {
		ctx, cancel := context.WithTimeout(t.Context(), enough)
		defer cancel()
		return exec.CommandContext(ctx, argv[0], append(argv[1:], token)...).CombinedOutput()
	}
}

// modules gives a directory the npm packages of the interop tests: those that they have installed, or fresh ones.
func modules(t *testing.T, dir string) {
	t.Helper()
	interop := filepath.Join(servertest.Root(), "internal", "interop", "node")
	if _, err := exec.LookPath("node"); err != nil {
		daemon.Lack(t, "Node is not installed")
	}
	if _, err := os.Stat(filepath.Join(interop, "node_modules", ".package-lock.json")); err == nil {
		if err := os.Symlink(filepath.Join(interop, "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, name := range []string{"package.json", "package-lock.json"} {
		content, err := os.ReadFile(filepath.Join(interop, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		daemon.Lack(t, fmt.Sprintf("npm ci failed: %v\n%s", err, out))
	}
}
