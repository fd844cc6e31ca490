package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// fromYAML reads a configuration file into values by option path. Unknown and malformed options become problems with the
// line they are on; the error is for a text that is no YAML mapping at all.
func fromYAML(name string, text []byte, problems *Problems) (map[string]any, error) {
	values := make(map[string]any)
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return values, nil // an empty file says nothing
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: holds more than one YAML document", name)
	}
	root := doc.Content[0]
	if isNull(root) {
		return values, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s: want a mapping of options at the top", name)
	}
	r := yamlReader{name: name, values: values, problems: problems}
	r.section(reflect.TypeFor[Config](), root, "")
	return values, nil
}

type yamlReader struct {
	name     string
	values   map[string]any
	problems *Problems
}

func (r yamlReader) refuse(n *yaml.Node, path, format string, args ...any) {
	r.problems.add(fmt.Sprintf("%s:%d: %s", r.name, n.Line, path), format, args...)
}

// section reads a mapping whose keys are the options of t.
func (r yamlReader) section(t reflect.Type, n *yaml.Node, prefix string) {
	fields := make(map[string]reflect.Type)
	var names []string
	for f := range t.Fields() {
		tag := f.Tag.Get("koanf")
		fields[tag] = f.Type
		names = append(names, tag)
	}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		path := prefix + key.Value
		field, known := fields[key.Value]
		switch {
		case !known:
			r.refuse(key, path, "no such option%s", suggestPath(path, key.Value, prefix, names))
		case seen[key.Value]:
			r.refuse(key, path, "is set twice")
		case value.Kind == yaml.AliasNode:
			r.refuse(value, path, "aliases are not supported")
		case isNull(value): // "tls:" with nothing under it leaves the defaults
		case kindOf(field) == kindSection:
			if value.Kind != yaml.MappingNode {
				r.refuse(value, path, "%s", wantSection(field))
				continue
			}
			r.section(field, value, path+".")
		default:
			r.leaf(kindOf(field), value, path)
		}
		seen[key.Value] = true
	}
}

// wantSection says what belongs in place of a scalar; a secret written out is the mistake worth its own words.
func wantSection(t reflect.Type) string {
	if t == reflect.TypeFor[SecretRef]() {
		return "a secret is never written here; say where it is found, with file, env or exec"
	}
	return "want a section of options"
}

// suggestPath looks among the names of the same section first, then for an option of that name in another section.
func suggestPath(path, name, prefix string, siblings []string) string {
	if near := nearest(name, siblings); near != "" {
		return "; did you mean " + prefix + near + "?"
	}
	for _, p := range paths() {
		if strings.HasSuffix(p, "."+name) {
			return "; did you mean " + p + "?"
		}
	}
	return suggest(path, paths())
}

func (r yamlReader) leaf(k kind, n *yaml.Node, path string) {
	v, err := r.value(k, n)
	if err != nil {
		r.refuse(n, path, "%v", err)
		return
	}
	r.values[path] = v
}

func (r yamlReader) value(k kind, n *yaml.Node) (any, error) {
	if k == kindList || k == kindCIDRs {
		if n.Kind != yaml.SequenceNode {
			return nil, errors.New("want a list")
		}
		elements := make([]string, 0, len(n.Content))
		for _, e := range n.Content {
			if e.Kind != yaml.ScalarNode || isNull(e) {
				return nil, errors.New("want a list of texts")
			}
			elements = append(elements, e.Value)
		}
		return parseList(k, elements)
	}
	if n.Kind != yaml.ScalarNode {
		return nil, errors.New("want one value")
	}
	if (k == kindText || k == kindDuration) && n.Tag != "!!str" {
		return nil, errors.New("want text; put it in quotes")
	}
	if (k == kindBool || k == kindInt || k == kindFloat) && n.Tag == "!!str" {
		_, err := parseText(k, "not of the kind")
		return nil, err
	}
	return parseText(k, n.Value)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }
