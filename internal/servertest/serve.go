package servertest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/servertest/clock"
	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
)

// Config says how Serve runs a server. The zero value is a server on SQLite that speaks http on loopback.
type Config struct {
	// Binary is the path of a signet binary. Empty: that of this tree, or its ClockBinary where there is a Clock.
	Binary string
	// Database is a postgres:// URL. Empty: SQLite in the data directory.
	Database string
	// Issuer defaults to http://ADDRESS; the word ADDRESS in it stands for the address of the public listener.
	Issuer string
	// ExtraYAML is appended to the configuration file, which has issuer, data_dir, listen and database already.
	ExtraYAML string
	// Env is added to the server's environment, as KEY=value.
	Env []string
	// Through, if given, changes the URL of the database for this server: to that of a proxy before it.
	Through func(database string) string
	// Redis is a redis:// URL. Empty: none, or that of the server that this is a replica of.
	Redis string
	// RedisThrough is Through for Redis.
	RedisThrough func(redis string) string
	// ReplicaOf runs one more replica of a server on PostgreSQL: same database, issuer and root keys, and no init.
	ReplicaOf *Server
	// Clock moves the clocks of the server, of its init, and of commands that run with its environment. nil: they are right.
	Clock *clock.Clock
}

// Serve makes a server with `signet init`, runs it with `signet serve` on ports of its own, and waits until it accepts.
func Serve(t testing.TB, c Config) *Server {
	t.Helper()
	s := &Server{DataDir: ShortDir(t), Issuer: c.Issuer, Address: address(t)}
	admin := address(t)
	if c.Clock != nil {
		c.Env = append(c.Env, c.Clock.Env())
	}
	if s.binary = c.Binary; s.binary == "" {
		s.binary = program(t, c.Env)
	}
	if r := c.ReplicaOf; r != nil {
		s.Issuer, c.Database = r.Issuer, r.database
		if c.Redis == "" {
			c.Redis = r.redis
		}
		c.Env = append(c.Env, "SIGNET_KEYS_MASTER_KEY_FILE="+r.rootKey("master"), "SIGNET_KEYS_PEPPER_FILE="+r.rootKey("pepper"))
	}
	s.Issuer = strings.ReplaceAll(s.Issuer, "ADDRESS", s.Address)
	if s.Issuer == "" {
		s.Issuer = "http://" + s.Address
	}
	s.database, s.redis, s.TokenEndpoint, s.JWKSURI = c.Database, c.Redis, s.Issuer+"/oauth2/token", s.Issuer+"/.well-known/jwks.json"
	s.IntrospectionEndpoint, s.RevocationEndpoint = s.Issuer+"/oauth2/introspect", s.Issuer+"/oauth2/revoke"
	s.AdminURL, s.AdminSocket = "http://"+admin, filepath.Join(s.DataDir, "admin.sock")

	file := filepath.Join(s.DataDir, "signet.yaml")
	if err := os.WriteFile(file, []byte(s.configuration(admin)+c.ExtraYAML), 0o600); err != nil {
		t.Fatal(err)
	}
	env := slices.Concat(c.Env, reached("SIGNET_DATABASE_URL", c.Database, c.Through), reached("SIGNET_REDIS_URL", c.Redis, c.RedisThrough))
	if c.ReplicaOf == nil {
		if _, text, err := RunBinary(t, s.binary, env, "init", "--config", file); err != nil {
			t.Fatalf("signet init: %v\n%s", err, text)
		}
	}
	s.File, s.Env = file, env
	s.Again(t)
	return s
}

// reached is the environment that names a store by the URL it is reached at, or nothing where there is no store.
func reached(name, store string, through func(string) string) []string {
	if store == "" {
		return nil
	}
	if through != nil {
		store = through(store)
	}
	return []string{name + "=" + store}
}

func (s *Server) configuration(admin string) string {
	driver := "sqlite"
	if s.database != "" {
		driver = "postgres"
	}
	return fmt.Sprintf("issuer: %s\ndata_dir: %s\nlisten:\n  public: %s\n  admin: %s\ndatabase:\n  driver: %s\n",
		s.Issuer, s.DataDir, s.Address, admin, driver)
}

// rootKey is the path of one of the root keys that init has made.
func (s *Server) rootKey(name string) string { return filepath.Join(s.DataDir, "keys", name+".key") }

// address is a free address of loopback, which no other test takes before this one ends.
func address(t testing.TB) string {
	t.Helper()
	port, err := daemon.ReservePort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(port.Release)
	return port.Addr()
}

func accepts(network, address string) bool {
	conn, err := net.Dial(network, address) //nolint:noctx // on this machine it is refused or accepted at once
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// Signet runs a verb of the command line against the server's data directory and returns what it printed.
func (s *Server) Signet(t testing.TB, args ...string) string {
	t.Helper()
	out, text, err := Run(t, nil, append(args, "--data-dir", s.DataDir)...)
	if err != nil {
		t.Fatalf("signet %s: %v\n%s", strings.Join(args, " "), err, text)
	}
	return out
}

// Database is the URL of the PostgreSQL database that the server uses, empty for SQLite.
func (s *Server) Database() string { return s.database }
