package config

import (
	"regexp"
	"slices"
	"strings"
)

const envPrefix = "SIGNET_"

// serviceLinks matches what Kubernetes puts into the environment of every container in the namespace of a service called
// "signet"; refusing those would keep the server from starting there.
var serviceLinks = regexp.MustCompile(`^SIGNET_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// environ is what the environment says.
type environ struct {
	values   map[string]any
	unknown  []string // names that begin with SIGNET_ and are no option
	redisURL bool     // DefaultRedisURLEnv is set
}

func fromEnviron(vars []string, problems *Problems) environ {
	byName := make(map[string]option)
	for _, o := range options() {
		byName[o.env()] = o
	}
	e := environ{values: make(map[string]any)}
	for _, pair := range vars {
		name, text, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, envPrefix) || name == "SIGNET_CONFIG" || serviceLinks.MatchString(name) {
			continue
		}
		o, known := byName[name]
		if !known {
			e.redisURL = e.redisURL || name == DefaultRedisURLEnv && text != ""
			e.unknown = append(e.unknown, name)
			continue
		}
		v, err := parseText(o.kind, text)
		if err != nil {
			problems.add(name, "%v", err)
			continue
		}
		e.values[o.path] = v
	}
	slices.Sort(e.unknown)
	return e
}

// refuseUnknown reports variables that are neither an option nor named by one as the place of a secret.
func (e environ) refuseUnknown(c *Config, problems *Problems) {
	var names []string
	for _, o := range options() {
		names = append(names, o.env())
	}
	for _, name := range e.unknown {
		switch name {
		case DefaultURLEnv, DefaultRedisURLEnv, c.Database.URL.Env, c.Redis.URL.Env, c.Keys.MasterKey.Env, c.Keys.Pepper.Env:
		case "SIGNET_KEYS_MASTER_KEY", "SIGNET_KEYS_PEPPER":
			problems.add(name, "a secret is not an option; set %s_ENV=%s to have it read from this variable", name, name)
		default:
			problems.add(name, "no such option%s", suggest(name, names))
		}
	}
}
