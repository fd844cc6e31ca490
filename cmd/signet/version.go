package main

import (
	"runtime"
	"runtime/debug"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
)

// build says what this binary was made of, as the Go toolchain recorded it.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func buildInfo() build {
	b := build{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Version = info.Main.Version
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// version is the version alone.
func version() string { return buildInfo().Version }

func newVersionCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Print the version", Args: usageArgs(cobra.NoArgs)}
	output := outputFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		b := buildInfo()
		return record(env, *output, b, []table.Row{
			{"version", b.Version}, {"revision", b.Revision}, {"modified", b.Modified}, {"go", b.Go}, {"platform", b.Platform},
		})
	}
	return cmd
}
