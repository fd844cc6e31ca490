package main

import (
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
)

func newExplainCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{
		Use: "explain REQUEST_ID", Short: "Say why a request was refused, and what mends it", Args: usageArgs(cobra.ExactArgs(1)),
		Long: "Say why a request to the OAuth endpoints was refused. The request ID stands in the X-Request-Id header of every answer. " +
			"Each server remembers its own latest 10,000 refusals, since its start.",
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := env.admin()
		if err != nil {
			return err
		}
		r, err := client.Refusal(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return record(env, *output, r, []table.Row{
			{"request", r.RequestID},
			{"time", when(r.Time)},
			{"endpoint", r.Endpoint},
			{"client (claimed)", dash(r.ClientID)},
			{"source", dash(r.Source)},
			{"answer", r.Code},
			{"told", r.Detail},
			{"reason", r.Reason},
			{"meaning", r.Meaning},
			{"remedy", r.Remedy},
		})
	}
	return cmd
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
