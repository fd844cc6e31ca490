package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/seed-1972b8eb/signet/internal/config"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/redisstore"
	"github.com/seed-1972b8eb/signet/internal/rootkeys"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

// metaIssuer is the row that binds a database to its issuer.
const metaIssuer = "issuer"

// metaPepper and a version is the row with the fingerprint of that version of the pepper.
const metaPepper = "pepper_"

// ErrIssuer means that a database belongs to another issuer than the configured one.
var ErrIssuer = errors.New("database belongs to another issuer")

// Plan is how signing keys change under a configuration.
func Plan(c *config.Config) keys.Plan {
	plan := keys.DefaultPlan()
	plan.RotateEvery, plan.JWKSMaxAge = c.Keys.RotateEvery, c.Keys.JWKSMaxAge
	return plan
}

// OpenDatabase opens the configured database for a command that works beside the server.
func OpenDatabase(ctx context.Context, c *config.Config, log *slog.Logger) (*sqlstore.DB, error) {
	d, err := database(ctx, c)
	if err != nil {
		return nil, err
	}
	d.Log = log
	return sqlstore.Open(ctx, d)
}

func database(ctx context.Context, c *config.Config) (sqlstore.Config, error) {
	d := sqlstore.Config{Driver: string(c.Database.Driver), Path: c.Database.Path, MaxConns: c.Database.MaxConns}
	if c.Database.Driver == config.Postgres {
		url, err := c.Database.URL.Read(ctx)
		if err != nil {
			return d, fmt.Errorf("read database.url: %w", err)
		}
		d.URL = url
	}
	return d, nil
}

// RootKeys loads the master key and the pepper.
func RootKeys(ctx context.Context, c *config.Config) (rootkeys.Set, rootkeys.Set, error) {
	master, err := rootkeys.Load(ctx, rootkeys.Source(c.Keys.MasterKey))
	if err != nil {
		return rootkeys.Set{}, rootkeys.Set{}, fmt.Errorf("load the master key: %w", err)
	}
	pepper, err := rootkeys.Load(ctx, rootkeys.Source(c.Keys.Pepper))
	if err != nil {
		return rootkeys.Set{}, rootkeys.Set{}, fmt.Errorf("load the pepper: %w", err)
	}
	return master, pepper, nil
}

func checkIssuer(ctx context.Context, db *sqlstore.DB, issuer string) error {
	meta, err := db.Meta(ctx)
	if err != nil {
		return fmt.Errorf("read the issuer of the database: %w", err)
	}
	if stored := meta[metaIssuer]; stored != issuer {
		return fmt.Errorf("%w: it was made for %q, configured is %q", ErrIssuer, stored, issuer)
	}
	return nil
}

// ErrPepper means that the pepper is not the one that a database's secrets were digested with.
var ErrPepper = errors.New("pepper is not the one of this database")

// checkPepper compares the pepper with what the database remembers of it, and lets it remember new versions. Under a foreign
// pepper every secret would look wrong, and nothing else would.
func checkPepper(ctx context.Context, db *sqlstore.DB, pepper rootkeys.Set) error {
	meta, err := db.Meta(ctx)
	if err != nil {
		return fmt.Errorf("read what the database knows of the pepper: %w", err)
	}
	for version, fingerprint := range pepper.Fingerprints() {
		switch known := meta[metaPepper+version]; known {
		case fingerprint:
		case "":
			if err := db.SetMeta(ctx, metaPepper+version, fingerprint); err != nil {
				return fmt.Errorf("note pepper version %s: %w", version, err)
			}
		default:
			return fmt.Errorf("%w: version %s differs; put the pepper back that it was made with", ErrPepper, version)
		}
	}
	return nil
}

// OpenRedis returns the fast set of revocations, nil where none is configured. It connects to nothing: a server starts also
// while its Redis is away.
func OpenRedis(ctx context.Context, c *config.Config, log *slog.Logger) (*redisstore.Set, error) {
	if !c.UsesRedis() {
		return nil, nil //nolint:nilnil // none is a configuration like any other
	}
	url, err := c.Redis.URL.Read(ctx)
	if err != nil {
		return nil, fmt.Errorf("read redis.url: %w", err)
	}
	return redisstore.Open(redisstore.Config{URL: url, CAFile: c.Redis.CAFile, PoolSize: c.Redis.PoolSize, Log: log})
}
