package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/internal/servertest/redistest"
)

// command runs one command line in this process and returns the exit code, stdout and stderr.
func command(t *testing.T, environ []string, args ...string) (int, string, string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	vars := map[string]string{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		vars[name] = value
	}
	env := &cliEnv{
		Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Environ: environ,
		Getenv: func(name string) string { return vars[name] },
	}
	code := execute(t.Context(), env, args)
	return code, stdout.String(), stderr.String()
}

// succeed is command for what must work.
func succeed(t *testing.T, environ []string, args ...string) string {
	t.Helper()
	code, stdout, stderr := command(t, environ, args...)
	if code != exitOK {
		t.Fatalf("signet %s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// TestPostgresMovesToSQLiteAndBack makes a server on PostgreSQL and carries its backup to SQLite and back: one form for both.
func TestPostgresMovesToSQLiteAndBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	secret := func(name, text string) string {
		if err := os.WriteFile(path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path(name)
	}
	common := []string{
		"SIGNET_ISSUER=https://auth.example.com", "SIGNET_KEYS_MASTER_KEY_FILE=" + path("master"), "SIGNET_KEYS_PEPPER_FILE=" + path("pepper"),
		"SIGNET_LISTEN_PUBLIC=127.0.0.1:0", "SIGNET_LISTEN_ADMIN=",
	}
	server := pgtest.Start(t) // a server of its own: the shared one is without fsync, which signet refuses
	url := secret("url", server.URL()+"\n")
	postgres := func(name string) []string {
		return append([]string{"SIGNET_DATA_DIR=" + path(name), "SIGNET_DATABASE_DRIVER=postgres", "SIGNET_DATABASE_URL_FILE=" + url}, common...)
	}
	first, lite, last := postgres("first"), append([]string{"SIGNET_DATA_DIR=" + path("lite")}, common...), postgres("last")

	succeed(t, first, "init")
	if code, _, stderr := command(t, first, "init"); code != exitRefused {
		t.Errorf("second init: exit code %d, %s", code, stderr)
	}
	succeed(t, first, "migrate", "up")
	succeed(t, first, "backup", "--new-identity", path("id"), path("one"))
	if err := os.Mkdir(path("lite"), 0o700); err != nil {
		t.Fatal(err)
	}
	succeed(t, lite, "restore", "--identity-file", path("id"), path("one"))
	if out := succeed(t, lite, "doctor"); !strings.Contains(out, "unsealed; ES256, EdDSA, RS256 sign") {
		t.Errorf("doctor on SQLite:\n%s", out)
	}
	recipient, err := os.ReadFile(path("id"))
	if err != nil {
		t.Fatal(err)
	}
	public := strings.TrimPrefix(strings.SplitN(string(recipient), "\n", 2)[0], "# public key: ")
	succeed(t, lite, "backup", "--recipient", public, path("two"))
	if err := os.Mkdir(path("last"), 0o700); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, server.URL(), "DROP SCHEMA public CASCADE")
	pgtest.Exec(t, server.URL(), "CREATE SCHEMA public")
	succeed(t, last, "restore", "--identity-file", path("id"), path("two"))
	if code, _, stderr := command(t, last, "restore", "--identity-file", path("id"), path("two")); code != exitRefused {
		t.Errorf("restore over a database: exit code %d, %s", code, stderr)
	}
	out := succeed(t, append(last, "SIGNET_REDIS_URL_FILE="+secret("redis", redistest.Open(t))), "doctor")
	if !strings.Contains(out, "postgres answers") || !strings.Contains(out, "a primary answers") || strings.Contains(out, "fail ") {
		t.Errorf("doctor on PostgreSQL with Redis:\n%s", out)
	}
	out = succeed(t, append(last, "SIGNET_REDIS_URL_FILE="+secret("away", "redis://:hunter3@127.0.0.1:1")), "doctor")
	if !strings.Contains(out, "introspection reads the database meanwhile") || strings.Contains(out, "hunter3") {
		t.Errorf("doctor with a Redis that is away:\n%s", out)
	}
	const differs = "other replicas use one"
	if out = succeed(t, last, "doctor"); strings.Contains(out, differs) {
		t.Errorf("doctor where nobody has Redis:\n%s", out)
	}
	pgtest.Exec(t, server.URL(), "UPDATE redis_trust SET write_id = 'of another replica'")
	if out = succeed(t, last, "doctor"); !strings.Contains(out, differs) || !strings.Contains(out, "warn") {
		t.Errorf("doctor without Redis, where another replica has it:\n%s", out)
	}
	if out = succeed(t, append(last, "SIGNET_REDIS_URL_FILE="+secret("redis", redistest.Open(t))), "doctor"); strings.Contains(out, differs) {
		t.Errorf("doctor with Redis, as another replica has it:\n%s", out)
	}
}

// TestPostgresURLIsNeverPrinted holds for the errors of a server that is not there.
func TestPostgresURLIsNeverPrinted(t *testing.T) {
	t.Parallel()
	environ := []string{
		"SIGNET_ISSUER=https://auth.example.com", "SIGNET_DATA_DIR=" + t.TempDir(), "SIGNET_DATABASE_DRIVER=postgres",
		"SIGNET_DATABASE_URL=postgres://signet:hunter2@127.0.0.1:1/signet?sslmode=disable",
	}
	for _, args := range [][]string{{"migrate", "status"}, {"doctor"}, {"config", "print"}, {"init"}} {
		_, stdout, stderr := command(t, environ, args...)
		if strings.Contains(stdout+stderr, "hunter2") {
			t.Errorf("signet %s shows the password:\n%s%s", strings.Join(args, " "), stdout, stderr)
		}
	}
}
