package redisstore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/servertest/redistest"
)

func TestURLs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]target{
		"redis://localhost":                  {addrs: []string{"localhost:6379"}},
		"redis://:s%40%2F%23@r.example:7/12": {addrs: []string{"r.example:7"}, password: "s@/#", database: 12},
		"rediss://u:p@[::1]/":                {addrs: []string{"[::1]:6379"}, secure: true, username: "u", password: "p"},
		"redis://u:p@s1/3?master_name=m&addr=s2:1&addr=[::1]:2&sentinel_username=su&sentinel_password=sp": {
			addrs: []string{"s1:26379", "s2:1", "[::1]:2"}, username: "u", password: "p", database: 3,
			masterName: "m", sentinelUsername: "su", sentinelPassword: "sp",
		},
	} {
		got, err := parseURL(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(target{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

// TestBadURLs holds that a bad URL is refused without a word of it: any part may be a piece of a badly escaped password.
func TestBadURLs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                         "must begin with redis://",
		"hunter2":                                  "must begin with redis://",
		"http://:hunter2@host":                     "must begin with redis://",
		"unix://:hunter2@/run/redis.sock":          "must begin with redis://",
		"redis:///0":                               "names no host",
		"redis://:hunter2@/0":                      "names no host",
		"redis://:hunter2/@host":                   "malformed",
		"redis://:%hunter2@host":                   "malformed",
		"redis://:\x7fhunter2@host":                "malformed",
		"redis://host/#hunter2":                    `has a "#"`,
		"redis://hunter2@host":                     "user without a password",
		"redis://host/hunter2":                     "number of a database",
		"redis://host/-1":                          "number of a database",
		"redis://host/1/2":                         "number of a database",
		"redis://host?hunter2=1":                   "does not exist",
		"redis://host?max_retries=3":               "does not exist",
		"rediss://host?skip_verify=true":           "does not exist",
		"redis://host?%hunter2":                    "parameters of the Redis URL are malformed",
		"redis://host?sentinel_password=hunter2":   "no master_name",
		"redis://host?master_name=":                "no master_name",
		"redis://h?master_name=m&addr=hunter2":     "not host:port",
		"redis://h?master_name=m&addr=:1":          "not host:port",
		"redis://h?master_name=m&master_name=m":    "twice",
		"redis://h?master_name=m&database=hunter2": "does not exist",
	} {
		s, err := Open(Config{URL: text})
		if err == nil {
			_ = s.Close()
			t.Errorf("%q was accepted", text)
			continue
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error repeats the URL: %v", err)
		}
	}
}

// TestErrorsHoldNoPassword looks at errors of calls: of a server that is away, and of one that refuses the password.
func TestErrorsHoldNoPassword(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	refused := open(t, Config{URL: "redis://:hunter2@" + server.Addr()})
	unknown := open(t, Config{URL: "redis://hunter1:hunter2@" + server.Addr()})
	away := open(t, Config{URL: "redis://:hunter2@127.0.0.1:1"})
	for s, want := range map[*Set]string{refused: "WRONGPASS", unknown: "WRONGPASS", away: "connection refused"} {
		for name, call := range calls(s, "x") {
			err := call(within(t))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", name, err, want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter") {
				t.Errorf("%s: error holds the password: %v", name, err)
			}
		}
	}
}

func TestPasswordIsNeeded(t *testing.T) {
	t.Parallel()
	s := open(t, Config{URL: "redis://" + redistest.Start(t).Addr()})
	if _, err := s.Identity(within(t)); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("without a password: %v, want NOAUTH", err)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	server, other := redistest.StartTLS(t), redistest.StartTLS(t)
	s := open(t, Config{URL: server.TLSURL(), CAFile: server.CAFile()})
	id := filled(t, s)
	wantRevoked(t, open(t, Config{URL: server.URL()}), id, asked("gone"), true)

	for name, c := range map[string]Config{
		"another authority":        {URL: server.TLSURL(), CAFile: other.CAFile()},
		"the system's authorities": {URL: server.TLSURL()},
		"another host":             {URL: strings.Replace(server.TLSURL(), "127.0.0.1", "localhost", 1), CAFile: server.CAFile()},
	} {
		if _, err := open(t, c).Identity(within(t)); err == nil || !strings.Contains(err.Error(), "x509") {
			t.Errorf("%s: %v, want a refused certificate", name, err)
		}
	}
}

func TestCAFiles(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(empty, []byte("no certificate"), 0o600))
	for want, c := range map[string]Config{
		"no such file":                {URL: "rediss://host", CAFile: empty + ".none"},
		"holds no certificate in PEM": {URL: "rediss://host", CAFile: empty},
		"is without TLS":              {URL: "redis://host", CAFile: empty},
	} {
		if _, err := Open(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
}

// leastRights is the ACL of the package comment, less user and password.
var leastRights = strings.Fields("resetkeys ~signet:rev:* resetchannels -@all +info +echo +client|setname +client|getname " +
	"+zadd +zmscore +zrangebyscore +zremrangebyscore +zrem +unlink +scan +multi +exec")

func TestLeastRights(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Do(append([]string{"ACL", "SETUSER", "signet", "on", ">secret"}, leastRights...)...)
	s := open(t, Config{URL: server.UserURL("signet", "secret")})
	id := filled(t, s)
	for name, call := range calls(s, id) {
		must(t, s.Begin(within(t), id, 1)) // "finish" wants a pending marker
		if name != "finish" {
			must(t, s.Finish(within(t), id, 1))
		}
		if err := call(within(t)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, s.Sweep(within(t), id, time.Now(), []revocations.CutOff{byKey("k"), byClient("c", 1)}, 1))
	server.Do("SET", "signet:rev:x", "")
	must(t, s.Purge(within(t), id))
}

// TestEachRightIsNeeded takes one right away each, and holds that some call is an error then, and says why.
func TestEachRightIsNeeded(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for i, right := range leastRights {
		if !strings.HasPrefix(right, "+") && !strings.HasPrefix(right, "~") {
			continue
		}
		user := "user" + string(rune('a'+i))
		server.Do(append([]string{"ACL", "SETUSER", user, "on", ">secret"}, leastRights...)...)
		if take := "-" + right[1:]; right[0] == '+' {
			server.Do("ACL", "SETUSER", user, take)
		} else {
			server.Do("ACL", "SETUSER", user, "resetkeys", "~other:*")
		}
		s := open(t, Config{URL: server.UserURL(user, "secret")})
		id := identity(t, open(t, Config{URL: server.URL()}))
		server.Do("ZADD", key(id), "5", "t:x", "1", marker(1))
		server.Do("SET", "signet:rev:x", "")
		refused := 0
		for name, call := range calls(s, id) {
			if err := call(within(t)); err != nil && strings.Contains(err.Error(), "NOPERM") {
				refused++
			} else if err != nil && name != "finish" && name != "holds" && name != "revoked" {
				t.Errorf("without %s: %s: %v, want NOPERM or none", right, name, err)
			}
		}
		if err := s.sweepCutOffs(within(t), id, []revocations.CutOff{byKey("k")}); err != nil {
			refused++
		}
		if refused == 0 {
			t.Errorf("%s is not needed", right)
		}
	}
}

func TestConnections(t *testing.T) {
	t.Parallel()
	s := open(t, Config{URL: redistest.Open(t)})
	if all, _ := s.Connections(); all != 0 {
		t.Errorf("%d connections before the first call", all)
	}
	identity(t, s)
	if all, idle := s.Connections(); all != 1 || idle != 1 {
		t.Errorf("%d connections, %d idle after a call, want one", all, idle)
	}
}

// TestOptions holds what keeps answers and questions together, and commands from being repeated.
func TestOptions(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{"one": "redis://host", "Sentinel": "redis://host?master_name=m"} {
		o := open(t, Config{URL: url}).client.Options()
		if o.MaxRetries > 0 || o.DialerRetries != 1 || !o.DisableIdentity || !o.ContextTimeoutEnabled || o.Protocol != 2 ||
			o.PipelinePoolSize >= 0 || o.OnConnect == nil || o.MaintNotificationsConfig.Mode != "disabled" ||
			o.PoolSize != defaultPool || o.ReadTimeout != ioTimeout || o.ConnMaxLifetime != connLifetime {
			t.Errorf("%s: %+v", name, o)
		}
	}
}
