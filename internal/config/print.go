package config

import (
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"
)

// Print writes every option with its effective value, as YAML that Load reads again. Secrets are not part of a
// configuration; the arguments of a command that prints one are masked, since people put secrets there.
func (c *Config) Print(w io.Writer) error {
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(sectionNode(reflect.ValueOf(c).Elem())); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	return enc.Close()
}

func sectionNode(v reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for f, field := range v.Fields() {
		n.Content = append(n.Content, text(f.Tag.Get("koanf")), valueNode(field))
	}
	return n
}

func valueNode(v reflect.Value) *yaml.Node {
	switch value := v.Interface().(type) {
	case SecretRef:
		return refNode(value)
	case time.Duration:
		return text(FormatDuration(value))
	case []netip.Prefix:
		n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, p := range value {
			n.Content = append(n.Content, text(p.String()))
		}
		return n
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(value)}
	case int:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.Itoa(value)}
	case float64:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!float", Value: strconv.FormatFloat(value, 'g', -1, 64)}
	}
	if v.Kind() == reflect.Struct {
		return sectionNode(v)
	}
	return text(v.String())
}

// refNode shows the one way to a secret that is set.
func refNode(r SecretRef) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	switch {
	case r.File != "":
		n.Content = []*yaml.Node{text("file"), text(r.File)}
	case r.Env != "":
		n.Content = []*yaml.Node{text("env"), text(r.Env)}
	case len(r.Exec) > 0:
		command := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle, Content: []*yaml.Node{text(r.Exec[0])}}
		for range r.Exec[1:] {
			command.Content = append(command.Content, text("[masked]"))
		}
		n.Content = []*yaml.Node{text("exec"), command}
	}
	return n
}

func text(s string) *yaml.Node {
	n := new(yaml.Node)
	n.SetString(s)
	n.Tag = "!!str"
	return n
}
