package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/seed-1972b8eb/signet/internal/app"
	"github.com/seed-1972b8eb/signet/internal/config"
	"github.com/seed-1972b8eb/signet/internal/telemetry"
)

func newServeCmd(env *cliEnv) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: `Run the server of a configuration. It makes no keys, databases or admins that are not there: signet init does, once.

SIGTERM drains: /readyz says no, requests under way are answered, then the process ends.
SIGHUP reads the configuration again: certificate and log level change, other options are named as needing a restart, and
a configuration with a mistake changes nothing.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runServe(cmd.Context(), env) },
	}
}

func runServe(ctx context.Context, env *cliEnv) (err error) {
	cfg, err := env.load()
	if err != nil {
		return err
	}
	outliveLog()
	level := new(slog.LevelVar)
	level.Set(logLevel(cfg))
	log := env.logger(telemetry.Format(cfg.Log.Format), level)
	server, err := app.New(ctx, app.Options{Config: cfg, Log: log, Version: buildInfo().Version})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }() //nolint:contextcheck // ctx has ended by then

	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	reload := func() {
		next, err := env.load()
		if err == nil {
			err = server.Reload(ctx, next)
		}
		if err != nil {
			log.ErrorContext(ctx, "configuration is not changed", slog.String("error", err.Error()))
			return
		}
		level.Set(logLevel(next))
		log.InfoContext(ctx, "configuration is read again")
	}
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangups:
				reload()
			}
		}
	}()
	return server.Run(ctx, nil, func() {
		log.InfoContext(ctx, "serving", slog.String("issuer", cfg.Issuer), slog.String("public", cfg.Listen.Public),
			slog.String("admin", server.AdminAddress()), slog.String("version", buildInfo().Version))
	})
}

// outliveLog keeps a server alive whose log nobody reads any more: Go ends a process that writes to a pipe without a reader on
// its standard output or error. Ignoring the signal instead would be inherited by the programs that print root keys.
func outliveLog() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// logger writes to standard error; text has colour where that is a terminal and NO_COLOR is not set.
func (env *cliEnv) logger(format telemetry.Format, level slog.Leveler) *slog.Logger {
	if format == telemetry.FormatText && env.Getenv("NO_COLOR") != "" {
		format = telemetry.FormatPlain
	}
	return telemetry.NewLogger(format, level, env.Stderr)
}

// logLevel is the level of a configuration that was validated.
func logLevel(cfg *config.Config) slog.Level {
	var level slog.Level
	_ = level.UnmarshalText([]byte(cfg.Log.Level))
	return level
}
