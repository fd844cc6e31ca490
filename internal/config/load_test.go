package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// write puts a configuration file into a directory of the test.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "signet.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// least is the shortest valid configuration.
const least = "issuer: https://auth.example.com\n"

func TestLayersWinInOrder(t *testing.T) {
	t.Parallel()
	file := write(t, least+"log:\n  level: warn\n  format: text\nlimits:\n  failures_burst: 7\n  max_connections: 9\n")
	c, err := Load(Options{
		File:    file,
		Environ: []string{"SIGNET_LOG_FORMAT=json", "SIGNET_LIMITS_FAILURES_BURST=8", "PATH=/bin"},
		Flags:   map[string]string{"limits.failures_burst": "9"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Issuer = "https://auth.example.com"
	want.Log = Log{Level: "warn", Format: "json"}
	want.Limits.FailuresBurst, want.Limits.MaxConnections = 9, 9
	if diff := cmp.Diff(want, c, comparePrefix); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

// TestSecretHasOneWay holds that a higher layer replaces a lower layer's way to a secret, whatever kind either is.
func TestSecretHasOneWay(t *testing.T) {
	t.Parallel()
	file := write(t, least+"keys:\n  master_key:\n    file: /etc/master\n  pepper:\n    exec: [pass, show, pepper]\n")
	c, err := Load(Options{File: file, Environ: []string{"SIGNET_KEYS_MASTER_KEY_ENV=SIGNET_THE_KEY", "SIGNET_THE_KEY=1:x"}})
	if err != nil {
		t.Fatal(err)
	}
	want := Keys{
		MasterKey:   SecretRef{Env: "SIGNET_THE_KEY"},
		Pepper:      SecretRef{Exec: []string{"pass", "show", "pepper"}},
		RotateEvery: 30 * 24 * time.Hour,
		JWKSMaxAge:  5 * time.Minute,
	}
	if diff := cmp.Diff(want, c.Keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

// TestRedisURLVariableIsTheDefault holds that the variable alone turns Redis on, and yields to what the configuration says.
func TestRedisURLVariableIsTheDefault(t *testing.T) {
	t.Parallel()
	postgres := least + "database:\n  driver: postgres\n"
	elsewhere := postgres + "redis:\n  url:\n    file: /etc/redis-url\n"
	for _, tt := range []struct {
		name, file string
		environ    []string
		want       SecretRef
	}{
		{"not set", postgres, nil, SecretRef{}},
		{"empty", postgres, []string{"SIGNET_REDIS_URL="}, SecretRef{}},
		{"set", postgres, []string{"SIGNET_REDIS_URL=redis://h"}, SecretRef{Env: "SIGNET_REDIS_URL"}},
		{"file", elsewhere, []string{"SIGNET_REDIS_URL=redis://h"}, SecretRef{File: "/etc/redis-url"}},
		{
			"another variable over the file", elsewhere,
			[]string{"SIGNET_REDIS_URL_ENV=SIGNET_OTHER", "SIGNET_OTHER=redis://h"},
			SecretRef{Env: "SIGNET_OTHER"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := Load(Options{File: write(t, tt.file), Environ: tt.environ})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, c.Redis.URL); diff != "" {
				t.Errorf("redis.url (-want +got):\n%s", diff)
			}
			if c.UsesRedis() == tt.want.empty() {
				t.Errorf("UsesRedis: %v", c.UsesRedis())
			}
		})
	}
}

func TestDerivedDefaultsFollowTheDataDirectory(t *testing.T) {
	t.Parallel()
	c, err := Load(Options{File: write(t, least), Environ: []string{"SIGNET_DATA_DIR=/srv/s"}})
	if err != nil {
		t.Fatal(err)
	}
	got := []string{c.Listen.AdminSocket, c.Database.Path, c.Keys.MasterKey.File, c.Keys.Pepper.File}
	want := []string{"/srv/s/admin.sock", "/srv/s/signet.db", "/srv/s/keys/master.key", "/srv/s/keys/pepper.key"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
}

// refusals are files, variables and flags that must be refused, with what the report must say and must not.
var refusals = []struct {
	name    string
	file    string
	environ []string
	flags   map[string]string
	want    []string
	absent  string
}{
	{name: "unknown option", file: least + "lisen:\n  public: x\n", want: []string{":2: lisen: no such option; did you mean listen?"}},
	{name: "unknown option in a section", file: least + "log:\n  levle: info\n", want: []string{":3: log.levle: no such option; did you mean log.level?"}},
	{name: "option outside its section", file: least + "failures_burst: 3\n", want: []string{"failures_burst: no such option; did you mean limits.failures_burst?"}},
	{name: "dotted path as a key", file: least + "log.level: debug\n", want: []string{"log.level: no such option"}},
	{name: "merge key is no option", file: "a: &x {level: debug}\n" + least + "log:\n  <<: *x\n", want: []string{"a: no such option", "log.<<: no such option"}},
	{name: "alias", file: "issuer: &i https://auth.example.com\ndata_dir: *i\n", want: []string{"data_dir: aliases are not supported"}},
	{name: "option twice", file: least + least, want: []string{":2: issuer: is set twice"}},
	{name: "number as text", file: "issuer: 7\n", want: []string{"issuer: want text; put it in quotes"}},
	{name: "text as number", file: least + "database:\n  max_conns: \"7\"\n", want: []string{"database.max_conns: want a whole number"}},
	{name: "fraction as whole number", file: least + "database:\n  max_conns: 7.5\n", want: []string{"want a whole number"}},
	{name: "text as truth", file: least + "proxy:\n  terminates_tls: \"yes\"\n", want: []string{"proxy.terminates_tls: want true or false"}},
	{name: "number as duration", file: least + "keys:\n  jwks_max_age: 300\n", want: []string{"keys.jwks_max_age: want text"}},
	{name: "malformed duration", file: least + "keys:\n  jwks_max_age: 5 minutes\n", want: []string{"keys.jwks_max_age: want a length of time"}},
	{name: "list as text", file: least + "outbound:\n  allow_cidrs: 10.0.0.0/8\n", want: []string{"outbound.allow_cidrs: want a list"}},
	{name: "malformed network", file: least + "outbound:\n  allow_cidrs: [10.0.0.0/8, 10.0.0.1]\n", want: []string{"outbound.allow_cidrs: element 2"}},
	{name: "network with host bits", file: least + "outbound:\n  allow_cidrs: [10.0.0.1/8]\n", want: []string{"10.0.0.0/8 is the network"}},
	{name: "section as value", file: least + "log: debug\n", want: []string{"log: want a section"}},
	{name: "secret written out", file: least + "keys:\n  pepper: 1:c2VjcmV0LXBlcHBlcg\n", want: []string{"keys.pepper: a secret is never written here"}, absent: "c2VjcmV0"},
	{name: "secret written out in the environment", file: least, environ: []string{"SIGNET_KEYS_PEPPER=1:c2VjcmV0"}, want: []string{"SIGNET_KEYS_PEPPER: a secret is not an option; set SIGNET_KEYS_PEPPER_ENV=SIGNET_KEYS_PEPPER"}, absent: "c2VjcmV0"},
	{name: "Redis URL written out", file: least + "redis:\n  url: redis://:hunter2@h\n", want: []string{"redis.url: a secret is never written here"}, absent: "hunter2"},
	{name: "Redis URL with SQLite", file: least, environ: []string{"SIGNET_REDIS_URL=redis://:hunter2@h"}, want: []string{"redis.url: is of no use"}, absent: "hunter2"},
	{name: "secret with two ways", file: least + "keys:\n  pepper:\n    file: /a\n    env: B\n", want: []string{"keys.pepper: has more than one"}},
	{name: "unknown variable", file: least, environ: []string{"SIGNET_LOG_LEVLE=debug"}, want: []string{"SIGNET_LOG_LEVLE: no such option; did you mean SIGNET_LOG_LEVEL?"}},
	{name: "malformed variable", file: least, environ: []string{"SIGNET_DATABASE_MAX_CONNS=hunter2"}, want: []string{"SIGNET_DATABASE_MAX_CONNS: want a whole number"}, absent: "hunter2"},
	{name: "malformed flag", file: least, flags: map[string]string{"tokens.max_ttl": "long"}, want: []string{"flag for tokens.max_ttl: want a length of time"}},
	{
		name: "everything at once", file: "lisen: 1\nlog:\n  level: loud\n", environ: []string{"SIGNET_NOPE=1", "SIGNET_TOKENS_MAX_TTL=25h"},
		want: []string{"configuration has 5 problems", "lisen", "issuer: is required", "log.level", "SIGNET_NOPE", "tokens.max_ttl: want 1s to 1d"},
	},
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, tt := range refusals {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Load(Options{File: write(t, tt.file), Environ: tt.environ, Flags: tt.flags})
			if err == nil {
				t.Fatal("loaded")
			}
			if !errors.As(err, new(Problems)) {
				t.Errorf("error is a %T, want Problems", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("report lacks %q:\n%v", want, err)
				}
			}
			if tt.absent != "" && strings.Contains(err.Error(), tt.absent) {
				t.Errorf("report repeats a secret:\n%v", err)
			}
		})
	}
}

func TestUnreadableFiles(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no YAML":       "a: [",
		"two documents": least + "---\n" + least,
		"a list":        "- a\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := Load(Options{File: write(t, text)}); err == nil {
				t.Error("loaded")
			}
		})
	}
	if _, err := Load(Options{File: filepath.Join(t.TempDir(), "none.yaml")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v, want os.ErrNotExist", err)
	}
}

func TestEmptyFileAndSectionsSayNothing(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "# nothing\n", "---\n", "log:\ntls:\n"} {
		if _, err := Load(Options{File: write(t, text), Environ: []string{"SIGNET_ISSUER=https://a.example"}}); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestServiceLinksAreNoOptions holds that a Kubernetes service called "signet" does not keep the server from starting.
func TestServiceLinksAreNoOptions(t *testing.T) {
	t.Parallel()
	_, err := Load(Options{File: write(t, least), Environ: []string{
		"SIGNET_SERVICE_HOST=10.0.0.1", "SIGNET_SERVICE_PORT=80", "SIGNET_SERVICE_PORT_HTTP=80", "SIGNET_PORT=tcp://10.0.0.1:80",
		"SIGNET_PORT_80_TCP=tcp://10.0.0.1:80", "SIGNET_PORT_80_TCP_PROTO=tcp", "SIGNET_PORT_80_TCP_ADDR=10.0.0.1", "SIGNET_CONFIG=x",
	}})
	if err != nil {
		t.Error(err)
	}
}

func TestDurations(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"5m": 5 * time.Minute, "90d": 90 * 24 * time.Hour, "1d12h": 36 * time.Hour, "0s": 0, "1h30m": 90 * time.Minute,
	} {
		got, err := ParseDuration(text)
		if err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
		if again, err := ParseDuration(FormatDuration(want)); err != nil || again != want {
			t.Errorf("%v formats as %q, which parses as %v, %v", want, FormatDuration(want), again, err)
		}
	}
	for _, text := range []string{"", "d", "-1d", "1d-2h", "5", "1.5d", "99999999d", "1d1d"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", text, got)
		}
	}
}

// FuzzFile holds that no file makes the reader panic, and that what loads also validates.
func FuzzFile(f *testing.F) {
	for _, tt := range refusals {
		f.Add(tt.file)
	}
	f.Add(least)
	f.Fuzz(func(t *testing.T, text string) {
		var problems Problems
		values, err := fromYAML("f", []byte(text), &problems)
		if err != nil {
			return
		}
		known := make(map[string]bool)
		for _, p := range paths() {
			known[p] = true
		}
		for path := range values {
			if !known[path] {
				t.Errorf("read an option that does not exist: %q", path)
			}
		}
	})
}
