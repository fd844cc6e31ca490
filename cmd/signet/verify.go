package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func newVerifyCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{
		Use: "verify TOKEN", Short: "Check a token as a resource server does, and show each check", Args: usageArgs(cobra.ExactArgs(1)),
		Long: "Check an access token offline, as a resource server does, and show each check. The keys come from the issuer that --issuer " +
			"names, or from the running server (else a dev server at " + devIssuer + "); never from where the token says. - reads the token from stdin. Whether the token was " +
			"revoked is not seen offline: see token inspect. Exit code 1 when a check fails.",
	}
	output := outputFlag(cmd)
	issuer := cmd.Flags().String("issuer", "", "issuer that the token must come from (default: that of the running server)")
	audience := cmd.Flags().String("audience", "", "audience that the token must have (default: any)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		token, err := env.readArgument(args[0])
		if err != nil {
			return err
		}
		source, err := env.keySource(cmd.Context(), *issuer)
		if err != nil {
			return err
		}
		keys, err := fetchKeys(cmd.Context(), source.jwksURI)
		if err != nil {
			return fmt.Errorf("%w: fetch the keys of %s: %w", adminapi.ErrUnreachable, source.issuer, err)
		}
		checks := verifyToken(token, source.issuer, *audience, keys)
		if err := showChecks(env, *output, checks); err != nil {
			return err
		}
		for _, c := range checks {
			if !c.OK {
				return silentError{errChecks}
			}
		}
		return nil
	}
	return cmd
}

// keySource is where the keys come from.
type keySource struct{ issuer, jwksURI string }

// keySource asks the metadata of the issuer that the user named (RFC 8414), or the running server over its socket.
func (env *cliEnv) keySource(ctx context.Context, issuer string) (keySource, error) {
	if issuer != "" {
		uri, err := discoverKeys(ctx, issuer)
		if err != nil {
			return keySource{}, fmt.Errorf("%w: ask %s for its metadata: %w", adminapi.ErrUnreachable, issuer, err)
		}
		return keySource{issuer: issuer, jwksURI: uri}, nil
	}
	client, err := env.admin()
	if err != nil {
		return keySource{}, err
	}
	status, err := client.Status(ctx)
	if errors.Is(err, adminapi.ErrUnreachable) {
		// A dev server keeps its socket in a temporary directory, but listens where everybody expects it.
		if uri, err := discoverKeys(ctx, devIssuer); err == nil {
			return keySource{issuer: devIssuer, jwksURI: uri}, nil
		}
		return keySource{}, fmt.Errorf("whose token is it? Name the issuer with --issuer, or the server with --data-dir: %w", err)
	}
	if err != nil {
		return keySource{}, err
	}
	return keySource{issuer: status.Issuer, jwksURI: status.JWKSURI}, nil
}

func showChecks(env *cliEnv, f format, checks []tokenCheck) error {
	if done, err := env.data(f, checks); done {
		return err
	}
	var rows []table.Row
	for _, c := range checks {
		verdict := "ok"
		if !c.OK {
			verdict = "failed"
		}
		rows = append(rows, table.Row{verdict, c.Check, c.Detail})
	}
	env.table(env.Stdout, nil, rows)
	return nil
}
