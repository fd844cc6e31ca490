package main

import (
	"errors"
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func newSecretCmd(env *cliEnv) *cobra.Command {
	return noun("secret", "Secrets of a client",
		newSecretCreateCmd(env), newSecretRotateCmd(env), newSecretListCmd(env), newSecretRevokeCmd(env))
}

func newSecretCreateCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{Use: "create CLIENT", Short: "Add a secret beside those that the client has", Args: usageArgs(cobra.ExactArgs(1))}
	output := outputFlag(cmd)
	var expires duration
	cmd.Flags().Var(&expires, "expires", "time from now after which it stops working, such as 90d (default: never)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := env.admin()
		if err != nil {
			return err
		}
		made, err := client.CreateSecret(cmd.Context(), args[0], adminapi.NewSecret{ExpiresAt: expires.fromNow()})
		if err != nil {
			return err
		}
		if done, err := env.data(*output, made); done {
			return err
		}
		env.talk("client_id  %s\nexpires    %s", made.ClientID, when(made.ExpiresAt))
		return env.secret(made.ClientSecret, made.SecretID)
	}
	return cmd
}

func newSecretRotateCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{
		Use: "rotate CLIENT", Short: "Make a new secret and let those before it expire", Args: usageArgs(cobra.ExactArgs(1)),
		Long: "Make a new secret; those before it go on working for the overlap, so that nothing stops while you hand the new one out. " +
			"--cancel takes that back while they still work. --now is for a secret that leaked: the old ones and all tokens end at once.",
	}
	output, yes := outputFlag(cmd), yesFlag(cmd)
	var overlap duration
	cmd.Flags().Var(&overlap, "overlap", "how long the secrets before it go on working (default 24h)")
	now := cmd.Flags().Bool("now", false, "end the secrets before it, and all tokens, at once")
	cancel := cmd.Flags().Bool("cancel", false, "take the newest rotation back")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *now && *cancel || overlap.set && (*now || *cancel) {
			return usageError("--overlap, --now and --cancel exclude each other")
		}
		seconds, err := overlap.seconds()
		if err != nil {
			return err
		}
		client, err := env.admin()
		if err != nil {
			return err
		}
		if *now {
			if client, err = env.confirmClient(cmd, "Rotate at once", args[0], *yes); err != nil {
				return err
			}
		}
		if *cancel {
			return cancelRotation(cmd, env, client, args[0], *output)
		}
		done, err := client.RotateSecret(cmd.Context(), args[0], adminapi.Rotate{Overlap: seconds, Now: *now})
		if err != nil {
			return err
		}
		if printed, err := env.data(*output, done); printed {
			return err
		}
		env.talk("client_id  %s\nprevious   works until %s", done.ClientID, when(done.PreviousExpiresAt))
		return env.secret(done.ClientSecret, done.SecretID)
	}
	return cmd
}

func cancelRotation(cmd *cobra.Command, env *cliEnv, client *adminapi.Client, name string, f format) error {
	done, err := client.CancelRotation(cmd.Context(), name)
	if err != nil {
		return err
	}
	if printed, err := env.data(f, done); printed {
		return err
	}
	env.talk("The newest secret of %s is gone; the ones before it work as they did.", done.ClientID)
	return nil
}

func newSecretListCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{Use: "list CLIENT", Short: "List a client's secrets, oldest first", Args: usageArgs(cobra.ExactArgs(1))}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := env.admin()
		if err != nil {
			return err
		}
		all, err := client.Secrets(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return list(env, *output, all, table.Row{"secret id", "hint", "state", "created", "expires", "last used"}, func(s adminapi.Secret) table.Row {
			state := "works"
			if s.Expired {
				state = "expired"
			}
			return table.Row{s.SecretID, s.Hint, state, when(s.CreatedAt), when(s.ExpiresAt), when(s.LastUsedAt)}
		})
	}
	return cmd
}

func newSecretRevokeCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{
		Use: "revoke CLIENT SECRET_ID", Short: "End one secret at once", Args: usageArgs(cobra.ExactArgs(2)),
		Long: "End one secret at once. Tokens that were got with it live on; where it leaked, use revocation cut-off, or secret rotate --now.",
	}
	yes := yesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := env.admin()
		if err != nil {
			return err
		}
		all, err := client.Secrets(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		others, used := 0, ""
		for _, s := range all {
			if s.SecretID == args[1] {
				used = when(s.LastUsedAt)
			} else if !s.Expired {
				others++
			}
		}
		if used == "" {
			return &adminapi.Problem{Status: 404, Title: "Not Found", Detail: "secret not found: " + args[1] + " of " + args[0]}
		}
		impact := fmt.Sprintf("Revoke %s of %s: last used %s; the client has %d other working secrets.", args[1], args[0], used, others)
		if err := env.confirm(*yes, impact); err != nil {
			return err
		}
		return client.RevokeSecret(cmd.Context(), args[0], args[1])
	}
	return cmd
}

// errOneOf is for flags that exclude each other and of which one is needed.
func errOneOf(flags string) error { return usage(errors.New("give exactly one of " + flags)) }
