package main

import (
	"github.com/spf13/cobra"
)

func newConfigCmd(env *cliEnv) *cobra.Command {
	return noun("config", "The configuration", newConfigCheckCmd(env), newConfigPrintCmd(env))
}

func newConfigCheckCmd(env *cliEnv) *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "Report every problem of the configuration", Args: usageArgs(cobra.NoArgs),
		Long: "Report every problem of the configuration at once: file, environment and flags. It opens nothing; see doctor for that.",
		RunE: func(*cobra.Command, []string) error {
			if _, err := env.load(); err != nil {
				return err
			}
			env.talk("The configuration is valid.")
			return nil
		},
	}
}

func newConfigPrintCmd(env *cliEnv) *cobra.Command {
	return &cobra.Command{
		Use: "print", Short: "Print every option with its effective value, as YAML", Args: usageArgs(cobra.NoArgs),
		Long: "Print every option with its effective value, as YAML. Secrets are not part of a configuration; arguments of commands are masked.",
		RunE: func(*cobra.Command, []string) error {
			cfg, err := env.load()
			if err != nil {
				return err
			}
			return cfg.Print(env.Stdout)
		},
	}
}
