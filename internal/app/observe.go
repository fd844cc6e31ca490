package app

import (
	"context"
	"time"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/endpoints"
	"github.com/seed-1972b8eb/signet/internal/limits"
	"github.com/seed-1972b8eb/signet/internal/telemetry"
)

// staleAfter is the age of the registry epoch from which the server calls itself degraded: a change takes longer to be seen
// than it promises (DESIGN.md §6).
const staleAfter = 2 * time.Second

// observe makes the metrics and connects them to what they measure.
func (a *App) observe(failures *limits.Failures, refusals *audit.Refusals) {
	a.metrics = telemetry.NewMetrics(a.version)
	a.metrics.Cache("clients", a.cache.Size)
	a.metrics.Cache("failures", failures.Stats)
	a.metrics.Cache("refusals", refusals.Stats)
	a.metrics.RegistryStaleness(a.cache.Stale)
	if r := a.replicated; a.redis != nil {
		n := r.Counts()
		a.metrics.Revocations(telemetry.RevocationSources{
			Leased: r.Trusted, FromRedis: n.FromRedis.Load, FromLedger: n.FromLedger.Load,
			Rebuilds: n.Rebuilds.Load, Withdrawals: n.Withdrawals.Load,
		})
	}
	a.metrics.SigningKeys(func() map[telemetry.KeyState]int {
		counts := map[telemetry.KeyState]int{}
		for _, k := range a.ring.Keys() {
			counts[telemetry.KeyState{Alg: string(k.Alg), State: string(k.State)}]++
		}
		return counts
	})
	for name, pool := range a.db.Pools() {
		a.metrics.Database(pool, name)
	}
}

// ready says how the things that the server needs are doing. Trouble with the database is "degraded" and never "failing":
// every replica has it at once, and without any of them not even the keys could be fetched.
func (a *App) ready(ctx context.Context) []endpoints.Check {
	database := endpoints.Check{Name: "database", State: endpoints.OK}
	if stale := a.cache.Stale(); stale > staleAfter || a.db.Ping(ctx) != nil {
		database.State = endpoints.Degraded
		database.Detail = "tokens are issued to known clients for up to 60 s after the database was last read; the rest answers 503"
	}
	signing := endpoints.Check{Name: "signing_keys", State: endpoints.OK}
	if len(a.ring.Algorithms()) == 0 {
		signing.State, signing.Detail = endpoints.Failing, "no signing key is active"
	}
	checks := []endpoints.Check{database, signing}
	if a.redis != nil {
		redis := endpoints.Check{Name: "redis", State: endpoints.OK}
		if !a.replicated.Trusted() {
			redis.State, redis.Detail = endpoints.Degraded, "introspection reads the database instead; nothing is refused"
		}
		checks = append(checks, redis)
	}
	return checks
}
