package main

import (
	"context"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/seed-1972b8eb/signet/internal/config"
	"github.com/seed-1972b8eb/signet/internal/rootkeys"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// The outcomes of a check.
const (
	okay = "ok"
	warn = "warn"
	fail = "fail"
)

// finding is one check of doctor.
type finding struct {
	Check  string `json:"check"`
	State  string `json:"state"`
	Detail string `json:"detail"`
	Advice string `json:"advice,omitempty"` // what to do
}

// doctor gathers findings; later checks use what earlier ones opened, and are left out where that failed.
type doctor struct {
	env    *cliEnv
	cfg    *config.Config
	master *rootkeys.Set
	db     *sqlstore.DB
	server *adminapi.Status
	found  []finding
}

func (d *doctor) ok(check, detail string) {
	d.found = append(d.found, finding{check, okay, detail, ""})
}

func (d *doctor) warn(check, detail, advice string) {
	d.found = append(d.found, finding{check, warn, detail, advice})
}

func (d *doctor) fail(check, detail, advice string) {
	d.found = append(d.found, finding{check, fail, detail, advice})
}

func newDoctorCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check a server's configuration, files, keys and database, and say what to do", Args: usageArgs(cobra.NoArgs),
		Long: "Check configuration, files and permissions, database, schema, signing keys, clock, socket and listeners. It changes " +
			"nothing, and works with and without a running server; beside that of signet dev, it needs no configuration. " +
			"Exit code 1 when a check fails; a warning alone is no failure.",
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		d := &doctor{env: env}
		d.run(cmd.Context())
		if err := d.report(*output); err != nil {
			return err
		}
		for _, f := range d.found {
			if f.State == fail {
				return silentError{errChecks}
			}
		}
		return nil
	}
	return cmd
}

func (d *doctor) run(ctx context.Context) {
	if !d.checkConfig(ctx) {
		return
	}
	d.checkDataDir()
	d.checkCertificate()
	d.checkRootKeys(ctx)
	if d.checkDatabase(ctx) {
		defer func() { _ = d.db.Close() }() // a reader loses nothing
		if d.checkSchema(ctx) {
			d.checkIssuer(ctx)
			d.checkSigningKeys(ctx)
		}
	}
	d.checkRedis(ctx)
	d.checkServer(ctx)
	d.checkClock(ctx)
	d.checkListeners(ctx)
}

func (d *doctor) report(f format) error {
	if done, err := d.env.data(f, d.found); done {
		return err
	}
	var rows []table.Row
	for _, one := range d.found {
		rows = append(rows, table.Row{one.State, one.Check, one.Detail})
		if one.Advice != "" {
			rows = append(rows, table.Row{"", "", "-> " + one.Advice})
		}
	}
	d.env.table(d.env.Stdout, nil, rows)
	return nil
}
