package main

import (
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func newRevocationCmd(env *cliEnv) *cobra.Command {
	return noun("revocation", "What was taken back", newCutOffCmd(env), newRevocationListCmd(env))
}

func newCutOffCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{
		Use: "cut-off", Short: "End everything issued so far for one client, or for all", Args: usageArgs(cobra.NoArgs),
		Long: "End every token issued so far. --client raises the client's generation: it may ask for new tokens at once. --all revokes " +
			"every key, the standbys too; new ones sign at once, and verifiers must fetch the JWKS again.",
	}
	yes, reason, output := yesFlag(cmd), reasonFlag(cmd), outputFlag(cmd)
	name := cmd.Flags().String("client", "", "ID or name of the client")
	all := cmd.Flags().Bool("all", false, "everybody's tokens")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *all == (*name != "") {
			return errOneOf("--client and --all")
		}
		client, err := env.admin()
		if err != nil {
			return err
		}
		impact := "Every token of this issuer ends at once, and every signing key is replaced."
		if !*all {
			if _, err := client.Client(cmd.Context(), *name); err != nil {
				return err
			}
			impact = "Every token issued so far for " + *name + " ends at once; it may ask for new ones."
		}
		if err := env.confirm(*yes, impact); err != nil {
			return err
		}
		done, err := client.CutOff(cmd.Context(), adminapi.NewCutOff{Client: *name, All: *all, Reason: *reason})
		if err != nil {
			return err
		}
		rows := []table.Row{{"client id", done.ClientID}, {"generation", done.Generation}}
		if *all {
			rows = []table.Row{{"revoked keys", strings.Join(done.KIDs, " ")}}
		}
		return record(env, *output, done, rows)
	}
	return cmd
}

// revocationList is what revocation list prints.
type revocationList struct {
	Tokens  []adminapi.Revocation `json:"tokens"`
	CutOffs []adminapi.CutOff     `json:"cut_offs"`
}

func newRevocationListCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List revoked tokens and cut-offs that still concern a token", Args: usageArgs(cobra.NoArgs)}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := env.admin()
		if err != nil {
			return err
		}
		var all revocationList
		if all.Tokens, err = client.Revocations(cmd.Context(), 1000); err != nil {
			return err
		}
		if all.CutOffs, err = client.CutOffs(cmd.Context()); err != nil {
			return err
		}
		if done, err := env.data(*output, all); done {
			return err
		}
		var rows []table.Row
		for _, r := range all.Tokens {
			rows = append(rows, table.Row{"token", r.JTI, when(r.RevokedAt), when(r.ExpiresAt), r.Reason})
		}
		for _, c := range all.CutOffs {
			rows = append(rows, table.Row{c.Kind, c.ID, "-", when(c.ExpiresAt), cutOffText(c)})
		}
		if len(rows) == 0 {
			env.talk("none")
			return nil
		}
		env.table(env.Stdout, table.Row{"kind", "id", "since", "kept until", "reason"}, rows)
		return nil
	}
	return cmd
}

func cutOffText(c adminapi.CutOff) string {
	if c.Everything {
		return "gone for good"
	}
	return "cut off"
}
