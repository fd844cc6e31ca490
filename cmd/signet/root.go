// Package main is the signet command: one binary, one file per noun. A command reads flags, calls the admin API over the
// server's Unix socket (pkg/adminapi) or, where there is no server yet, the packages that the server is made of, and prints.
// Data goes to stdout, talk to stderr.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/seed-1972b8eb/signet/internal/config"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// cliEnv is what a command has of the world around it.
type cliEnv struct {
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Getenv  func(string) string
	Environ []string // as os.Environ gives it, for the configuration

	flags globalFlags
}

// globalFlags are accepted by every command.
type globalFlags struct {
	config      string
	dataDir     string
	adminSocket string
}

// newRootCmd returns the whole command tree.
func newRootCmd(env *cliEnv) *cobra.Command {
	root := &cobra.Command{
		Use:           "signet",
		Short:         "OAuth 2.0 authorization server for machines",
		Long:          "Signet gives machines short-lived, scoped JWTs that any library verifies offline.\n\nTry it: signet dev",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          usageArgs(cobra.NoArgs),
		RunE:          noVerb,
	}
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	flags := root.PersistentFlags()
	flags.StringVar(&env.flags.config, "config", "", "configuration file (default $SIGNET_CONFIG)")
	flags.StringVar(&env.flags.dataDir, "data-dir", "", "data directory (default $SIGNET_DATA_DIR, then "+config.DefaultDataDir+")")
	flags.StringVar(&env.flags.adminSocket, "admin-socket", "", "Unix socket of the admin API (default admin.sock in the data directory)")
	root.AddCommand(
		newInitCmd(env), newMigrateCmd(env), newConfigCmd(env), newDoctorCmd(env), newBackupCmd(env), newRestoreCmd(env),
		newAPICmd(env), newScopeCmd(env), newClientCmd(env), newSecretCmd(env), newTokenCmd(env), newRevocationCmd(env), newKeyCmd(env),
		newVerifyCmd(env), newExplainCmd(env), newDevCmd(env), newServeCmd(env), newVersionCmd(env), newExitCodesTopic(),
	)
	return root
}

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, env *cliEnv, args []string) int {
	root := newRootCmd(env) //nolint:contextcheck // commands get ctx from ExecuteContext
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if _, told := errors.AsType[silentError](err); !told {
		fmt.Fprintf(env.Stderr, "signet: %v\n", err)
	}
	if errors.Is(err, adminapi.ErrUnreachable) && errors.Is(err, fs.ErrNotExist) && env.unnamed() {
		env.talk("signet: nothing says where the server is: name its data directory with --data-dir or SIGNET_DATA_DIR, or its configuration with --config")
	}
	return exitCode(err)
}

// noun is a command that only holds verbs.
func noun(use, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: usageArgs(cobra.NoArgs), RunE: noVerb}
	cmd.AddCommand(verbs...)
	return cmd
}

// noVerb shows what there is to choose from; choosing nothing is a mistake in scripts.
func noVerb(cmd *cobra.Command, _ []string) error {
	cmd.SetOut(cmd.ErrOrStderr())
	if err := cmd.Help(); err != nil {
		return err
	}
	return silentError{usageError("no command given")}
}

// load reads the configuration for a command that works without a server.
func (env *cliEnv) load() (*config.Config, error) { return env.loadWith(nil) }

// loadWith reads it as if more flags were given.
func (env *cliEnv) loadWith(flags map[string]string) (*config.Config, error) {
	o := config.Options{File: env.configFile(), Environ: env.Environ, Flags: map[string]string{}}
	maps.Copy(o.Flags, flags)
	if env.flags.dataDir != "" {
		o.Flags["data_dir"] = env.flags.dataDir
	}
	if env.flags.adminSocket != "" {
		o.Flags["listen.admin_socket"] = env.flags.adminSocket
	}
	return config.Load(o)
}

func (env *cliEnv) configFile() string {
	if env.flags.config != "" {
		return env.flags.config
	}
	return env.Getenv("SIGNET_CONFIG")
}

// socket finds the Unix socket of the server: what a flag says, else a configuration file that was named, else the data
// directory.
func (env *cliEnv) socket() (string, error) {
	path := env.flags.adminSocket
	if path == "" {
		path = env.Getenv("SIGNET_LISTEN_ADMIN_SOCKET")
	}
	switch {
	case path != "":
	case env.configFile() != "":
		cfg, err := env.load()
		if err != nil {
			return "", err
		}
		path = cfg.Listen.AdminSocket
	default:
		path = filepath.Join(env.dataDir(), "admin.sock")
	}
	return path, config.CheckSocketPath(path)
}

// unnamed says whether the server was looked for in the default directory, because neither a flag nor the environment names one.
func (env *cliEnv) unnamed() bool {
	return cmp.Or(env.flags.adminSocket, env.Getenv("SIGNET_LISTEN_ADMIN_SOCKET"), env.configFile(), env.flags.dataDir, env.Getenv("SIGNET_DATA_DIR")) == ""
}

func (env *cliEnv) dataDir() string {
	for _, dir := range []string{env.flags.dataDir, env.Getenv("SIGNET_DATA_DIR")} {
		if dir != "" {
			return dir
		}
	}
	return config.DefaultDataDir
}

// admin returns the client of the running server.
func (env *cliEnv) admin() (*adminapi.Client, error) {
	path, err := env.socket()
	if err != nil {
		return nil, err
	}
	return adminapi.NewUnix(path), nil
}

// talk writes to people, not to pipes.
func (env *cliEnv) talk(format string, args ...any) { fmt.Fprintf(env.Stderr, format+"\n", args...) }

// terminal says whether a stream is one.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
