package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/config"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/rootkeys"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

// ErrInitialised means that what Init would make is there already.
var ErrInitialised = errors.New("already initialised")

// Init makes what a new server needs and does not have: the data directory, the root keys where they are files, the
// database's schema, its issuer, and the first signing keys of algs. It refuses to start where any of them exists, so that
// nothing is ever overwritten, and takes back the files that it made when a later step fails.
func Init(ctx context.Context, c *config.Config, log *slog.Logger, algs ...apis.Alg) (err error) {
	if err := refuseExisting(c); err != nil {
		return err
	}
	var made []string
	defer func() {
		if err != nil {
			for _, path := range made {
				err = errors.Join(err, os.RemoveAll(path))
			}
		}
	}()
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	for what, ref := range map[string]config.SecretRef{"master key": c.Keys.MasterKey, "pepper": c.Keys.Pepper} {
		if ref.File == "" {
			continue // it comes from the environment or a command; RootKeys below says when it does not
		}
		if err := makeRootKey(ref.File); err != nil {
			return fmt.Errorf("make the %s: %w", what, err)
		}
		made = append(made, ref.File)
	}
	master, pepper, err := RootKeys(ctx, c)
	if err != nil {
		return err
	}
	if c.Database.Driver == config.SQLite {
		d, err := database(ctx, c)
		if err != nil {
			return err
		}
		if err := sqlstore.Create(ctx, d); err != nil {
			return err
		}
		made = append(made, c.Database.Path, c.Database.Path+"-wal", c.Database.Path+"-shm")
	}
	return fillDatabase(ctx, c, log, master, pepper, algs)
}

// CheckInitialised says what is missing or foreign in what Init has made: root keys that cannot be read, a database that is
// not there, of another schema or of another issuer.
func CheckInitialised(ctx context.Context, c *config.Config) (err error) {
	_, pepper, err := RootKeys(ctx, c)
	if err != nil {
		return err
	}
	db, err := OpenDatabase(ctx, c, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.CheckSchema(ctx); err != nil {
		return err
	}
	if err := checkIssuer(ctx, db, c.Issuer); err != nil {
		return err
	}
	return checkPepper(ctx, db, pepper)
}

// fillDatabase brings an empty database to the first state that a server starts from.
func fillDatabase(ctx context.Context, c *config.Config, log *slog.Logger, master, pepper rootkeys.Set, algs []apis.Alg) (err error) {
	db, err := OpenDatabase(ctx, c, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	// Each of two at once would find the database empty, and leave its own issuer and pepper beside the other's keys.
	ran, err := db.Exclusive(ctx, "init", func(ctx context.Context) error { return fill(ctx, db, c, log, master, pepper, algs) })
	if err == nil && !ran {
		return errInitRuns
	}
	return err
}

// errInitRuns is no ErrInitialised: nobody knows yet how the other one ends.
var errInitRuns = errors.New("another signet init is at work on this database")

func fill(ctx context.Context, db *sqlstore.DB, c *config.Config, log *slog.Logger, master, pepper rootkeys.Set, algs []apis.Alg) error {
	if _, _, err := db.Migrate(ctx); err != nil {
		return err
	}
	meta, err := db.Meta(ctx)
	if err != nil {
		return err
	}
	if meta[metaIssuer] != "" {
		return fmt.Errorf("%w: the database belongs to %s", ErrInitialised, meta[metaIssuer])
	}
	if err := db.SetMeta(ctx, metaIssuer, c.Issuer); err != nil {
		return err
	}
	if err := checkPepper(ctx, db, pepper); err != nil {
		return err
	}
	manager := keys.NewManager(keys.ManagerConfig{Store: db.Keys(), Sealer: keys.NewSealer(c.Issuer, master), Plan: Plan(c), Log: log})
	return manager.Ensure(ctx, audit.Actor{ID: "local"}, algs...)
}

func refuseExisting(c *config.Config) error {
	paths := []string{c.Keys.MasterKey.File, c.Keys.Pepper.File}
	if c.Database.Driver == config.SQLite {
		paths = append(paths, c.Database.Path)
	}
	for _, path := range paths {
		if path == "" {
			continue
		}
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%w: %s exists", ErrInitialised, path)
		}
	}
	return nil
}

func makeRootKey(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	_, err := rootkeys.Create(path)
	return err
}
