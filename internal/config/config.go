// Package config owns the one structure that says how a server runs: its options, their defaults and limits, and how they
// are read. The order is default < file (YAML) < environment (SIGNET_…) < flag; an option that does not exist is refused,
// and every problem is in one report. What the options do is the work of the packages that package app hands them to.
//
// The comments of the fields below are also the descriptions in configs/signet.schema.json.
package config

import (
	"net/netip"
	"time"
)

// Config is the configuration of one server. Load and Default are the only makers of a useful one.
type Config struct {
	// Issuer is the URL that clients and resource servers know this server by. It is copied into every token, so it never
	// changes. https, without query, fragment or trailing slash; http is accepted for a loopback host alone.
	Issuer string `koanf:"issuer"`
	// DataDir is the directory of everything the server keeps on this machine: the SQLite database, the admin socket and,
	// unless told otherwise, the root keys. Mode 0700.
	DataDir string `koanf:"data_dir"`
	// Listen says where the server listens.
	Listen Listen `koanf:"listen"`
	// TLS is the certificate of the listeners.
	TLS TLS `koanf:"tls"`
	// Proxy describes the reverse proxy in front of the server, if there is one.
	Proxy Proxy `koanf:"proxy"`
	// Database says where clients, keys and revocations are kept.
	Database Database `koanf:"database"`
	// Redis is where replicas share what was revoked, for fast introspection. Only with postgres, and optional there.
	Redis Redis `koanf:"redis"`
	// Revocation is about what happens when the stores are away.
	Revocation Revocation `koanf:"revocation"`
	// Keys is about root keys and signing keys.
	Keys Keys `koanf:"keys"`
	// Tokens bounds the lifetimes that admins may set.
	Tokens Tokens `koanf:"tokens"`
	// Limits bounds what callers may do.
	Limits Limits `koanf:"limits"`
	// Outbound bounds what the server itself may connect to.
	Outbound Outbound `koanf:"outbound"`
	// Log is about the log on stderr.
	Log Log `koanf:"log"`
	// Telemetry is about traces and profiles; metrics are always on, at the admin listener.
	Telemetry Telemetry `koanf:"telemetry"`
}

// Listen says where the server listens.
type Listen struct {
	// Public is the address of the OAuth endpoints, host:port.
	Public string `koanf:"public"`
	// Admin is the address of the admin listener, host:port; empty for none. It serves metrics to loopback callers.
	Admin string `koanf:"admin"`
	// AdminSocket is the Unix socket of the admin API, at most 107 bytes long. Default: admin.sock in data_dir.
	AdminSocket string `koanf:"admin_socket"`
}

// TLS is a certificate with its key. It serves the public listener, and the admin listener where that is not loopback.
// Both files are read again when they change.
type TLS struct {
	// CertFile is the certificate chain, PEM. Empty: the public listener speaks plain http.
	CertFile string `koanf:"cert_file"`
	// KeyFile is the private key of the certificate, PEM.
	KeyFile string `koanf:"key_file"`
}

// Proxy describes the reverse proxy in front of the server.
type Proxy struct {
	// TrustedCIDRs are the networks whose X-Forwarded-For and X-Request-Id are believed. Empty: nobody's.
	TrustedCIDRs []netip.Prefix `koanf:"trusted_cidrs"`
	// TerminatesTLS promises that a proxy speaks https to the world, and lets the server speak http beyond loopback.
	TerminatesTLS bool `koanf:"terminates_tls"`
}

// Driver is a kind of database.
type Driver string

// The kinds of database.
const (
	SQLite   Driver = "sqlite"
	Postgres Driver = "postgres"
)

// Database says where clients, keys and revocations are kept.
type Database struct {
	// Driver is sqlite (one server) or postgres (one or more replicas).
	Driver Driver `koanf:"driver"`
	// Path is the SQLite file. Default: signet.db in data_dir.
	Path string `koanf:"path"`
	// URL says where the PostgreSQL URL (postgres://…) is found. Default: the environment variable SIGNET_DATABASE_URL.
	URL SecretRef `koanf:"url"`
	// MaxConns is the most connections to PostgreSQL that this replica opens.
	MaxConns int `koanf:"max_conns"`
}

// Redis is where replicas share what was revoked. PostgreSQL keeps the truth; Redis holds a copy, which is made anew when it
// is lost, and needs no persistence. 6.2 or later.
type Redis struct {
	// URL says where the Redis URL is found: redis://user:password@host:port/database, rediss:// for TLS; with
	// ?master_name=NAME the host is a Sentinel. Default: the environment variable SIGNET_REDIS_URL where it is set, else none.
	URL SecretRef `koanf:"url"`
	// CAFile is the authority that signed Redis' certificate, PEM. Empty: the system's authorities.
	CAFile string `koanf:"ca_file"`
	// PoolSize is the most connections to Redis that this replica opens.
	PoolSize int `koanf:"pool_size"`
}

// Revocation is about what happens when the stores are away.
type Revocation struct {
	// Grace is how long introspection goes on from Redis alone while PostgreSQL cannot be read, up to 60s. 0: 500 ms. Two
	// faults at once then break the promise: while this replica is cut off from PostgreSQL and another replica cannot write
	// to Redis, a revocation is acknowledged that this replica does not see before the grace has passed.
	Grace time.Duration `koanf:"grace"`
}

// Keys is about root keys and signing keys.
type Keys struct {
	// MasterKey says where the key that seals signing keys is found. Default: the file keys/master.key in data_dir.
	MasterKey SecretRef `koanf:"master_key"`
	// Pepper says where the key that digests client secrets is found. Default: the file keys/pepper.key in data_dir.
	Pepper SecretRef `koanf:"pepper"`
	// RotateEvery is the time after which a signing key is replaced. At least four times jwks_max_age.
	RotateEvery time.Duration `koanf:"rotate_every"`
	// JWKSMaxAge is how long verifiers may keep the published keys; a new key signs after twice that time. 1s to 24h.
	JWKSMaxAge time.Duration `koanf:"jwks_max_age"`
}

// Tokens bounds the lifetimes that admins may set.
type Tokens struct {
	// DefaultTTL is the lifetime of the tokens of an API that is created without one.
	DefaultTTL time.Duration `koanf:"default_ttl"`
	// MaxTTL is the longest lifetime that an API or a client may be given, at most 24h. What has a longer one keeps it.
	MaxTTL time.Duration `koanf:"max_ttl"`
}

// Limits bounds what callers may do.
type Limits struct {
	// FailuresBurst is how many failed authentications in a row one client and network may make before it gets 429.
	FailuresBurst int `koanf:"failures_burst"`
	// FailuresPerSecond is how many failed authentications a second it may make after that.
	FailuresPerSecond float64 `koanf:"failures_per_second"`
	// ClientPerSecond is how many tokens a second one client may get. 0: no limit.
	ClientPerSecond float64 `koanf:"client_per_second"`
	// ClientBurst is how many tokens one client may get at once where client_per_second is set.
	ClientBurst int `koanf:"client_burst"`
	// MaxConnections is how many connections the public listener has open at once; more wait.
	MaxConnections int `koanf:"max_connections"`
}

// Outbound bounds what the server itself may connect to: the jwks_uri of clients.
type Outbound struct {
	// AllowCIDRs are networks that it may reach although they are private, loopback or link-local.
	AllowCIDRs []netip.Prefix `koanf:"allow_cidrs"`
}

// Log is about the log on stderr.
type Log struct {
	// Level is debug, info, warn or error.
	Level string `koanf:"level"`
	// Format is json or text.
	Format string `koanf:"format"`
}

// Telemetry is about traces and profiles.
type Telemetry struct {
	// TracesEndpoint is the OTLP/HTTP URL that traces go to. Empty: no traces.
	TracesEndpoint string `koanf:"traces_endpoint"`
	// TracesRatio is the share of requests that are traced where the caller does not say, 0 to 1.
	TracesRatio float64 `koanf:"traces_ratio"`
	// Pprof serves /debug/pprof to loopback callers of the admin listener.
	Pprof bool `koanf:"pprof"`
}

// SecretRef says where a secret is found: in a file, in an environment variable, or in what a command prints. At most one
// of the three is set. The secret itself is never part of a configuration.
type SecretRef struct {
	// File is the path of a file that holds the secret and nothing else.
	File string `koanf:"file"`
	// Env is the name of an environment variable.
	Env string `koanf:"env"`
	// Exec is a command and its arguments, started without a shell.
	Exec []string `koanf:"exec"`
}
