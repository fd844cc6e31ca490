// Package app is the composition root: it opens what a server needs, wires the packages together once, and runs them until
// it is told to stop. Nothing else in the repository constructs a service.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/seed-1972b8eb/signet/internal/admin"
	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/config"
	"github.com/seed-1972b8eb/signet/internal/credential"
	"github.com/seed-1972b8eb/signet/internal/endpoints"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/limits"
	"github.com/seed-1972b8eb/signet/internal/oauth"
	"github.com/seed-1972b8eb/signet/internal/redisstore"
	"github.com/seed-1972b8eb/signet/internal/registry"
	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
	"github.com/seed-1972b8eb/signet/internal/telemetry"
	"github.com/seed-1972b8eb/signet/internal/tokens"
	"github.com/seed-1972b8eb/signet/internal/usage"
	"github.com/seed-1972b8eb/signet/internal/web"
)

// refusalsKept is how many refused requests can be explained.
const refusalsKept = 10_000

// App is one server. New makes it, Run serves, Close gives everything back.
type App struct {
	cfg     *config.Config
	log     *slog.Logger
	version string

	lock        *dirLock
	db          *sqlstore.DB
	revocations revocations.Store
	memory      *revocations.Memory     // with SQLite: the same as revocations
	replicated  *revocations.Replicated // with PostgreSQL: the same as revocations
	redis       *redisstore.Set         // nil: none is configured
	plan        keys.Plan
	keys        *keys.Manager
	ring        *keys.Ring
	cache       *registry.Cache
	pepper      *credential.Pepper
	usage       *usage.Counter
	metrics     *telemetry.Metrics
	certificate *web.Certificate
	tracing     *telemetry.Tracing

	public http.Handler // the OAuth endpoints
	local  http.Handler // the admin API on the Unix socket
	tcp    http.Handler // the admin listener

	adminAddress string // of the admin listener, once it is open

	// APIs and Clients are the registries, for the commands that register something before they serve.
	APIs    *apis.Registry
	Clients *clients.Registry
}

// Options is what New is told beside the configuration.
type Options struct {
	Config  *config.Config
	Log     *slog.Logger
	Version string
}

// New opens the data directory and the database, unseals the keys and wires the server. It creates nothing: what is not
// there is an error that says which command makes it.
func New(ctx context.Context, o Options) (*App, error) {
	a := &App{cfg: o.Config, log: o.Log, version: o.Version}
	for _, step := range []func(context.Context) error{a.openData, a.openKeys, a.openRegistry, a.wire} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, a.Close()) //nolint:contextcheck // gives back, also when ctx has ended
		}
	}
	return a, nil
}

// openData locks the data directory and opens the database.
func (a *App) openData(ctx context.Context) error {
	if info, err := os.Stat(a.cfg.DataDir); err != nil || !info.IsDir() {
		return fmt.Errorf("data directory %s is not there: run signet init first", a.cfg.DataDir)
	}
	var err error
	if a.lock, err = lockDir(a.cfg.DataDir); err != nil {
		return err
	}
	d, err := database(ctx, a.cfg)
	if err != nil {
		return err
	}
	d.Log, d.Committed, d.Confirm = a.log, a.committed, a.confirm
	if a.db, err = sqlstore.Open(ctx, d); err != nil {
		return err
	}
	if err := a.db.CheckSchema(ctx); err != nil {
		return err
	}
	return checkIssuer(ctx, a.db, a.cfg.Issuer)
}

// committed is told of each change that this process has made, before the change is acknowledged.
func (a *App) committed(ctx context.Context, c registry.Commit) {
	// First what must not be missed: with SQLite the set in memory is what introspection reads.
	if a.memory != nil {
		for _, cut := range c.CutOffs {
			a.memory.Cut(cut)
		}
	}
	if a.cache != nil {
		a.cache.Committed(ctx, c)
	}
}

// confirm stands between the commit of a change and its acknowledgement: no other replica may answer from anything older.
func (a *App) confirm(ctx context.Context) error {
	if a.replicated == nil {
		return nil
	}
	return a.replicated.Confirm(ctx)
}

// openKeys loads the root keys and unseals the signing keys.
func (a *App) openKeys(ctx context.Context) error {
	master, pepper, err := RootKeys(ctx, a.cfg)
	if err != nil {
		return err
	}
	if err := checkPepper(ctx, a.db, pepper); err != nil {
		return err
	}
	a.pepper = credential.NewPepper(pepper)
	a.plan = Plan(a.cfg)
	sealer := keys.NewSealer(a.cfg.Issuer, master)
	a.keys = keys.NewManager(keys.ManagerConfig{Store: a.db.Keys(), Sealer: sealer, Plan: a.plan, Log: a.log})
	a.ring = keys.NewRing(a.db.Keys(), sealer, a.plan)
	err = a.ring.Reload(ctx)
	var unusable *keys.UnusableError
	if errors.As(err, &unusable) && !unusable.Active() {
		a.log.WarnContext(ctx, "signing keys that do not sign now cannot be used", slog.String("error", err.Error()))
		return nil
	}
	return err
}

// reloadKeys follows a change of the signing keys. A key that cannot be unsealed is reported and left out: the others, and
// the rest of the registry, must go on.
func (a *App) reloadKeys(ctx context.Context) error {
	err := a.ring.Reload(ctx)
	if _, ok := errors.AsType[*keys.UnusableError](err); ok {
		a.log.ErrorContext(ctx, "signing keys cannot be used", slog.String("error", err.Error()))
		return nil
	}
	return err
}

// openRegistry fills the caches and makes the registries.
func (a *App) openRegistry(ctx context.Context) error {
	if err := a.openRevocations(ctx); err != nil {
		return err
	}
	var err error
	if a.cache, err = registry.New(registry.Config{
		Source: a.db.Source(), KeysChanged: a.reloadKeys, Polled: a.polled, Log: a.log,
	}); err != nil {
		return err
	}
	if err := a.cache.Start(ctx); err != nil {
		return err
	}
	a.usage = usage.NewCounter(a.db.Usage(), a.log)
	a.APIs = apis.NewRegistry(apis.RegistryConfig{
		Store: a.db.APIs(), DefaultTTL: a.cfg.Tokens.DefaultTTL, MaxTTL: a.cfg.Tokens.MaxTTL,
		EnsureKeys: func(ctx context.Context, by audit.Actor, alg apis.Alg) error { return a.keys.Ensure(ctx, by, alg) },
	})
	a.Clients = clients.NewRegistry(clients.RegistryConfig{
		Store: a.db.Clients(), APIs: a.db.APIs(), Pepper: a.pepper, MaxTTL: a.cfg.Tokens.MaxTTL, AllowCIDRs: a.cfg.Outbound.AllowCIDRs,
	})
	return nil
}

// openRevocations makes the set of revocations: in this process with SQLite, shared by the replicas with PostgreSQL.
func (a *App) openRevocations(ctx context.Context) error {
	if a.cfg.Database.Driver == config.SQLite {
		memory, err := revocations.NewMemory(ctx, a.db.Revocations())
		if err != nil {
			return err
		}
		a.memory, a.revocations = memory, memory
		return nil
	}
	c := revocations.ReplicatedConfig{Ledger: a.db.Ledger(), Grace: a.cfg.Revocation.Grace, Log: a.log}
	var err error
	if a.redis, err = OpenRedis(ctx, a.cfg, a.log); err != nil {
		return err
	}
	if a.redis != nil {
		c.Set = a.redis
	}
	a.replicated = revocations.NewReplicated(c)
	a.revocations = a.replicated
	return nil
}

// polled is told of each look at the database's epoch.
func (a *App) polled(sent time.Time, p registry.Poll) {
	if a.replicated != nil {
		a.replicated.Polled(sent, p.Now, p.Trust, p.Unconfirmed)
	}
}

// wire puts the HTTP surfaces together.
func (a *App) wire(ctx context.Context) error {
	issuer := tokens.NewIssuer(a.cfg.Issuer, a.ring)
	failures := limits.NewFailures(limits.Config{Burst: a.cfg.Limits.FailuresBurst, PerSecond: a.cfg.Limits.FailuresPerSecond})
	refusals := audit.NewRefusals(refusalsKept)
	proxies := web.NewProxies(a.cfg.Proxy.TrustedCIDRs)
	a.observe(failures, refusals)

	var err error
	if a.cfg.TLS.CertFile != "" {
		if a.certificate, err = web.NewCertificate(a.cfg.TLS.CertFile, a.cfg.TLS.KeyFile); err != nil {
			return err
		}
		a.metrics.CertificateExpiry(a.certificate.NotAfter)
	}
	if a.tracing, err = telemetry.NewTracing(ctx, telemetry.TracingConfig{
		Endpoint: a.cfg.Telemetry.TracesEndpoint, Ratio: a.cfg.Telemetry.TracesRatio, Log: a.log, Trusted: proxies.Trusts,
	}); err != nil {
		return err
	}
	var rate *limits.Rate
	if a.cfg.Limits.ClientPerSecond > 0 {
		rate = limits.NewRate(limits.Config{Burst: a.cfg.Limits.ClientBurst, PerSecond: a.cfg.Limits.ClientPerSecond})
		a.metrics.Cache("rate", rate.Stats)
	}
	server, err := oauth.New(oauth.Config{
		Issuer: a.cfg.Issuer, Registry: a.cache, Tokens: issuer, Algorithms: a.ring.Algorithms, Pepper: a.pepper,
		Revocations: a.revocations, Assertions: a.db.Assertions(), Usage: a.usage,
		Throttle: failures, Rate: rate, Outbound: oauth.OutboundConfig{AllowCIDRs: a.cfg.Outbound.AllowCIDRs}, Log: a.log,
	})
	if err != nil {
		return err
	}
	a.public = endpoints.New(endpoints.Config{
		Issuer: a.cfg.Issuer, OAuth: server, Ring: a.ring, Refusals: refusals, Metrics: a.metrics, Log: a.log, Tracing: a.tracing,
		Proxies: proxies, RequireTLS: a.cfg.Proxy.TerminatesTLS, Ready: a.ready,
	})
	local := admin.New(admin.Config{
		Issuer: a.cfg.Issuer, Version: a.version, Database: string(a.cfg.Database.Driver), JWKSURI: a.cfg.Issuer + endpoints.PathJWKS,
		Clients: a.Clients, APIs: a.APIs, Keys: a.keys, Revocations: a.revocations, Tokens: issuer, Trail: a.db.Trail(),
		Refusals: refusals, Log: a.log, Ready: func(ctx context.Context) []admin.Check {
			var checks []admin.Check
			for _, c := range a.ready(ctx) {
				checks = append(checks, admin.Check{Name: c.Name, State: string(c.State)})
			}
			return checks
		},
	})
	a.local = web.Handler(web.HandlerConfig{Log: a.log, Panic: admin.Panicked}, local)
	a.tcp = web.Handler(web.HandlerConfig{Log: a.log, Panic: admin.Panicked}, admin.TCP(admin.TCPConfig{
		Metrics: a.metrics.Handler(), Pprof: a.cfg.Telemetry.Pprof,
	}))
	return nil
}
