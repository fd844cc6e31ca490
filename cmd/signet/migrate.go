package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/seed-1972b8eb/signet/internal/app"
	"github.com/seed-1972b8eb/signet/internal/config"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

func newMigrateCmd(env *cliEnv) *cobra.Command {
	return noun("migrate", "The schema of the database", newMigrateUpCmd(env), newMigrateStatusCmd(env))
}

// withDatabase opens the configured database for a command that works without a server.
func (env *cliEnv) withDatabase(ctx context.Context, do func(cfg *config.Config, db *sqlstore.DB) error) (err error) {
	cfg, err := env.load()
	if err != nil {
		return err
	}
	db, err := app.OpenDatabase(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return do(cfg, db)
}

func newMigrateUpCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{
		Use: "up", Short: "Bring the schema to the version of this program", Args: usageArgs(cobra.NoArgs),
		Long: "Bring the schema to the version of this program. Several replicas may do it at once, and servers of the version before " +
			"go on working meanwhile. A schema that is newer, or that this program did not make, is refused.",
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return env.withDatabase(cmd.Context(), func(_ *config.Config, db *sqlstore.DB) error {
			from, to, err := db.Migrate(cmd.Context())
			if errors.Is(err, sqlstore.ErrSchemaNewer) || errors.Is(err, sqlstore.ErrSchemaDirty) {
				return refusal{err}
			}
			if err != nil {
				return err
			}
			if from == to {
				env.talk("The schema is at version %d; there is nothing to do.", to)
				return nil
			}
			env.talk("Migrated the schema from version %d to %d.", from, to)
			return nil
		})
	}
	return cmd
}

// schemaStatus is what migrate status prints.
type schemaStatus struct {
	Version int64    `json:"version"`
	Latest  int64    `json:"latest"`
	Pending []string `json:"pending"`
	State   string   `json:"state"`
}

func newMigrateStatusCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{
		Use: "status", Short: "Show the version of the schema and what is pending", Args: usageArgs(cobra.NoArgs),
		Long: "Show the version of the schema and what is pending. Exit code 1 when this program cannot work with it as it is.",
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return env.withDatabase(cmd.Context(), func(_ *config.Config, db *sqlstore.DB) error {
			s, err := db.Status(cmd.Context())
			if err != nil {
				return err
			}
			out := schemaStatus{Version: s.Version, Latest: s.Latest, Pending: append([]string{}, s.Pending...), State: "current"}
			switch {
			case s.Dirty:
				out.State = "dirty"
			case s.Version > s.Latest:
				out.State = "newer"
			case s.Version < s.Latest:
				out.State = "older"
			}
			rows := []table.Row{{"state", out.State}, {"version", out.Version}, {"latest", out.Latest}}
			for _, p := range out.Pending {
				rows = append(rows, table.Row{"pending", p})
			}
			if err := record(env, *output, out, rows); err != nil {
				return err
			}
			if out.State != "current" {
				return silentError{errChecks}
			}
			return nil
		})
	}
	return cmd
}
