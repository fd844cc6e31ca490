package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func newClientUpdateCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{
		Use: "update CLIENT", Short: "Change a client", Args: usageArgs(cobra.ExactArgs(1)),
		Long: "Change a client. A flag that lists (--grant, --label, --claim, --allow-cidr, --introspects) replaces the whole list; " +
			"given once and empty, it empties the list. Taking a scope away ends the client's tokens at once.",
	}
	output := outputFlag(cmd)
	var f clientFlags
	f.add(cmd)
	never := cmd.Flags().Bool("never-expire", false, "take the expiry away")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		change, err := f.change(env, cmd)
		if err != nil {
			return err
		}
		change.NeverExpire = *never
		if change == (adminapi.ClientChange{}) {
			return usageError("nothing to change; name at least one flag")
		}
		client, err := env.admin()
		if err != nil {
			return err
		}
		changed, err := client.UpdateClient(cmd.Context(), args[0], change)
		if err != nil {
			return err
		}
		return showClient(env, *output, changed)
	}
	return cmd
}

// change makes a change of exactly the flags that were given.
func (f *clientFlags) change(env *cliEnv, cmd *cobra.Command) (adminapi.ClientChange, error) {
	var c adminapi.ClientChange
	given := cmd.Flags().Changed
	for _, texts := range []*[]string{&f.grants, &f.introspects, &f.cidrs, &f.claimTexts, &f.label} {
		if len(*texts) == 1 && (*texts)[0] == "" {
			*texts = []string{}
		}
	}
	if given("default-scope") && !given("grant") {
		return c, usageError("--default-scope needs the --grant that it belongs to")
	}
	grants, err := f.parseGrants()
	if err != nil {
		return c, err
	}
	labels, err := pairs("label", f.label)
	if err != nil {
		return c, err
	}
	static, err := claims(f.claimTexts)
	if err != nil {
		return c, err
	}
	seconds, err := f.ttl.seconds()
	if err != nil {
		return c, err
	}
	setIf(given("name"), &c.Name, f.name)
	setIf(given("owner"), &c.Owner, f.owner)
	setIf(given("jwks-uri"), &c.JWKSURI, f.jwksURI)
	setIf(given("grant"), &c.Grants, append([]adminapi.Grant{}, grants...))
	setIf(given("introspects"), &c.Introspects, f.introspects)
	setIf(given("allow-cidr"), &c.AllowCIDRs, f.cidrs)
	setIf(given("label"), &c.Labels, labels)
	setIf(given("claim"), &c.Claims, static)
	setIf(f.ttl.set, &c.TokenTTL, seconds)
	setIf(f.expires.set, &c.ExpiresAt, f.expires.fromNow())
	if given("jwks") {
		text, err := env.readFile(f.jwks)
		if err != nil {
			return c, err
		}
		c.JWKS = new(json.RawMessage(text))
	}
	return c, nil
}

func reasonFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("reason", "", "why, for the audit trail")
}

func newClientDisableCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{Use: "disable CLIENT", Short: "Stop a client; its tokens end at once", Args: usageArgs(cobra.ExactArgs(1))}
	yes, reason, output := yesFlag(cmd), reasonFlag(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := env.confirmClient(cmd, "Disable", args[0], *yes)
		if err != nil {
			return err
		}
		changed, err := client.DisableClient(cmd.Context(), args[0], *reason)
		if err != nil {
			return err
		}
		return showClient(env, *output, changed)
	}
	return cmd
}

func newClientEnableCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{Use: "enable CLIENT", Short: "Let a client ask for tokens again", Args: usageArgs(cobra.ExactArgs(1))}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := env.admin()
		if err != nil {
			return err
		}
		changed, err := client.EnableClient(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return showClient(env, *output, changed)
	}
	return cmd
}

func newClientDeleteCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{Use: "delete CLIENT", Short: "Delete a client; its tokens end at once", Args: usageArgs(cobra.ExactArgs(1))}
	yes := yesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := env.confirmClient(cmd, "Delete", args[0], *yes)
		if client == nil {
			return err
		}
		if err != nil && !isNotFound(err) {
			return err
		}
		return client.DeleteClient(cmd.Context(), args[0])
	}
	return cmd
}

// isNotFound is of what is not there. Its deletion is asked for all the same: one before this may not have been acknowledged,
// and is made sure of before the server says that there is nothing to delete.
func isNotFound(err error) bool {
	problem, ok := errors.AsType[*adminapi.Problem](err)
	return ok && problem.Status == http.StatusNotFound
}

// confirmClient shows what a verb would take from a client, and asks.
func (env *cliEnv) confirmClient(cmd *cobra.Command, verb, name string, yes bool) (*adminapi.Client, error) {
	client, err := env.admin()
	if err != nil {
		return nil, err
	}
	impact, err := client.ClientImpact(cmd.Context(), name)
	if err != nil {
		return client, err
	}
	return client, env.confirm(yes, fmt.Sprintf("%s: %s.", verb, impact.Summary))
}
