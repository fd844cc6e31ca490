package config

import (
	"path/filepath"
	"time"
)

// The limits that no configuration passes.
const (
	maxTokenTTL       = 24 * time.Hour // DESIGN.md §4
	minTokenTTL       = time.Second
	maxSocketPath     = 107 // bytes of sun_path on Linux, less the closing NUL (unix(7))
	maxGrace          = time.Minute
	minConns          = 2 // to PostgreSQL: work that one replica at a time does holds one for its lock
	minConnsWithRedis = 4 // a rebuild of the set in Redis holds two, and must leave some for requests
)

// DefaultURLEnv is the environment variable that holds the PostgreSQL URL where the configuration names none.
const DefaultURLEnv = "SIGNET_DATABASE_URL"

// DefaultRedisURLEnv is the environment variable that holds the Redis URL where the configuration names none.
const DefaultRedisURLEnv = "SIGNET_REDIS_URL"

// DefaultDataDir is the data directory of a server that was told none.
const DefaultDataDir = "/var/lib/signet"

// Default returns every option's default. The issuer has none.
func Default() *Config {
	c := defaults()
	c.derive()
	return c
}

// defaults are the defaults that depend on no other option.
func defaults() *Config {
	return &Config{
		DataDir:  DefaultDataDir,
		Listen:   Listen{Public: "127.0.0.1:8080", Admin: "127.0.0.1:8081"},
		Database: Database{Driver: SQLite, MaxConns: 16},
		Redis:    Redis{PoolSize: 16},
		Keys:     Keys{RotateEvery: 30 * 24 * time.Hour, JWKSMaxAge: 5 * time.Minute},
		Tokens:   Tokens{DefaultTTL: 5 * time.Minute, MaxTTL: maxTokenTTL},
		Limits: Limits{
			FailuresBurst:     100,
			FailuresPerSecond: 1,
			ClientBurst:       50,
			MaxConnections:    8192,
		},
		Log:       Log{Level: "info", Format: "json"},
		Telemetry: Telemetry{TracesRatio: 0.01},
	}
}

// derive fills in the defaults that follow from the data directory, where nothing else was said.
func (c *Config) derive() {
	if c.Listen.AdminSocket == "" {
		c.Listen.AdminSocket = filepath.Join(c.DataDir, "admin.sock")
	}
	if c.Database.Path == "" {
		c.Database.Path = filepath.Join(c.DataDir, "signet.db")
	}
	if c.Database.URL.empty() {
		c.Database.URL.Env = DefaultURLEnv
	}
	if c.Keys.MasterKey.empty() {
		c.Keys.MasterKey.File = filepath.Join(c.DataDir, "keys", "master.key")
	}
	if c.Keys.Pepper.empty() {
		c.Keys.Pepper.File = filepath.Join(c.DataDir, "keys", "pepper.key")
	}
}
