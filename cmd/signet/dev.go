package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/app"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/config"
	"github.com/seed-1972b8eb/signet/internal/telemetry"
)

// What a dev server registers before it is ready.
const (
	demoAPI    = "https://api.example.com"
	demoClient = "demo"
)

// devListen is where a dev server listens unless told otherwise, devIssuer its issuer then.
const (
	devListen = "127.0.0.1:8080"
	devIssuer = "http://" + devListen
)

// devOptions are the flags of `signet dev`.
type devOptions struct {
	listen, adminListen, output string
}

// demo is what `signet dev --output json` prints.
type demo struct {
	Issuer                string   `json:"issuer"`
	TokenEndpoint         string   `json:"token_endpoint"`
	IntrospectionEndpoint string   `json:"introspection_endpoint"`
	RevocationEndpoint    string   `json:"revocation_endpoint"`
	JWKSURI               string   `json:"jwks_uri"`
	AdminURL              string   `json:"admin_url"`
	AdminSocket           string   `json:"admin_socket"`
	DataDir               string   `json:"data_dir"`
	API                   string   `json:"api"`
	Scopes                []string `json:"scopes"`
	ClientID              string   `json:"client_id"`
	ClientSecret          string   `json:"client_secret"`
	Curl                  string   `json:"curl"`
}

func newDevCmd(env *cliEnv) *cobra.Command {
	var o devOptions
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a throw-away server with a demo API and a demo client",
		Long: `Run a server to try things with: http on loopback, SQLite, one demo API and one demo client with a fresh secret.
Without --data-dir and $SIGNET_DATA_DIR everything is in a temporary directory, and deleted at the end.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runDev(cmd.Context(), env, o) },
	}
	cmd.Flags().StringVar(&o.listen, "listen", devListen, "loopback `address` of the OAuth endpoints; port 0 takes a free one")
	cmd.Flags().StringVar(&o.adminListen, "admin-listen", "127.0.0.1:8081", "loopback `address` of the admin listener")
	cmd.Flags().StringVar(&o.output, "output", "text", "what to print when ready: text or json")
	return cmd
}

func runDev(ctx context.Context, env *cliEnv, o devOptions) (err error) {
	if o.output != "text" && o.output != "json" {
		return usage(fmt.Errorf("--output is %q, not text or json", o.output))
	}
	for flag, address := range map[string]string{"--listen": o.listen, "--admin-listen": o.adminListen} {
		if !loopback(address) {
			return usage(fmt.Errorf("%s is %q: a dev server speaks plain http, so it listens on loopback only; use signet serve", flag, address))
		}
	}
	dataDir, temporary := env.flags.dataDir, false
	if dataDir == "" {
		dataDir = env.Getenv("SIGNET_DATA_DIR")
	}
	if dataDir == "" {
		if dataDir, err = os.MkdirTemp("", "signet-dev-"); err != nil {
			return fmt.Errorf("make a temporary directory: %w", err)
		}
		temporary = true
		defer func() { err = errors.Join(err, os.RemoveAll(dataDir)) }()
	}
	cfg, public, err := devConfig(ctx, env, o, dataDir)
	if err != nil {
		return err
	}
	defer func() { _ = public.Close() }()
	log := env.logger(telemetry.FormatText, slog.LevelInfo)
	if err := app.Init(ctx, cfg, log, apis.ES256); err != nil && !errors.Is(err, app.ErrInitialised) {
		return err
	}
	outliveLog()
	server, err := app.New(ctx, app.Options{Config: cfg, Log: log, Version: buildInfo().Version})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }() //nolint:contextcheck // ctx has ended by then
	d, err := registerDemo(ctx, server, cfg)
	if err != nil {
		return err
	}
	return server.Run(ctx, public, func() {
		d.AdminURL = "http://" + server.AdminAddress()
		d.print(env.Stdout, o.output, temporary)
	})
}

// devConfig opens the listener first: its port is part of the issuer.
func devConfig(ctx context.Context, env *cliEnv, o devOptions, dataDir string) (*config.Config, net.Listener, error) {
	flags := map[string]string{"data_dir": dataDir, "listen.public": o.listen, "listen.admin": o.adminListen, "issuer": "http://127.0.0.1"}
	if env.flags.adminSocket != "" {
		flags["listen.admin_socket"] = env.flags.adminSocket
	}
	cfg, err := config.Load(config.Options{Flags: flags})
	if err != nil {
		return nil, nil, err
	}
	public, err := app.ListenPublic(ctx, cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("%w; choose another address with --listen, such as 127.0.0.1:0", err)
	}
	cfg.Issuer = "http://" + public.Addr().String()
	return cfg, public, nil
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// registerDemo makes the demo API and client, or gives the client of an earlier run a fresh secret.
func registerDemo(ctx context.Context, server *app.App, cfg *config.Config) (demo, error) {
	by := audit.Actor{ID: "local"}
	d := demo{
		Issuer: cfg.Issuer, TokenEndpoint: cfg.Issuer + "/oauth2/token", IntrospectionEndpoint: cfg.Issuer + "/oauth2/introspect",
		RevocationEndpoint: cfg.Issuer + "/oauth2/revoke", JWKSURI: cfg.Issuer + "/.well-known/jwks.json",
		AdminSocket: cfg.Listen.AdminSocket, DataDir: cfg.DataDir,
		API: demoAPI, Scopes: []string{"orders:read", "orders:write"},
	}
	_, err := server.APIs.Create(ctx, by, apis.API{Identifier: demoAPI, Name: "Demo orders", Scopes: []apis.Scope{
		{Name: "orders:read", Description: "Read orders", Group: "Orders", Routes: []apis.Route{{Method: "GET", Path: "/v1/orders/**"}}},
		{Name: "orders:write", Description: "Create and change orders", Group: "Orders", Routes: []apis.Route{{Method: "POST", Path: "/v1/orders"}}},
	}})
	if err != nil && !errors.Is(err, apis.ErrTaken) {
		return d, err
	}
	created, secret, err := server.Clients.Create(ctx, by, clients.New{Name: demoClient, Grants: []clients.Grant{{API: demoAPI, Scopes: d.Scopes}}})
	if errors.Is(err, clients.ErrNameTaken) {
		var rotated clients.Rotation
		rotated, err = server.Clients.RotateSecret(ctx, by, demoClient, 0)
		created, secret = rotated.Client, rotated.Secret
	}
	if err != nil {
		return d, err
	}
	d.ClientID, d.ClientSecret = created.ID, secret.Reveal()
	d.Curl = fmt.Sprintf("curl -s -u '%s:%s' -d grant_type=client_credentials %s", d.ClientID, d.ClientSecret, d.TokenEndpoint)
	return d, nil
}

// print says that the server is ready: one line of JSON for programs, a page for people.
func (d demo) print(w io.Writer, output string, temporary bool) {
	if output == "json" {
		_ = json.NewEncoder(w).Encode(d) //nolint:gosec // the secret of a throw-away client, for whoever started it
		return
	}
	kept := "kept for the next start"
	if temporary {
		kept = "deleted when this server ends"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nSignet %s is ready: a throw-away server, not for production.\n\n", buildInfo().Version)
	for _, row := range [][2]string{
		{"Issuer", d.Issuer},
		{"Demo API", d.API + "   scopes: " + strings.Join(d.Scopes, " ")},
		{"Client ID", d.ClientID},
		{"Client secret", d.ClientSecret + "   (shown once)"},
		{"Metrics", d.AdminURL + "/metrics"},
		{"Data", d.DataDir + "   (" + kept + ")"},
	} {
		fmt.Fprintf(&b, "  %-14s %s\n", row[0], row[1])
	}
	program := os.Args[0]
	fmt.Fprintf(&b, "\nGet a token:\n\n  %s\n", d.Curl)
	fmt.Fprintf(&b, "\nCheck it offline, or manage the server, from another terminal:\n\n  %s verify TOKEN\n  %s client list --data-dir %s\n\nCtrl-C stops it.\n\n",
		program, program, d.DataDir)
	_, _ = io.WriteString(w, b.String())
}
