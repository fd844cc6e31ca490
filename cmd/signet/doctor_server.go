package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strings"
	"time"

	"github.com/seed-1972b8eb/signet/internal/app"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// clockWarn is how far clocks may differ before tokens look issued in the future to somebody.
const clockWarn = 10 * time.Second

// redisPatience is how long doctor waits for Redis.
const redisPatience = 2 * time.Second

func (d *doctor) checkDatabase(ctx context.Context) bool {
	const check = "database"
	db, err := app.OpenDatabase(ctx, d.cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		advice := "see that the server runs and the URL is right"
		if errors.Is(err, sqlstore.ErrMissing) {
			advice = "run signet init for a new server, signet restore for one from a backup"
		}
		d.fail(check, err.Error(), advice)
		return false
	}
	d.db = db
	if err := db.Ping(ctx); err != nil {
		d.fail(check, err.Error(), "see that the server runs")
		return false
	}
	d.ok(check, string(d.cfg.Database.Driver)+" answers")
	return true
}

func (d *doctor) checkSchema(ctx context.Context) bool {
	err := d.db.CheckSchema(ctx)
	switch {
	case err == nil:
		d.ok("schema", "current")
		return true
	case errors.Is(err, sqlstore.ErrSchemaOlder):
		d.fail("schema", err.Error(), "run signet migrate up")
	case errors.Is(err, sqlstore.ErrSchemaNewer):
		d.fail("schema", err.Error(), "use the newer program that migrated it")
	default:
		d.fail("schema", err.Error(), "see whether this is the right database")
	}
	return false
}

// checkRedis warns only: a server works without.
func (d *doctor) checkRedis(ctx context.Context) {
	const check = "redis"
	set, err := app.OpenRedis(ctx, d.cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		d.fail(check, err.Error(), "correct redis.url; the server does not start with this one")
		return
	}
	if set == nil {
		d.checkOthersRedis(ctx)
		return
	}
	defer func() { _ = set.Close() }()
	ctx, cancel := context.WithTimeout(ctx, redisPatience)
	defer cancel()
	if _, err := set.Identity(ctx); err != nil {
		d.warn(check, err.Error(), "mend it; introspection reads the database meanwhile")
		return
	}
	d.ok(check, "a primary answers")
}

// checkOthersRedis finds out whether replicas trust a Redis that this configuration does not name. Whether the database can be asked
// is a check of its own.
func (d *doctor) checkOthersRedis(ctx context.Context) {
	if d.db == nil {
		return
	}
	// Nothing has changed since the end of time: only the trust row is wanted.
	if poll, err := d.db.Source().Poll(ctx, math.MaxInt64); err == nil && poll.Trust.WriteID != "" {
		d.warn("redis", "none is configured here, and other replicas use one: each revocation here takes it from them, and waits",
			"configure the same redis.url for all; after Redis was switched off for all, the next revocation mends it")
	}
}

func (d *doctor) checkIssuer(ctx context.Context) {
	meta, err := d.db.Meta(ctx)
	switch issuer := meta["issuer"]; {
	case err != nil:
		d.fail("issuer", err.Error(), "see that the database answers")
	case issuer == "":
		d.fail("issuer", "the database has none", "run signet init")
	case issuer != d.cfg.Issuer:
		d.fail("issuer", fmt.Sprintf("the database belongs to %s, configured is %s", issuer, d.cfg.Issuer), "correct issuer, or the database's place")
	default:
		d.ok("issuer", issuer)
	}
}

// checkSigningKeys unseals every key that a server would load.
func (d *doctor) checkSigningKeys(ctx context.Context) {
	const check = "signing keys"
	if d.master == nil {
		return
	}
	ring := keys.NewRing(d.db.Keys(), keys.NewSealer(d.cfg.Issuer, *d.master), app.Plan(d.cfg))
	err := ring.Reload(ctx)
	var unusable *keys.UnusableError
	switch {
	case errors.As(err, &unusable) && unusable.Active():
		d.fail(check, err.Error(), "bring back the master key that sealed them; the server does not start without")
	case errors.As(err, &unusable):
		d.warn(check, err.Error(), "bring back the master key that sealed them, or revoke them: signet key revoke KID")
	case err != nil:
		d.fail(check, err.Error(), "see that the database answers")
	case len(ring.Algorithms()) == 0:
		d.fail(check, "there are none", "run signet init")
	default:
		var algs []string
		for _, alg := range ring.Algorithms() {
			algs = append(algs, string(alg))
		}
		d.ok(check, "unsealed; "+strings.Join(algs, ", ")+" sign")
	}
}

func (d *doctor) checkServer(ctx context.Context) {
	const check = "server"
	path := d.cfg.Listen.AdminSocket
	status, err := adminapi.NewUnix(path).Status(ctx)
	if err != nil {
		if errors.Is(err, adminapi.ErrUnreachable) {
			d.warn(check, "none answers at "+path, "start it with signet serve")
		} else {
			d.fail(check, err.Error(), "see its log")
		}
		return
	}
	d.server = status
	d.checkSocketFile()
	if status.Issuer != d.cfg.Issuer {
		d.fail(check, "the one at "+path+" is for "+status.Issuer, "this is another server's data directory or configuration")
		return
	}
	if !status.Ready {
		var wrong []string
		for _, c := range status.Checks {
			if c.State != okay {
				wrong = append(wrong, c.Name+": "+c.State)
			}
		}
		d.fail(check, "runs but is not ready: "+strings.Join(wrong, "; "), "see its log")
		return
	}
	d.ok(check, "version "+status.Version+" runs since "+when(status.StartedAt))
}

// checkClock compares this machine's clock with what the database knows to have happened, and with the server's.
func (d *doctor) checkClock(ctx context.Context) {
	const check = "clock"
	now := time.Now()
	if d.server != nil && d.server.Now.Sub(now).Abs() > clockWarn {
		d.fail(check, fmt.Sprintf("differs from the server's by %s", d.server.Now.Sub(now).Round(time.Second)), "synchronise the clocks (NTP)")
		return
	}
	if d.db != nil {
		set, err := d.db.Keys().KeySet(ctx)
		if err != nil {
			return // said before
		}
		for i := range set.Keys {
			if made := set.Keys[i].CreatedAt; made.After(now.Add(clockWarn)) {
				d.fail(check, "key "+set.Keys[i].KID+" was made "+when(made)+", and it is "+when(now)+" now", "set the clock (NTP); tokens would be issued in the past")
				return
			}
		}
	}
	d.ok(check, when(now))
}

// checkListeners tries the addresses where no server holds them.
func (d *doctor) checkListeners(ctx context.Context) {
	if d.server != nil {
		return
	}
	for _, l := range []struct{ check, address string }{
		{"public listener", d.cfg.Listen.Public}, {"admin listener", d.cfg.Listen.Admin},
	} {
		if l.address == "" {
			continue
		}
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", l.address)
		if err != nil {
			d.fail(l.check, err.Error(), "stop what holds the address, or choose another one")
			continue
		}
		_ = listener.Close()
		d.ok(l.check, l.address+" is free")
	}
}
