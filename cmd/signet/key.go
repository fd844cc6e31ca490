package main

import (
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func newKeyCmd(env *cliEnv) *cobra.Command {
	return noun("key", "Keys that sign tokens", newKeyListCmd(env), newKeyRotateCmd(env), newKeyRevokeCmd(env), newKeyImportCmd(env))
}

func newKeyListCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List signing keys", Args: usageArgs(cobra.NoArgs)}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := env.admin()
		if err != nil {
			return err
		}
		all, err := client.Keys(cmd.Context())
		if err != nil {
			return err
		}
		return list(env, *output, all, table.Row{"kid", "alg", "state", "published", "activated", "ended"}, func(k adminapi.Key) table.Row {
			return table.Row{k.KID, k.Alg, k.State, when(k.PublishedAt), when(k.ActivatedAt), when(k.EndedAt)}
		})
	}
	return cmd
}

func newKeyRotateCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{
		Use: "rotate", Short: "Let the standby key of an algorithm sign", Args: usageArgs(cobra.NoArgs),
		Long: "Let the standby key of an algorithm sign. Refused, saying until when, while the standby has not been published long " +
			"enough for every verifier to know it; a key that leaked is replaced at once by key revoke.",
	}
	alg, output := cmd.Flags().String("alg", "ES256", "ES256, RS256 or EdDSA"), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := env.admin()
		if err != nil {
			return err
		}
		key, err := client.RotateKey(cmd.Context(), *alg)
		if err != nil {
			return err
		}
		return showKey(env, *output, key)
	}
	return cmd
}

func newKeyRevokeCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{Use: "revoke KID", Short: "Mark a key compromised: its tokens end, the standby signs at once", Args: usageArgs(cobra.ExactArgs(1))}
	yes, reason, output := yesFlag(cmd), reasonFlag(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := env.admin()
		if err != nil {
			return err
		}
		impact, err := client.KeyImpact(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if err := env.confirm(*yes, "Revoke: "+impact.Summary+"."); err != nil {
			return err
		}
		key, err := client.RevokeKey(cmd.Context(), args[0], *reason)
		if err != nil {
			return err
		}
		return showKey(env, *output, key)
	}
	return cmd
}

func newKeyImportCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Publish a private key (PEM or JWK) as the standby of its algorithm", Args: usageArgs(cobra.ExactArgs(1)),
		Long: "Publish a private key as the standby of its algorithm; - reads it from stdin.",
	}
	alg, output := cmd.Flags().String("alg", "", "ES256, RS256 or EdDSA (default: what the key is for)"), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		text, err := env.readFile(args[0])
		if err != nil {
			return err
		}
		client, err := env.admin()
		if err != nil {
			return err
		}
		key, err := client.ImportKey(cmd.Context(), adminapi.ImportKey{Alg: *alg, Key: string(text)})
		if err != nil {
			return err
		}
		return showKey(env, *output, key)
	}
	return cmd
}

func showKey(env *cliEnv, f format, k *adminapi.Key) error {
	return record(env, f, k, []table.Row{
		{"kid", k.KID},
		{"alg", k.Alg},
		{"state", k.State},
		{"created", when(k.CreatedAt)},
		{"published", when(k.PublishedAt)},
		{"activated", when(k.ActivatedAt)},
		{"stopped signing", when(k.RetiringAt)},
		{"ended", when(k.EndedAt)},
		{"public key", string(k.PublicJWK)},
	})
}
