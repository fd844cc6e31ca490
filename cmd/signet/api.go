package main

import (
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/seed-1972b8eb/signet/internal/config"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func newAPICmd(env *cliEnv) *cobra.Command {
	return noun("api", "Resource servers that tokens are made for",
		newAPICreateCmd(env), newAPIListCmd(env), newAPIShowCmd(env), newAPIUpdateCmd(env), newAPIDeleteCmd(env), newAPIImportCmd(env))
}

func newAPICreateCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{
		Use: "create", Short: "Register an API", Args: usageArgs(cobra.NoArgs),
		Example: "  signet api create --identifier https://api.example.com --name Reports",
	}
	output := outputFlag(cmd)
	var n adminapi.NewAPI
	var ttl duration
	flags := cmd.Flags()
	flags.StringVar(&n.Identifier, "identifier", "", "absolute URI: the aud of its tokens")
	flags.StringVar(&n.Name, "name", "", "name for people")
	flags.StringVar(&n.Alg, "alg", "", "signing algorithm: ES256 (default), RS256 or EdDSA")
	flags.StringVar(&n.Typ, "typ", "", "typ of its tokens: at+jwt (default), or JWT for consumers that refuse it")
	flags.Var(&ttl, "token-ttl", "longest lifetime of its tokens, at most 24h (default 5m)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if n.Identifier == "" || n.Name == "" {
			return usageError("--identifier and --name are required")
		}
		var err error
		if n.TokenTTL, err = ttl.seconds(); err != nil {
			return err
		}
		client, err := env.admin()
		if err != nil {
			return err
		}
		made, err := client.CreateAPI(cmd.Context(), n)
		if err != nil {
			return err
		}
		return showAPI(env, *output, made)
	}
	return cmd
}

func newAPIListCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List APIs", Args: usageArgs(cobra.NoArgs)}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := env.admin()
		if err != nil {
			return err
		}
		all, err := client.APIs(cmd.Context())
		if err != nil {
			return err
		}
		return list(env, *output, all, table.Row{"identifier", "name", "alg", "typ", "token ttl", "scopes", "state"}, func(a adminapi.API) table.Row {
			return table.Row{a.Identifier, a.Name, a.Alg, a.Typ, ttlText(a.TokenTTL), len(a.Scopes), state(a.Disabled)}
		})
	}
	return cmd
}

func newAPIShowCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{Use: "show URI", Short: "Show an API with its scopes", Args: usageArgs(cobra.ExactArgs(1))}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := env.admin()
		if err != nil {
			return err
		}
		found, err := client.API(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return showAPI(env, *output, found)
	}
	return cmd
}

func newAPIUpdateCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{Use: "update URI", Short: "Change an API", Args: usageArgs(cobra.ExactArgs(1))}
	output := outputFlag(cmd)
	var name, alg, typ string
	var ttl duration
	var disabled bool
	flags := cmd.Flags()
	flags.StringVar(&name, "name", "", "name for people")
	flags.StringVar(&alg, "alg", "", "signing algorithm: ES256, RS256 or EdDSA")
	flags.StringVar(&typ, "typ", "", "typ of its tokens: at+jwt or JWT")
	flags.Var(&ttl, "token-ttl", "longest lifetime of its tokens, at most 24h")
	flags.BoolVar(&disabled, "disabled", false, "make no new tokens for it (--disabled=false makes them again)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var change adminapi.APIChange
		flags := cmd.Flags()
		setIf(flags.Changed("name"), &change.Name, name)
		setIf(flags.Changed("alg"), &change.Alg, alg)
		setIf(flags.Changed("typ"), &change.Typ, typ)
		setIf(flags.Changed("disabled"), &change.Disabled, disabled)
		seconds, err := ttl.seconds()
		if err != nil {
			return err
		}
		setIf(ttl.set, &change.TokenTTL, seconds)
		if change == (adminapi.APIChange{}) {
			return usageError("nothing to change; name at least one flag")
		}
		client, err := env.admin()
		if err != nil {
			return err
		}
		changed, err := client.UpdateAPI(cmd.Context(), args[0], change)
		if err != nil {
			return err
		}
		return showAPI(env, *output, changed)
	}
	return cmd
}

func newAPIDeleteCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{Use: "delete URI", Short: "Delete an API, its scopes and every grant of it", Args: usageArgs(cobra.ExactArgs(1))}
	yes := yesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := env.admin()
		if err != nil {
			return err
		}
		impact, err := client.APIImpact(cmd.Context(), args[0], "")
		if err == nil {
			err = env.confirm(*yes, fmt.Sprintf("Delete %s: %s.", args[0], impact.Summary))
		}
		if err != nil && !isNotFound(err) {
			return err
		}
		return client.DeleteAPI(cmd.Context(), args[0])
	}
	return cmd
}

// showAPI prints one API; in the table form its scopes follow.
func showAPI(env *cliEnv, f format, a *adminapi.API) error {
	err := record(env, f, a, []table.Row{
		{"identifier", a.Identifier},
		{"name", a.Name},
		{"alg", a.Alg},
		{"typ", a.Typ},
		{"token ttl", ttlText(a.TokenTTL)},
		{"state", state(a.Disabled)},
		{"created", when(a.CreatedAt)},
		{"updated", when(a.UpdatedAt)},
	})
	if err != nil || f != asTable || len(a.Scopes) == 0 {
		return err
	}
	fmt.Fprintln(env.Stdout)
	return listScopes(env, f, a.Scopes)
}

// setIf makes a change of a field that was named on the command line.
func setIf[T any](given bool, field **T, value T) {
	if given {
		*field = &value
	}
}

func ttlText(seconds int64) string {
	if seconds == 0 {
		return "-"
	}
	return config.FormatDuration(time.Duration(seconds) * time.Second)
}

func state(disabled bool) string {
	if disabled {
		return "disabled"
	}
	return "enabled"
}
