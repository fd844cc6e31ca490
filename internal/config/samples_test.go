package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "rewrite configs/signet.schema.json")

var configs = filepath.Join("..", "..", "configs")

// TestFullSample holds that the annotated sample decodes strictly, says the defaults, and mentions every option.
func TestFullSample(t *testing.T) {
	t.Parallel()
	path := filepath.Join(configs, "signet.full.yaml")
	c, err := Load(Options{File: path})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Issuer = c.Issuer
	if diff := cmp.Diff(want, c, comparePrefix); diff != "" {
		t.Errorf("sample differs from the defaults (-default +sample):\n%s", diff)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	for f := range reflect.TypeFor[Config]().Fields() {
		mentions(t, doc.Content[0], f, "")
	}
}

// mentions walks down to the leaves; of the ways to a secret, one is enough.
func mentions(t *testing.T, n *yaml.Node, f reflect.StructField, prefix string) {
	t.Helper()
	name := f.Tag.Get("koanf")
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value != name {
			continue
		}
		if kindOf(f.Type) == kindSection && f.Type != reflect.TypeFor[SecretRef]() {
			for inner := range f.Type.Fields() {
				mentions(t, n.Content[i+1], inner, prefix+name+".")
			}
		}
		return
	}
	t.Errorf("sample does not mention %s%s", prefix, name)
}

func TestLeastSampleIsValid(t *testing.T) {
	t.Parallel()
	if _, err := Load(Options{File: filepath.Join(configs, "signet.yaml")}); err != nil {
		t.Error(err)
	}
}

// TestSchemaIsCurrent compares the JSON schema with the structure; go test ./internal/config -update rewrites it.
func TestSchemaIsCurrent(t *testing.T) {
	t.Parallel()
	got := schema(t)
	path := filepath.Join(configs, "signet.schema.json")
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got) {
		t.Errorf("configs/signet.schema.json is stale; run go test ./internal/config -update\n%s", cmp.Diff(string(want), string(got)))
	}
}

// schema reflects Config into a JSON schema, with its comments as descriptions.
func schema(t *testing.T) []byte {
	t.Helper()
	r := jsonschema.Reflector{
		FieldNameTag:               "koanf",
		RequiredFromJSONSchemaTags: true,
		Anonymous:                  true,
		Mapper: func(typ reflect.Type) *jsonschema.Schema {
			switch typ {
			case reflect.TypeFor[time.Duration]():
				return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+d)?([0-9.]+(ms|h|m|s))*$`}
			case reflect.TypeFor[netip.Prefix]():
				return &jsonschema.Schema{Type: "string", Pattern: `^[0-9A-Fa-f.:]+/[0-9]+$`}
			case reflect.TypeFor[Driver]():
				return &jsonschema.Schema{Type: "string", Enum: []any{SQLite, Postgres}}
			}
			return nil
		},
	}
	if err := r.AddGoComments("github.com/seed-1972b8eb/signet/internal/config", "."); err != nil {
		t.Fatal(err)
	}
	s := r.Reflect(&Config{})
	s.ID, s.Title = "", "Configuration of signet serve"
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(text, '\n')
}
