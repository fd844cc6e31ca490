package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/seed-1972b8eb/signet/internal/app"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/backup"
	"github.com/seed-1972b8eb/signet/internal/config"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

func newRestoreCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Fill an empty database from a backup", Args: usageArgs(cobra.ExactArgs(1)),
		Long: "Fill an empty database from a backup, all of it or nothing. The master key and the pepper of the backup must be in " +
			"place, and the server must not run. With SQLite the file must not exist; with PostgreSQL the database must be empty.\n\n" +
			"What was revoked after the backup was made is not in it. So every client's generation is raised: every token issued so " +
			"far ends, and clients ask for new ones by themselves. --nothing-lost leaves the generations as they are; say it only when " +
			"nothing has changed since the backup. Clients deleted or disabled, secrets and keys revoked since must be so again.",
	}
	flags := cmd.Flags()
	identity := flags.String("identity-file", "", "file with the age identity that opens it")
	passphrase := flags.String("passphrase-file", "", "file with the passphrase that opens it")
	nothingLost := flags.Bool("nothing-lost", false, "nothing has changed since the backup: keep live tokens alive")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if (*identity == "") == (*passphrase == "") {
			return errOneOf("--identity-file and --passphrase-file")
		}
		cfg, err := env.load()
		if err != nil {
			return err
		}
		ids, err := identities(*identity, *passphrase)
		if err != nil {
			return err
		}
		return env.restore(cmd.Context(), cfg, args[0], ids, *nothingLost)
	}
	return cmd
}

func identities(identity, passphrase string) ([]age.Identity, error) {
	if identity != "" {
		return backup.Identities(identity)
	}
	id, err := backup.PassphraseIdentity(passphrase)
	return []age.Identity{id}, err
}

// restore checks everything that can be checked before it touches the database.
func (env *cliEnv) restore(ctx context.Context, cfg *config.Config, path string, ids []age.Identity, nothingLost bool) (err error) {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // read only
	reader, err := backup.NewReader(file, ids...)
	if err != nil {
		return refusal{fmt.Errorf("%s: %w", path, err)}
	}
	header := reader.Header()
	master, pepper, err := app.RootKeys(ctx, cfg)
	if err != nil {
		return err
	}
	if err := header.CheckRootKeys(master, pepper); err != nil {
		return refusal{err}
	}
	if header.Issuer != cfg.Issuer {
		return refusal{fmt.Errorf("backup is of %s, configured is %s; its signing keys open for no other issuer", header.Issuer, cfg.Issuer)}
	}
	db, discard, err := emptyDatabase(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, db.Close())
		if err != nil {
			err = errors.Join(err, discard())
		}
	}()
	if err := fill(ctx, db, reader, nothingLost); err != nil {
		return err
	}
	env.talk("Restored the backup of %s, made %s.", header.Issuer, when(header.CreatedAt))
	if !nothingLost {
		env.talk("Every token issued so far has ended. What was deleted, disabled or revoked after that time must be so again.")
	}
	return nil
}

// fill loads the rows in one transaction, which damage among them undoes.
func fill(ctx context.Context, db *sqlstore.DB, reader *backup.Reader, nothingLost bool) error {
	header := reader.Header()
	err := db.Load(ctx, header.Schema, loadable(reader))
	if errors.Is(err, sqlstore.ErrNotEmpty) || errors.Is(err, sqlstore.ErrSchemaNewer) || errors.Is(err, backup.ErrDamaged) {
		return refusal{err}
	}
	if err != nil {
		return err
	}
	event := audit.Event{
		Time: time.Now().UTC(), Actor: audit.Actor{ID: "local", Source: "cli"}, Action: "database.restore", Subject: header.Issuer,
		Detail: map[string]any{"backup_of": when(header.CreatedAt), "nothing_lost": nothingLost},
	}
	if err := db.FinishRestore(ctx, header.Issuer, nothingLost, event); err != nil {
		return fmt.Errorf("the rows are restored, but old tokens are not ended; empty the database and restore again: %w", err)
	}
	return nil
}

// unfinished stands in for the issuer until FinishRestore: no server starts on a database that a killed restore left behind,
// in which old tokens still live, and init does not take it for a new one.
const unfinished = "(a restore that did not finish)"

// loadable turns the rows of a backup into those of the store.
func loadable(reader *backup.Reader) iter.Seq2[sqlstore.Row, error] {
	return func(yield func(sqlstore.Row, error) bool) {
		for row, err := range reader.Rows() {
			if row.Table == "meta" && row.Values["key"] == "issuer" {
				row.Values["value"] = unfinished
			}
			if !yield(sqlstore.Row{Table: row.Table, Values: row.Values}, err) {
				return
			}
		}
	}
}

// emptyDatabase makes the SQLite file, or opens the PostgreSQL database, which Load finds empty or refuses. discard takes
// back what was made.
func emptyDatabase(ctx context.Context, cfg *config.Config) (*sqlstore.DB, func() error, error) {
	discard := func() error { return nil }
	if cfg.Database.Driver == config.SQLite {
		err := sqlstore.Create(ctx, sqlstore.Config{Driver: string(config.SQLite), Path: cfg.Database.Path})
		if errors.Is(err, sqlstore.ErrExists) {
			return nil, nil, refusal{fmt.Errorf("%w; a restore never overwrites: move %s away first", err, cfg.Database.Path)}
		}
		if err != nil {
			return nil, nil, err
		}
		discard = func() error {
			var errs []error
			for _, tail := range []string{"", "-wal", "-shm"} {
				if err := os.Remove(cfg.Database.Path + tail); err != nil && !errors.Is(err, os.ErrNotExist) {
					errs = append(errs, err)
				}
			}
			return errors.Join(errs...)
		}
	}
	db, err := app.OpenDatabase(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, nil, errors.Join(err, discard())
	}
	return db, discard, nil
}
