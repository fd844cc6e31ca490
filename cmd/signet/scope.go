package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func newScopeCmd(env *cliEnv) *cobra.Command {
	return noun("scope", "Permissions of an API", newScopeCreateCmd(env), newScopeListCmd(env), newScopeDeleteCmd(env))
}

func apiFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("api", "", "identifier of the API")
}

var errNoAPI = errors.New("--api is required")

func newScopeCreateCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Add a scope to an API", Args: usageArgs(cobra.ExactArgs(1)),
		Example: "  signet scope create --api https://api.example.com users:read --group Teams --route 'GET /v1/users/*'",
	}
	api, output := apiFlag(cmd), outputFlag(cmd)
	var n adminapi.NewScope
	flags := cmd.Flags()
	flags.StringVar(&n.Description, "description", "", "what it permits, for people")
	flags.StringVar(&n.Group, "group", "", "heading in pickers")
	flags.StringVar(&n.Kind, "kind", "", "action (default) or feature")
	flags.StringArrayVar(&n.Routes, "route", nil, "method and path pattern that it opens; repeatable")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *api == "" {
			return usage(errNoAPI)
		}
		n.Name = args[0]
		client, err := env.admin()
		if err != nil {
			return err
		}
		made, err := client.CreateScope(cmd.Context(), *api, n)
		if err != nil {
			return err
		}
		return record(env, *output, made, []table.Row{
			{"api", made.API},
			{"name", made.Name},
			{"description", made.Description},
			{"group", made.Group},
			{"kind", made.Kind},
			{"routes", strings.Join(made.Routes, ", ")},
		})
	}
	return cmd
}

func newScopeListCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the scopes of one API, or of all", Args: usageArgs(cobra.NoArgs)}
	api, output := apiFlag(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := env.admin()
		if err != nil {
			return err
		}
		if *api != "" {
			scopes, err := client.Scopes(cmd.Context(), *api)
			if err != nil {
				return err
			}
			return listScopes(env, *output, scopes)
		}
		all, err := client.APIs(cmd.Context())
		if err != nil {
			return err
		}
		scopes := []adminapi.Scope{}
		for _, a := range all {
			scopes = append(scopes, a.Scopes...)
		}
		return listScopes(env, *output, scopes)
	}
	return cmd
}

func listScopes(env *cliEnv, f format, scopes []adminapi.Scope) error {
	return list(env, f, scopes, table.Row{"scope", "api", "kind", "group", "routes", "description"}, func(s adminapi.Scope) table.Row {
		return table.Row{s.Name, s.API, s.Kind, s.Group, strings.Join(s.Routes, ", "), s.Description}
	})
}

func newScopeDeleteCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{Use: "delete NAME", Short: "Delete a scope, also from every grant", Args: usageArgs(cobra.ExactArgs(1))}
	api, yes := apiFlag(cmd), yesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *api == "" {
			return usage(errNoAPI)
		}
		client, err := env.admin()
		if err != nil {
			return err
		}
		impact, err := client.APIImpact(cmd.Context(), *api, args[0])
		if err == nil {
			err = env.confirm(*yes, fmt.Sprintf("Delete scope %s of %s: %s.", args[0], *api, impact.Summary))
		}
		if err != nil && !isNotFound(err) {
			return err
		}
		return client.DeleteScope(cmd.Context(), *api, args[0])
	}
	return cmd
}
