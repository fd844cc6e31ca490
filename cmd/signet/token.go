package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func newTokenCmd(env *cliEnv) *cobra.Command {
	return noun("token", "Access tokens", newTokenInspectCmd(env), newTokenRevokeCmd(env))
}

func newTokenInspectCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{
		Use: "inspect TOKEN", Short: "Show what a token says and whether it counts", Args: usageArgs(cobra.ExactArgs(1)),
		Long: "Show what a token says and whether it counts, and if not, why. - reads the token from stdin. Exit code 1 when it does not count.",
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		token, err := env.readArgument(args[0])
		if err != nil {
			return err
		}
		client, err := env.admin()
		if err != nil {
			return err
		}
		report, err := client.InspectToken(cmd.Context(), token)
		if err != nil {
			return err
		}
		if err := showReport(env, *output, report); err != nil {
			return err
		}
		if !report.Active {
			return silentError{errChecks}
		}
		return nil
	}
	return cmd
}

func showReport(env *cliEnv, f format, r *adminapi.TokenReport) error {
	verdict := "active"
	if !r.Active {
		verdict = "not active: " + r.Reason
	}
	rows := []table.Row{{"verdict", verdict}}
	if !r.Valid {
		rows = append(rows, table.Row{"", "what follows is the token's own word, not verified"})
	}
	rows = append(rows, members("header", r.Header)...)
	rows = append(rows, members("claim", r.Claims)...)
	return record(env, f, r, rows)
}

// members lists a JSON object, each value as JSON: a token may be anybody's, and its text must not steer the terminal.
func members(what string, object map[string]any) []table.Row {
	var rows []table.Row
	for _, name := range slices.Sorted(maps.Keys(object)) {
		rows = append(rows, table.Row{what, printable(name) + " " + plainJSON(object[name])})
	}
	return rows
}

func newTokenRevokeCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{
		Use: "revoke TOKEN_OR_JTI", Short: "Take one access token back", Args: usageArgs(cobra.ExactArgs(1)),
		Long: "Take one access token back, by its text or its jti. - reads it from stdin.",
	}
	yes, reason, output := yesFlag(cmd), reasonFlag(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		text, err := env.readArgument(args[0])
		if err != nil {
			return err
		}
		r := adminapi.RevokeToken{JTI: text, Reason: *reason}
		what := "the token with jti " + fmt.Sprintf("%q", text)
		if strings.Count(text, ".") == 2 { // a jti of ours has no dots
			r.JTI, r.Token = "", text
			what = "this one token"
		}
		client, err := env.admin()
		if err != nil {
			return err
		}
		if err := env.confirm(*yes, "Revoke "+what+"; it cannot be given back."); err != nil {
			return err
		}
		done, err := client.RevokeToken(cmd.Context(), r)
		if err != nil {
			return err
		}
		return record(env, *output, done, []table.Row{
			{"jti", done.JTI}, {"client id", done.ClientID}, {"revoked", when(done.RevokedAt)}, {"kept until", when(done.ExpiresAt)},
		})
	}
	return cmd
}
