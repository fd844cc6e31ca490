// Package redisstore keeps the fast copy of the revocation set in Redis: it implements revocations.Set with go-redis, and is
// the only package that knows a Redis command. When that copy may be believed, and how it is rebuilt, is package
// revocations' business.
//
// All of a set is one sorted set, so that whatever loses a part of it loses its marker too. Its members are in members.go.
// Every call is one pipeline on one connection that ends with the proof of who answered (proof.go). Nothing is repeated and
// nothing is believed that has not exactly the expected shape.
//
// Redis 6.2 or later. What an ACL user needs, and nothing more:
//
//	ACL SETUSER signet on >PASSWORD resetkeys ~signet:rev:* resetchannels -@all +info +echo +client|setname +client|getname
//	+zadd +zmscore +zrangebyscore +zremrangebyscore +zrem +unlink +scan +multi +exec
//
// and +select where the URL names another database than 0.
package redisstore

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/seed-1972b8eb/signet/internal/revocations"
)

const (
	dialTimeout    = time.Second      // of a connection: TCP, TLS, and asking Sentinel where to
	ioTimeout      = time.Second      // of one answer, where the context allows longer
	connLifetime   = time.Minute      // so that a name or address that has moved is followed
	connJitter     = 20 * time.Second // so that not all connections end at once
	keepAliveIdle  = 15 * time.Second
	keepAliveEvery = 5 * time.Second
	defaultPool    = 16
)

// Config says which Redis.
type Config struct {
	// URL is redis://user:password@host:port/database, or rediss:// for TLS; user, port and database may be left out. With
	// ?master_name=NAME the host is a Sentinel, addr=host:port (any number) names more of them, and sentinel_username and
	// sentinel_password are for the Sentinels, which have none otherwise. Replicas must agree about the database.
	URL string
	// CAFile is a PEM file of the authorities that may sign Redis' (and Sentinel's) certificate. Empty: the system's.
	CAFile string
	// PoolSize is the most connections that are in use at once. 0: 16.
	PoolSize int
	// Log hears of new connections, at debug level. Nil: nobody.
	Log *slog.Logger
}

// Set is the fast copy in one Redis. Its methods are documented at revocations.Set; their contexts want a deadline, because
// the end of a context without one is noticed within a second only. Safe for concurrent use.
type Set struct {
	client    *redis.Client
	database  string
	log       *slog.Logger
	questions atomic.Uint64 // numbers the round trips
}

var _ revocations.Set = (*Set)(nil)

// Open prepares a Set; it does not connect. Errors never repeat the URL, which holds a password.
func Open(c Config) (*Set, error) {
	t, err := parseURL(c.URL)
	if err != nil {
		return nil, err
	}
	secure, err := t.tlsConfig(c.CAFile)
	if err != nil {
		return nil, err
	}
	s := &Set{database: t.databaseText(), log: c.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	size := c.PoolSize
	if size <= 0 {
		size = defaultPool
	}
	// What go-redis logs is what it returns to us as well, and the logger is one for the whole process.
	redis.SetLogger(&logging.VoidLogger{})
	if t.masterName != "" {
		s.client = redis.NewFailoverClient(s.failover(t, size, dialer(secure)))
	} else {
		s.client = redis.NewClient(s.options(t, size, dialer(secure)))
	}
	return s, nil
}

// Close ends all connections. Calls under way fail.
func (s *Set) Close() error { return s.client.Close() }

// Connections returns how many connections are open, and how many of these are idle.
func (s *Set) Connections() (int, int) {
	stats := s.client.PoolStats()
	return int(stats.TotalConns), int(stats.IdleConns)
}

type dial = func(ctx context.Context, network, addr string) (net.Conn, error)

// dialer connects within the context's time, which go-redis' own does not with TLS. The certificate must be for the host
// that is dialled: of the URL, or of what Sentinel says.
func dialer(secure *tls.Config) dial {
	plain := &net.Dialer{
		Timeout:         dialTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepAliveIdle, Interval: keepAliveEvery, Count: 3},
	}
	if secure == nil {
		return plain.DialContext
	}
	return (&tls.Dialer{NetDialer: plain, Config: secure}).DialContext
}

// options are those of one Redis. A repeated command could be a late one of an ended generation, so nothing retries; and
// nothing that could leave an unread answer on a connection may happen on it beside our own commands (CVE-2025-29923).
func (s *Set) options(t target, size int, d dial) *redis.Options {
	return &redis.Options{
		Addr:     t.addrs[0],
		Username: t.username, Password: t.password, DB: t.database,
		Dialer: d, OnConnect: s.name,
		Protocol:                 2, // no push frames between answers
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		MaxRetries:               -1,
		DialTimeout:              dialTimeout, DialerRetries: 1,
		ReadTimeout: ioTimeout, WriteTimeout: ioTimeout, PoolTimeout: ioTimeout,
		ContextTimeoutEnabled: true,
		PoolSize:              size,
		PipelinePoolSize:      -1, // every call is a pipeline: one pool
		ConnMaxLifetime:       connLifetime, ConnMaxLifetimeJitter: connJitter,
	}
}

// failover are the options of the primary that Sentinel names. go-redis leaves connections to a demoted one when Sentinel
// announces another, and we need not believe either.
func (s *Set) failover(t target, size int, d dial) *redis.FailoverOptions {
	o := s.options(t, size, d)
	return &redis.FailoverOptions{
		MasterName: t.masterName, SentinelAddrs: t.addrs,
		SentinelUsername: t.sentinelUsername, SentinelPassword: t.sentinelPassword,
		Username: o.Username, Password: o.Password, DB: o.DB,
		Dialer: o.Dialer, OnConnect: s.nameIfAllowed,
		Protocol:        o.Protocol,
		DisableIdentity: o.DisableIdentity,
		MaxRetries:      o.MaxRetries,
		DialTimeout:     o.DialTimeout, DialerRetries: o.DialerRetries,
		ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout, PoolTimeout: o.PoolTimeout,
		ContextTimeoutEnabled: o.ContextTimeoutEnabled,
		PoolSize:              o.PoolSize,
		PipelinePoolSize:      o.PipelinePoolSize,
		ConnMaxLifetime:       o.ConnMaxLifetime, ConnMaxLifetimeJitter: o.ConnMaxLifetimeJitter,
	}
}
