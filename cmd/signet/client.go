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

func newClientCmd(env *cliEnv) *cobra.Command {
	return noun("client", "Machines that may ask for tokens",
		newClientCreateCmd(env), newClientListCmd(env), newClientShowCmd(env), newClientUpdateCmd(env),
		newClientDisableCmd(env), newClientEnableCmd(env), newClientDeleteCmd(env))
}

// clientFlags are what create and update have in common.
type clientFlags struct {
	name, owner, jwks, jwksURI                              string
	grants, defaults, introspects, cidrs, claimTexts, label []string
	ttl, expires                                            duration
}

func (f *clientFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.name, "name", "", "unique name")
	flags.StringVar(&f.owner, "owner", "", "who answers for it")
	flags.StringArrayVar(&f.grants, "grant", nil, "API and the scopes of it that it may ask for, 'URI=scope scope'; repeatable")
	flags.StringArrayVar(&f.defaults, "default-scope", nil, "scope that it gets when a request names none (default: all granted ones); repeatable")
	flags.StringArrayVar(&f.introspects, "introspects", nil, "API whose tokens it may introspect; repeatable")
	flags.StringVar(&f.jwks, "jwks", "", "file with its public JWK set, for private_key_jwt")
	flags.StringVar(&f.jwksURI, "jwks-uri", "", "https URL of its public JWK set, for private_key_jwt")
	flags.Var(&f.ttl, "token-ttl", "longest lifetime of its tokens")
	flags.Var(&f.expires, "expires", "time from now after which it may no longer ask, such as 90d")
	flags.StringArrayVar(&f.cidrs, "allow-cidr", nil, "network that it may ask from; repeatable")
	flags.StringArrayVar(&f.claimTexts, "claim", nil, "static claim of its tokens, k=v; repeatable")
	flags.StringArrayVar(&f.label, "label", nil, "label for filters, k=v; repeatable")
}

// parseGrants reads --grant and hands each --default-scope to the grants that have it.
func (f *clientFlags) parseGrants() ([]adminapi.Grant, error) {
	var out []adminapi.Grant
	for _, text := range f.grants {
		i := strings.LastIndex(text, "=") // an identifier may hold "=", a scope list follows the last one
		if i <= 0 || strings.TrimSpace(text[i+1:]) == "" {
			return nil, usageError("--grant %q is not 'URI=scope scope'", text)
		}
		out = append(out, adminapi.Grant{API: text[:i], Scopes: strings.Fields(text[i+1:])})
	}
	for _, scope := range f.defaults {
		found := false
		for i := range out {
			if slices.Contains(out[i].Scopes, scope) {
				out[i].DefaultScopes = append(out[i].DefaultScopes, scope)
				found = true
			}
		}
		if !found {
			return nil, usageError("--default-scope %s is in no --grant", scope)
		}
	}
	return out, nil
}

func newClientCreateCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{
		Use: "create", Short: "Register a client; its secret goes to stdout, once", Args: usageArgs(cobra.NoArgs),
		Example: "  signet client create --name nightly --grant 'https://api.example.com=reports:read' > secret",
	}
	output := outputFlag(cmd)
	var f clientFlags
	f.add(cmd)
	method := cmd.Flags().String("auth-method", "", "client_secret_basic (default), client_secret_post or private_key_jwt")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		n, err := f.create(env, *method)
		if err != nil {
			return err
		}
		client, err := env.admin()
		if err != nil {
			return err
		}
		made, err := client.CreateClient(cmd.Context(), n)
		if err != nil {
			return err
		}
		if done, err := env.data(*output, made); done {
			return err
		}
		env.talk("client_id  %s\nname       %s", made.ClientID, made.Name)
		return env.secret(made.ClientSecret, made.SecretID)
	}
	return cmd
}

func (f *clientFlags) create(env *cliEnv, method string) (adminapi.NewClient, error) {
	n := adminapi.NewClient{
		Name: f.name, Owner: f.owner, AuthMethod: method, JWKSURI: f.jwksURI, Introspects: f.introspects, AllowCIDRs: f.cidrs,
		ExpiresAt: f.expires.fromNow(),
	}
	if f.name == "" {
		return n, usageError("--name is required")
	}
	if n.AuthMethod == "" && (f.jwks != "" || f.jwksURI != "") {
		n.AuthMethod = "private_key_jwt"
	}
	var err error
	if n.Grants, err = f.parseGrants(); err != nil {
		return n, err
	}
	if n.Labels, err = pairs("label", f.label); err != nil {
		return n, err
	}
	if n.Claims, err = claims(f.claimTexts); err != nil {
		return n, err
	}
	if n.TokenTTL, err = f.ttl.seconds(); err != nil {
		return n, err
	}
	if f.jwks != "" {
		if n.JWKS, err = env.readFile(f.jwks); err != nil {
			return n, err
		}
	}
	return n, nil
}

// secret prints a new secret alone on stdout, so that it can be piped, and says the rest on stderr.
func (env *cliEnv) secret(text, id string) error {
	if text == "" {
		return nil
	}
	env.talk("secret_id  %s\nThis is the only time that the secret is shown:", id)
	_, err := fmt.Fprintln(env.Stdout, text)
	return err
}

func newClientListCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List clients", Args: usageArgs(cobra.NoArgs)}
	output := outputFlag(cmd)
	name := cmd.Flags().String("name", "", "only names that begin with this")
	label := cmd.Flags().StringArray("label", nil, "only clients with this label, k=v; repeatable")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		labels, err := pairs("label", *label)
		if err != nil {
			return err
		}
		client, err := env.admin()
		if err != nil {
			return err
		}
		all := []adminapi.OAuthClient{}
		filter := adminapi.ClientFilter{Name: *name, Labels: labels, Limit: 1000}
		for {
			page, err := client.Clients(cmd.Context(), filter)
			if err != nil {
				return err
			}
			all = append(all, page.Items...)
			if page.Next == "" {
				break
			}
			filter.After = page.Next
		}
		return list(env, *output, all, table.Row{"client id", "name", "auth method", "grants", "state", "last used"}, func(c adminapi.OAuthClient) table.Row {
			return table.Row{c.ClientID, c.Name, c.AuthMethod, grantsText(c.Grants), state(c.Disabled), when(c.LastUsedAt)}
		})
	}
	return cmd
}

func grantsText(grants []adminapi.Grant) string {
	var out []string
	for _, g := range grants {
		out = append(out, g.API+"="+strings.Join(g.Scopes, " "))
	}
	return strings.Join(out, ", ")
}

func newClientShowCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{Use: "show CLIENT", Short: "Show a client by ID or name", Args: usageArgs(cobra.ExactArgs(1))}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := env.admin()
		if err != nil {
			return err
		}
		found, err := client.Client(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return showClient(env, *output, found)
	}
	return cmd
}

func showClient(env *cliEnv, f format, c *adminapi.OAuthClient) error {
	var labels []string
	for _, k := range slices.Sorted(maps.Keys(c.Labels)) {
		labels = append(labels, k+"="+c.Labels[k])
	}
	rows := []table.Row{
		{"client id", c.ClientID},
		{"name", c.Name},
		{"owner", c.Owner},
		{"labels", strings.Join(labels, ", ")},
		{"auth method", c.AuthMethod},
		{"introspects", strings.Join(c.Introspects, ", ")},
		{"networks", strings.Join(c.AllowCIDRs, ", ")},
		{"token ttl", ttlText(c.TokenTTL)},
		{"claims", strings.Join(slices.Sorted(maps.Keys(c.Claims)), ", ")},
		{"expires", when(c.ExpiresAt)},
		{"state", state(c.Disabled)},
		{"generation", c.Generation},
		{"last used", when(c.LastUsedAt)},
		{"created", when(c.CreatedAt)},
		{"updated", when(c.UpdatedAt)},
	}
	for _, g := range c.Grants {
		rows = append(rows, table.Row{"grant", g.API + "=" + strings.Join(g.Scopes, " ")})
		if len(g.DefaultScopes) > 0 {
			rows = append(rows, table.Row{"default scopes", strings.Join(g.DefaultScopes, " ")})
		}
	}
	for _, s := range c.Secrets {
		rows = append(rows, table.Row{"secret", fmt.Sprintf("%s …%s, expires %s, last used %s", s.SecretID, s.Hint, when(s.ExpiresAt), when(s.LastUsedAt))})
	}
	return record(env, f, c, rows)
}
