package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
)

// Options says what to load from.
type Options struct {
	// File is the configuration file; empty for none.
	File string
	// Environ is the environment as os.Environ gives it; nil for none.
	Environ []string
	// Flags are the flags that were set on the command line, by option path: "listen.public" -> "0.0.0.0:8443".
	Flags map[string]string
}

// Load reads the layers, refuses what is unknown or malformed, fills in what was not said, and validates. All problems of
// all layers are in one error of type Problems; a file that cannot be read or is no YAML is an error of its own.
func Load(o Options) (*Config, error) {
	c, problems, err := load(o)
	if err != nil {
		return nil, err
	}
	problems = append(problems, c.problems()...)
	if err := problems.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// load is Load without the validation, so that the report holds what is malformed and what is invalid together.
func load(o Options) (*Config, Problems, error) {
	var problems Problems
	file, err := readFile(o.File, &problems)
	if err != nil {
		return nil, nil, err
	}
	k := koanf.New(".")
	env := fromEnviron(o.Environ, &problems)
	for _, layer := range []map[string]any{file, env.values, fromFlags(o.Flags, &problems)} {
		dropRivals(k, layer)
		if err := k.Load(confmap.Provider(layer, "."), nil); err != nil {
			return nil, nil, fmt.Errorf("merge configuration: %w", err)
		}
	}
	c := defaults()
	if err := k.UnmarshalWithConf("", c, koanf.UnmarshalConf{DecoderConfig: decoder(c)}); err != nil {
		return nil, nil, errors.New("decode configuration: an option has a value of the wrong kind")
	}
	if c.DataDir, err = filepath.Abs(c.DataDir); err != nil {
		return nil, nil, fmt.Errorf("find data_dir: %w", err)
	}
	c.derive()
	if c.Redis.URL.empty() && env.redisURL {
		c.Redis.URL.Env = DefaultRedisURLEnv
	}
	env.refuseUnknown(c, &problems)
	return c, problems, nil
}

func decoder(c *Config) *mapstructure.DecoderConfig {
	return &mapstructure.DecoderConfig{
		DecodeHook:  mapstructure.TextUnmarshallerHookFunc(),
		ErrorUnused: true,
		Result:      c,
		TagName:     "koanf",
	}
}

// dropRivals removes the ways to a secret that a lower layer named where this layer names another, since a secret has one.
func dropRivals(k *koanf.Koanf, layer map[string]any) {
	for _, secret := range []string{"database.url", "redis.url", "keys.master_key", "keys.pepper"} {
		for path := range layer {
			if strings.HasPrefix(path, secret+".") {
				k.Delete(secret)
				break
			}
		}
	}
}

func readFile(path string, problems *Problems) (map[string]any, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return fromYAML(path, text, problems)
}

func fromFlags(flags map[string]string, problems *Problems) map[string]any {
	values := make(map[string]any, len(flags))
	for _, o := range options() {
		text, set := flags[o.path]
		if !set {
			continue
		}
		v, err := parseText(o.kind, text)
		if err != nil {
			problems.add("flag for "+o.path, "%v", err)
			continue
		}
		values[o.path] = v
	}
	return values
}

// paths lists the paths of all options.
func paths() []string {
	var out []string
	for _, o := range options() {
		out = append(out, o.path)
	}
	return slices.Clip(out)
}
