package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// format is the value of --output.
type format string

const (
	asTable format = "table"
	asJSON  format = "json"
	asYAML  format = "yaml"
)

// String, Set and Type make format a flag.
func (f *format) String() string { return string(*f) }

// Type names the values in the help.
func (f *format) Type() string { return "table|json|yaml" }

// Set accepts one of the three.
func (f *format) Set(s string) error {
	switch v := format(s); v {
	case asTable, asJSON, asYAML:
		*f = v
		return nil
	}
	return fmt.Errorf("want table, json or yaml")
}

// outputFlag adds --output to a command.
func outputFlag(cmd *cobra.Command) *format {
	f := asTable
	cmd.Flags().VarP(&f, "output", "o", "form of what is printed")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
	return &f
}

// data prints a value as JSON or YAML, with the same member names. It is false for the table form, which is the caller's.
func (env *cliEnv) data(f format, v any) (bool, error) {
	if f == asTable {
		return false, nil
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return true, fmt.Errorf("print: %w", err)
	}
	if f == asJSON {
		_, err := env.Stdout.Write(buf.Bytes())
		return true, err
	}
	var doc yaml.Node // JSON is YAML, and a node keeps the order of the members
	if err := yaml.Unmarshal(buf.Bytes(), &doc); err != nil {
		return true, fmt.Errorf("print: %w", err)
	}
	blockStyle(&doc)
	y := yaml.NewEncoder(env.Stdout)
	y.SetIndent(2)
	if err := y.Encode(&doc); err != nil {
		return true, fmt.Errorf("print: %w", err)
	}
	return true, y.Close()
}

func blockStyle(n *yaml.Node) {
	if n.Kind != yaml.ScalarNode {
		n.Style = 0
	} else if n.Tag == "!!str" {
		n.Style = 0
		n.SetString(n.Value)
	}
	for _, c := range n.Content {
		blockStyle(c)
	}
}

// list prints items: as data, or one row each.
func list[T any](env *cliEnv, f format, items []T, header table.Row, row func(T) table.Row) error {
	if done, err := env.data(f, items); done {
		return err
	}
	if len(items) == 0 {
		env.talk("none")
		return nil
	}
	rows := make([]table.Row, 0, len(items))
	for _, item := range items {
		rows = append(rows, row(item))
	}
	env.table(env.Stdout, header, rows)
	return nil
}

// table writes aligned columns without lines, so that they can be cut; headers are bold on a terminal that wants colour.
func (env *cliEnv) table(w io.Writer, header table.Row, rows []table.Row) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft = ""
	style.Box.PaddingRight = "  "
	style.Format.Header = text.FormatUpper
	if env.colour(w) {
		style.Color.Header = text.Colors{text.Bold}
	}
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	if header != nil {
		t.AppendHeader(header)
	}
	t.AppendRows(rows)
	t.Render()
}

// colour holds to no-color.org.
func (env *cliEnv) colour(w io.Writer) bool {
	return terminal(w) && env.Getenv("NO_COLOR") == "" && env.Getenv("TERM") != "dumb"
}

// record prints one thing as data, or as two columns.
func record(env *cliEnv, f format, v any, rows []table.Row) error {
	if done, err := env.data(f, v); done {
		return err
	}
	env.table(env.Stdout, nil, rows)
	return nil
}

// when writes a time for people; one that never comes is "-".
func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
