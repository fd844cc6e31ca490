package main

import (
	"errors"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/app"
	"github.com/seed-1972b8eb/signet/internal/config"
)

func newInitCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{
		Use: "init", Short: "Make root keys, database and first signing keys of a new server", Args: usageArgs(cobra.NoArgs),
		Long: "Make what a new server needs: the data directory, the master key and the pepper where they are files, the database " +
			"with its schema and issuer, and the first signing keys. It never overwrites: where any of this exists, it changes nothing.",
		Example: "  signet init --config /etc/signet/signet.yaml",
	}
	ifNeeded := cmd.Flags().Bool("if-needed", false, "succeed without a change where the server is there already, whole and of this issuer")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := env.load()
		if err != nil {
			return err
		}
		log := slog.New(slog.DiscardHandler)
		err = app.Init(cmd.Context(), cfg, log, apis.ES256, apis.RS256, apis.EdDSA)
		if errors.Is(err, app.ErrInitialised) && *ifNeeded {
			if err := app.CheckInitialised(cmd.Context(), cfg); err != nil {
				return err
			}
			env.talk("The server for %s is there already; nothing was changed.", cfg.Issuer)
			return nil
		}
		if errors.Is(err, app.ErrInitialised) {
			return refusal{err}
		}
		if err != nil {
			return err
		}
		env.talk("Made a server for %s:", cfg.Issuer)
		env.talk("  data directory  %s", cfg.DataDir)
		env.talk("  master key      %s", cfg.Keys.MasterKey)
		env.talk("  pepper          %s", cfg.Keys.Pepper)
		if cfg.Database.Driver == config.SQLite {
			env.talk("  database        %s", cfg.Database.Path)
		} else {
			env.talk("  database        PostgreSQL, from %s", cfg.Database.URL)
		}
		env.talk("  signing keys    ES256, RS256, EdDSA")
		env.talk("Copy the master key and the pepper to a safe place apart from the database: without them a backup is useless.")
		return nil
	}
	return cmd
}
