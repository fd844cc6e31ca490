package config

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// comparePrefix compares networks, and takes an empty list of them for none.
var comparePrefix = cmp.Options{cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{})}

// valid returns a configuration without problems.
func valid() *Config {
	c := Default()
	c.Issuer = "https://auth.example.com"
	return c
}

// redis makes a configuration with PostgreSQL and Redis of a valid one.
func redis(c *Config) { c.Database.Driver, c.Redis.URL.Env = Postgres, DefaultRedisURLEnv }

func TestDefaultIsValidButForTheIssuer(t *testing.T) {
	t.Parallel()
	if err := valid().Validate(); err != nil {
		t.Error(err)
	}
	err := Default().Validate()
	if err == nil || !strings.Contains(err.Error(), "issuer: is required") || !strings.Contains(err.Error(), "1 problem\n") {
		t.Errorf("default: %v, want the missing issuer alone", err)
	}
}

// TestGuards changes one option of a valid configuration each; an empty want means that it stays valid.
func TestGuards(t *testing.T) {
	t.Parallel()
	long := "/" + strings.Repeat("s", 107)
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"http issuer beyond loopback", func(c *Config) { c.Issuer = "http://auth.example.com" }, "issuer: must be https"},
		{"http issuer on loopback", func(c *Config) { c.Issuer = "http://127.0.0.1:8080" }, ""},
		{"http issuer on localhost", func(c *Config) { c.Issuer = "http://localhost:8080" }, ""},
		{"http issuer on a name that begins with localhost", func(c *Config) { c.Issuer = "http://localhost.example.com" }, "issuer: must be https"},
		{"issuer with path", func(c *Config) { c.Issuer = "https://example.com/auth" }, ""},
		{"issuer with a slash at the end", func(c *Config) { c.Issuer = "https://example.com/" }, "slash"},
		{"issuer with query", func(c *Config) { c.Issuer = "https://example.com?a=b" }, "query"},
		{"issuer with empty query", func(c *Config) { c.Issuer = "https://example.com?" }, "query"},
		{"issuer with fragment", func(c *Config) { c.Issuer = "https://example.com#a" }, "query or fragment"},
		{"issuer with empty fragment", func(c *Config) { c.Issuer = "https://example.com#" }, "query or fragment"},
		{"issuer with user", func(c *Config) { c.Issuer = "https://a:hunter2@example.com" }, "user or password"},
		{"issuer in capitals", func(c *Config) { c.Issuer = "https://Example.com" }, "plain form"},
		{"issuer of another scheme", func(c *Config) { c.Issuer = "ftp://example.com" }, "issuer: must be an https URL"},
		{"issuer without host", func(c *Config) { c.Issuer = "https:///a" }, "absolute URL"},
		{"issuer that is opaque", func(c *Config) { c.Issuer = "https:example.com" }, "absolute URL"},

		{"plain http on every interface", func(c *Config) { c.Listen.Public = "0.0.0.0:8080" }, "listen.public: would serve plain http"},
		{"plain http on an empty host", func(c *Config) { c.Listen.Public = ":8080" }, "listen.public: would serve plain http"},
		{"plain http on IPv6 every interface", func(c *Config) { c.Listen.Public = "[::]:8080" }, "listen.public: would serve plain http"},
		{"plain http on a host name", func(c *Config) { c.Listen.Public = "auth.internal:8080" }, "listen.public: would serve plain http"},
		{"plain http for metrics", func(c *Config) { c.Listen.Admin = "0.0.0.0:8081" }, "listen.admin: would serve plain http"},
		{"plain http on IPv6 loopback", func(c *Config) { c.Listen.Public = "[::1]:8080" }, ""},
		{"plain http on loopback in IPv6 form", func(c *Config) { c.Listen.Public = "[::ffff:127.0.0.1]:8080" }, ""},
		{"plain http behind a proxy", func(c *Config) {
			c.Listen.Public, c.Proxy.TerminatesTLS, c.Proxy.TrustedCIDRs = ":8080", true, []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}
		}, ""},
		{"behind a proxy that nobody knows", func(c *Config) { c.Proxy.TerminatesTLS = true }, "proxy.trusted_cidrs: must name"},
		{"TLS on every interface", func(c *Config) { c.Listen.Public, c.TLS = ":8443", TLS{"/c", "/k"} }, ""},
		{"no admin listener", func(c *Config) { c.Listen.Admin = "" }, ""},
		{"no public listener", func(c *Config) { c.Listen.Public = "" }, "listen.public: want host:port"},
		{"port beyond the last", func(c *Config) { c.Listen.Public = "127.0.0.1:65536" }, "listen.public: want host:port"},
		{"named port", func(c *Config) { c.Listen.Public = "127.0.0.1:http" }, "listen.public: want host:port"},
		{"both listeners on one address", func(c *Config) { c.Listen.Admin = c.Listen.Public }, "listen.admin: is the address"},
		{"both on any port", func(c *Config) { c.Listen.Public, c.Listen.Admin = "127.0.0.1:0", "127.0.0.1:0" }, ""},
		{"certificate without key", func(c *Config) { c.TLS.CertFile = "/c" }, "tls: cert_file and key_file"},
		{"key without certificate", func(c *Config) { c.TLS.KeyFile = "/k" }, "tls: cert_file and key_file"},

		{"socket of 108 bytes", func(c *Config) { c.Listen.AdminSocket = long }, "has 108 bytes"},
		{"socket of 107 bytes", func(c *Config) { c.Listen.AdminSocket = long[:107] }, ""},
		{"relative data directory", func(c *Config) { c.DataDir = "data" }, "data_dir: want an absolute path"},

		{"unknown driver", func(c *Config) { c.Database.Driver = "mysql" }, "database.driver: want one of sqlite, postgres"},
		{"no connections", func(c *Config) { c.Database.MaxConns = 0 }, "database.max_conns: want 1 to 1000"},
		{"one connection", func(c *Config) { c.Database.Driver, c.Database.MaxConns = Postgres, 1 }, "database.max_conns: want 2 to 1000"},
		{"one reader", func(c *Config) { c.Database.MaxConns = 1 }, ""},
		{"Redis", func(c *Config) { redis(c) }, ""},
		{"Redis with SQLite", func(c *Config) { redis(c); c.Database.Driver = SQLite }, "redis.url: is of no use with database.driver sqlite"},
		{"Redis with three connections", func(c *Config) { redis(c); c.Database.MaxConns = 3 }, "database.max_conns: must be at least 4 with Redis"},
		{"Redis with four connections", func(c *Config) { redis(c); c.Database.MaxConns = 4 }, ""},
		{"three connections without Redis", func(c *Config) { c.Database.Driver, c.Database.MaxConns = Postgres, 3 }, ""},
		{"authority of Redis that is not there", func(c *Config) { redis(c); c.Redis.CAFile = "/none.pem" }, "redis.ca_file: is not a file"},
		{"authority of Redis that is a directory", func(c *Config) { redis(c); c.Redis.CAFile = "/" }, "redis.ca_file: is not a file"},
		{"authority of Redis that is there", func(c *Config) { redis(c); c.Redis.CAFile = "validate_test.go" }, ""},
		{"no connection to Redis", func(c *Config) { c.Redis.PoolSize = 0 }, "redis.pool_size: want 1 to 1000"},
		{"two ways to the Redis URL", func(c *Config) { redis(c); c.Redis.URL.File = "/f" }, "redis.url: has more than one"},
		{"longest grace", func(c *Config) { c.Revocation.Grace = time.Minute }, ""},
		{"grace beyond the longest", func(c *Config) { c.Revocation.Grace = time.Minute + 1 }, "revocation.grace: want 0s to 1m"},
		{"negative grace", func(c *Config) { c.Revocation.Grace = -1 }, "revocation.grace: want 0s to 1m"},
		{"one file for both root keys", func(c *Config) { c.Keys.Pepper = c.Keys.MasterKey }, "keys.pepper: is the file of keys.master_key"},
		{"JWKS that nobody may keep", func(c *Config) { c.Keys.JWKSMaxAge = 0 }, "keys.jwks_max_age: want 1s to 1d"},
		{"rotation before verifiers know the key", func(c *Config) { c.Keys.RotateEvery = 19 * time.Minute }, "keys.rotate_every: must be at least four times keys.jwks_max_age (20m)"},
		{"lifetime beyond the ceiling", func(c *Config) { c.Tokens.MaxTTL = 25 * time.Hour }, "tokens.max_ttl: want 1s to 1d"},
		{"default lifetime above the longest", func(c *Config) { c.Tokens.MaxTTL = time.Minute }, "tokens.default_ttl: is longer"},
		{"lifetime below a second", func(c *Config) { c.Tokens.DefaultTTL = time.Millisecond }, "tokens.default_ttl: want 1s"},
		{"no failure allowed", func(c *Config) { c.Limits.FailuresBurst = 0 }, "limits.failures_burst"},
		{"failures never forgiven", func(c *Config) { c.Limits.FailuresPerSecond = 0 }, "limits.failures_per_second"},
		{"negative client rate", func(c *Config) { c.Limits.ClientPerSecond = -1 }, "limits.client_per_second"},
		{"client rate of nearly nothing", func(c *Config) { c.Limits.ClientPerSecond = 1e-12 }, "limits.client_per_second"},
		{"no client burst", func(c *Config) { c.Limits.ClientBurst = 0 }, "limits.client_burst"},
		{"no connection", func(c *Config) { c.Limits.MaxConnections = 0 }, "limits.max_connections"},
		{"unknown level", func(c *Config) { c.Log.Level = "trace" }, "log.level: want one of debug"},
		{"unknown format", func(c *Config) { c.Log.Format = "xml" }, "log.format: want one of json"},
		{"traces to no URL", func(c *Config) { c.Telemetry.TracesEndpoint = "collector:4318" }, "telemetry.traces_endpoint: want an http"},
		{"traces with a password", func(c *Config) { c.Telemetry.TracesEndpoint = "https://a:hunter2@t.example" }, "user or password"},
		{"more traces than requests", func(c *Config) { c.Telemetry.TracesRatio = 1.1 }, "telemetry.traces_ratio: want 0 to 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := valid()
			tt.change(c)
			err := c.Validate()
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("report lacks %q: %v", tt.want, err)
			case err != nil && strings.Contains(err.Error(), "hunter2"):
				t.Errorf("report repeats a password: %v", err)
			}
		})
	}
}

func TestAdminTLSOnlyBeyondLoopback(t *testing.T) {
	t.Parallel()
	c := valid()
	c.TLS = TLS{"/c", "/k"}
	for address, want := range map[string]bool{"127.0.0.1:8081": false, "0.0.0.0:8081": true, "": false} {
		c.Listen.Admin = address
		if got := c.AdminTLS(); got != want {
			t.Errorf("AdminTLS at %q = %v, want %v", address, got, want)
		}
	}
}

func TestPrintMasksAndReadsBack(t *testing.T) {
	t.Parallel()
	c := valid()
	c.Keys.Pepper = SecretRef{Exec: []string{"vault", "--token", "hunter2"}}
	c.Proxy.TrustedCIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	var out strings.Builder
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "hunter2") {
		t.Errorf("printed an argument of a command:\n%s", &out)
	}
	again, err := Load(Options{File: write(t, out.String())})
	if err != nil {
		t.Fatalf("does not load again: %v\n%s", err, &out)
	}
	c.Keys.Pepper.Exec = []string{"vault", "[masked]", "[masked]"}
	if diff := cmp.Diff(c, again, comparePrefix); diff != "" {
		t.Errorf("read back (-printed +read):\n%s", diff)
	}
}
