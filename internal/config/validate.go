package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Validate reports every problem of the configuration in one error of type Problems.
func (c *Config) Validate() error { return c.problems().err() }

func (c *Config) problems() Problems {
	var p Problems
	c.checkIssuer(&p)
	c.checkPaths(&p)
	c.checkListen(&p)
	c.checkProxy(&p)
	c.checkDatabase(&p)
	c.checkRedis(&p)
	c.checkKeys(&p)
	c.checkTokens(&p)
	c.checkLimits(&p)
	oneOf(&p, "log.level", c.Log.Level, "debug", "info", "warn", "error")
	oneOf(&p, "log.format", c.Log.Format, "json", "text")
	c.checkTelemetry(&p)
	return p
}

// checkIssuer holds the issuer to RFC 8414 §2, and to the form that every verifier compares byte for byte.
func (c *Config) checkIssuer(p *Problems) {
	const where = "issuer"
	if c.Issuer == "" {
		p.add(where, "is required: the https URL that clients reach this server by")
		return
	}
	u, err := url.Parse(c.Issuer)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		p.add(where, "want an absolute URL such as https://auth.example.com")
		return
	case u.User != nil:
		p.add(where, "must not hold a user or password")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(c.Issuer, "#"):
		p.add(where, "must not have a query or fragment (RFC 8414 §2)")
	case strings.HasSuffix(c.Issuer, "/"):
		p.add(where, "must not end in a slash")
	case u.String() != c.Issuer || u.Host != strings.ToLower(u.Host):
		p.add(where, "is not in its plain form; write the host in lower case and escape nothing that needs none")
	}
	switch {
	case u.Scheme == "https":
	case u.Scheme == "http" && loopbackHost(u.Hostname()):
	case u.Scheme == "http":
		p.add(where, "must be https beyond loopback (RFC 8414 §2)")
	default:
		p.add(where, "must be an https URL")
	}
}

func (c *Config) checkPaths(p *Problems) {
	if !filepath.IsAbs(c.DataDir) {
		p.add("data_dir", "want an absolute path")
	}
	if err := CheckSocketPath(c.Listen.AdminSocket); err != nil {
		p.add("listen.admin_socket", "%v", err)
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		p.add("tls", "cert_file and key_file belong together; one is missing")
	}
}

// CheckSocketPath refuses a path that does not fit into a Unix socket's address, which the kernel would only call invalid.
func CheckSocketPath(path string) error {
	if len(path) <= maxSocketPath {
		return nil
	}
	return fmt.Errorf("socket path %s has %d bytes and a Unix socket's may have %d; choose a shorter one", path, len(path), maxSocketPath)
}

func (c *Config) checkListen(p *Problems) {
	c.checkAddress(p, "listen.public", c.Listen.Public)
	if c.Listen.Admin == "" {
		return
	}
	c.checkAddress(p, "listen.admin", c.Listen.Admin)
	if c.Listen.Public == c.Listen.Admin && !strings.HasSuffix(c.Listen.Public, ":0") {
		p.add("listen.admin", "is the address of listen.public too")
	}
}

// checkAddress refuses plain http beyond loopback: credentials and tokens would cross a network in the clear.
func (c *Config) checkAddress(p *Problems, where, address string) {
	host, port, err := net.SplitHostPort(address)
	if n, perr := strconv.Atoi(port); err != nil || perr != nil || n < 0 || n > 65535 {
		p.add(where, "want host:port such as 127.0.0.1:8080")
		return
	}
	if !c.TLS.Enabled() && !c.Proxy.TerminatesTLS && !loopbackHost(host) {
		p.add(where, "would serve plain http beyond loopback; set tls.cert_file and tls.key_file, "+
			"or proxy.terminates_tls: true where a proxy speaks https to the world")
	}
}

// loopbackHost says whether a host names this machine alone. An empty host is every interface.
func loopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// Enabled says whether there is a certificate.
func (t TLS) Enabled() bool { return t.CertFile != "" }

// AdminTLS says whether the admin listener speaks TLS: where there is a certificate and the listener is not loopback.
func (c *Config) AdminTLS() bool {
	host, _, err := net.SplitHostPort(c.Listen.Admin)
	return err == nil && c.TLS.Enabled() && !loopbackHost(host)
}

// checkProxy refuses a promise that nothing could keep: without a trusted proxy no request would count as https.
func (c *Config) checkProxy(p *Problems) {
	if c.Proxy.TerminatesTLS && len(c.Proxy.TrustedCIDRs) == 0 {
		p.add("proxy.trusted_cidrs", "must name the proxy's network where proxy.terminates_tls is set: every request would be refused as plain http")
	}
}

func (c *Config) checkDatabase(p *Problems) {
	oneOf(p, "database.driver", string(c.Database.Driver), string(SQLite), string(Postgres))
	between(p, "database.max_conns", c.Database.MaxConns, leastConns(c.Database.Driver), 1000)
	checkRef(p, "database.url", c.Database.URL)
}

// leastConns is 1 for SQLite, where these are readers.
func leastConns(d Driver) int {
	if d == Postgres {
		return minConns
	}
	return 1
}

func (c *Config) checkRedis(p *Problems) {
	checkRef(p, "redis.url", c.Redis.URL)
	between(p, "redis.pool_size", c.Redis.PoolSize, 1, 1000)
	lasts(p, "revocation.grace", c.Revocation.Grace, 0, maxGrace)
	if !c.UsesRedis() {
		return
	}
	if c.Database.Driver == SQLite {
		p.add("redis.url", "is of no use with database.driver sqlite, where one process holds everything; leave it out")
	} else if c.Database.MaxConns < minConnsWithRedis {
		p.add("database.max_conns", "must be at least %d with Redis", minConnsWithRedis)
	}
	if c.Redis.CAFile == "" {
		return
	}
	if info, err := os.Stat(c.Redis.CAFile); err != nil || !info.Mode().IsRegular() {
		p.add("redis.ca_file", "is not a file that can be found")
	}
}

// UsesRedis says whether a Redis is configured.
func (c *Config) UsesRedis() bool { return !c.Redis.URL.empty() }

func (c *Config) checkKeys(p *Problems) {
	checkRef(p, "keys.master_key", c.Keys.MasterKey)
	checkRef(p, "keys.pepper", c.Keys.Pepper)
	if c.Keys.MasterKey.File != "" && c.Keys.MasterKey.File == c.Keys.Pepper.File {
		p.add("keys.pepper", "is the file of keys.master_key too; they must be different keys")
	}
	lasts(p, "keys.jwks_max_age", c.Keys.JWKSMaxAge, time.Second, 24*time.Hour)
	if c.Keys.RotateEvery < 4*c.Keys.JWKSMaxAge {
		p.add("keys.rotate_every", "must be at least four times keys.jwks_max_age (%s)", FormatDuration(4*c.Keys.JWKSMaxAge))
	}
}

func (c *Config) checkTokens(p *Problems) {
	lasts(p, "tokens.max_ttl", c.Tokens.MaxTTL, minTokenTTL, maxTokenTTL)
	lasts(p, "tokens.default_ttl", c.Tokens.DefaultTTL, minTokenTTL, maxTokenTTL)
	if c.Tokens.DefaultTTL > c.Tokens.MaxTTL {
		p.add("tokens.default_ttl", "is longer than tokens.max_ttl")
	}
}

func (c *Config) checkLimits(p *Problems) {
	between(p, "limits.failures_burst", c.Limits.FailuresBurst, 1, 1_000_000)
	between(p, "limits.failures_per_second", c.Limits.FailuresPerSecond, 0.001, 1_000_000)
	if c.Limits.ClientPerSecond != 0 { // 0: no limit
		between(p, "limits.client_per_second", c.Limits.ClientPerSecond, 0.001, 1_000_000)
	}
	between(p, "limits.client_burst", c.Limits.ClientBurst, 1, 1_000_000)
	between(p, "limits.max_connections", c.Limits.MaxConnections, 1, 1_000_000)
}

func (c *Config) checkTelemetry(p *Problems) {
	between(p, "telemetry.traces_ratio", c.Telemetry.TracesRatio, 0, 1)
	if c.Telemetry.TracesEndpoint == "" {
		return
	}
	u, err := url.Parse(c.Telemetry.TracesEndpoint)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		p.add("telemetry.traces_endpoint", "want an http or https URL")
	case u.User != nil:
		p.add("telemetry.traces_endpoint", "must not hold a user or password")
	}
}

func checkRef(p *Problems, where string, r SecretRef) {
	if r.count() > 1 {
		p.add(where, "has more than one of file, env and exec; choose one")
	}
}

func oneOf(p *Problems, where, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		p.add(where, "want one of %s", strings.Join(allowed, ", "))
	}
}

func between[T int | float64](p *Problems, where string, v, low, high T) {
	if !(v >= low && v <= high) { // so written, it refuses NaN too
		p.add(where, "want %v to %v", low, high)
	}
}

func lasts(p *Problems, where string, d, low, high time.Duration) {
	if d < low || d > high {
		p.add(where, "want %s to %s", FormatDuration(low), FormatDuration(high))
	}
}
