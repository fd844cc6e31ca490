package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
)

// layout is part of the names of caches and shared servers. Raise it when the template or the settings change.
const layout = "1"

// superuser is the only role of the servers. It has a random password, because a superuser of PostgreSQL may run
// commands and 127.0.0.1 belongs to every user of the machine.
const superuser = "postgres"

// cluster is an installed PostgreSQL and a template of its data directory.
type cluster struct {
	postgres string
	version  string
	template string
}

// program is what tests need.
func program() daemon.Program {
	return daemon.Program{Name: "postgres", Glob: "/usr/lib/postgresql/*/bin/postgres", Debian: "postgresql"}
}

// users lists whom the server may run as where the tests run as root.
func users() []string { return []string{"postgres"} }

// openCluster finds the cached template for this PostgreSQL, or makes it.
func openCluster(ctx context.Context, postgres string) (*cluster, error) {
	out, err := exec.CommandContext(ctx, postgres, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("ask PostgreSQL for its version: %w", err)
	}
	c := &cluster{postgres: postgres}
	for word := range strings.FieldsSeq(string(out)) { // postgres (PostgreSQL) 15.4 (Debian …)
		if word[0] >= '0' && word[0] <= '9' {
			c.version = word
			break
		}
	}
	c.template, err = daemon.Once("postgres-"+c.version+"-"+layout, func(dir string) error {
		return c.initialize(dir)
	})
	return c, err
}

// initialize runs initdb, as the server's user in a home of its own, and copies the result into dir.
func (c *cluster) initialize(dir string) error {
	home, err := daemon.NewHome(syscall.SIGKILL, users()...)
	if err != nil {
		return err
	}
	password, err := home.WriteFile("password", rand.Text())
	if err != nil {
		return err
	}
	run, err := home.Run(c.beside("initdb"), "--pgdata=data", "--username="+superuser, "--pwfile="+password,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	if err != nil {
		return err
	}
	if err := run.Wait(); err != nil {
		return fmt.Errorf("initdb: %w", err)
	}
	if err := daemon.CopyFile(password, filepath.Join(dir, "password")); err != nil {
		return err
	}
	if err := daemon.CopyTree(filepath.Join(home.Dir, "data"), filepath.Join(dir, "data")); err != nil {
		return err
	}
	return home.Close()
}

// beside is a program that comes with the server.
func (c *cluster) beside(name string) string {
	program, err := filepath.EvalSymlinks(c.postgres)
	if err != nil {
		program = c.postgres
	}
	return filepath.Join(filepath.Dir(program), name)
}

// populate gives a home its data directory.
func (c *cluster) populate(home *daemon.Home) error {
	return home.CopyTree(filepath.Join(c.template, "data"), "data")
}

// run starts a server on the data directory of the home. Settings are name=value.
func (c *cluster) run(home *daemon.Home, port *daemon.Port, settings []string) (*daemon.Process, error) {
	args := []string{"-D", filepath.Join(home.Dir, "data")}
	for _, setting := range append([]string{
		"listen_addresses=127.0.0.1",
		fmt.Sprintf("port=%d", port.Number()),
		"unix_socket_directories=" + socketDir(home),
		"max_connections=200",
		// Shared memory in the data directory: SIGKILL would leave it behind in /dev/shm.
		"dynamic_shared_memory_type=mmap",
	}, settings...) {
		args = append(args, "-c", setting)
	}
	return home.Run(c.postgres, args...)
}

// url returns the URL of a database on that port.
func (c *cluster) url(port *daemon.Port, database string) (string, error) {
	password, err := os.ReadFile(filepath.Join(c.template, "password"))
	if err != nil {
		return "", fmt.Errorf("read password of test servers: %w", err)
	}
	return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", superuser, password, port.Addr(), database), nil
}

// socketDir is the home, or nothing where its path does not fit into a socket address.
func socketDir(home *daemon.Home) string {
	const longest = 80 // 107 on Linux, less elsewhere, and the name of the socket comes on top
	if len(home.Dir) > longest {
		return ""
	}
	return home.Dir
}
