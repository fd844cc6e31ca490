package failures

import (
	"crypto/rand"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/internal/servertest/redistest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// proxyPeer is the address that plays the proxy: every address of 127/8 is loopback.
const proxyPeer = "127.0.0.2"

// containers runs the services of docker-compose.yml that are Signet's as plain processes: their commands and environments
// to the letter, but for what an engine would map: files and directories, networks, ports.
type containers struct {
	compose servertest.Compose
	dir     string
	secrets string
	redis   string // URL
}

// TestCompose brings docker-compose.yml up, twice as `docker compose up` does, and uses what runs then.
func TestCompose(t *testing.T) {
	t.Parallel()
	long(t)
	c := &containers{compose: servertest.ReadCompose(t), dir: servertest.ShortDir(t)}
	c.secrets = filepath.Join(c.dir, "secrets")
	for _, dir := range []string{c.secrets, filepath.Join(c.dir, "keys")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	c.postgres(t)
	c.redis = redistest.Start(t).URL()
	for range 2 {
		for _, name := range c.oneShots(t) {
			if out, text, err := servertest.Run(t, c.environment(t, name), c.compose.Services[name].Command...); err != nil {
				t.Fatalf("%s: %v\n%s%s", name, err, out, text)
			}
		}
	}
	replicas := map[string]*server{}
	for name, service := range c.compose.Services {
		if service.IsSignet() && !service.IsOneShot() {
			replicas[name] = c.start(t, name)
		}
	}
	if len(replicas) != 2 {
		t.Fatalf("%d replicas", len(replicas))
	}
	c.use(t, replicas)
}

// use makes a client on one replica, and gets it a token from both.
func (c *containers) use(t *testing.T, replicas map[string]*server) {
	t.Helper()
	names := slices.Sorted(maps.Keys(replicas))
	exec := func(args ...string) string {
		out, text, err := servertest.Run(t, c.environment(t, names[0]), append(args, "--output", "json")...)
		if err != nil {
			t.Fatalf("signet %s: %v\n%s", strings.Join(args, " "), err, text)
		}
		return out
	}
	exec("api", "create", "--identifier", orders, "--name", "Orders")
	exec("scope", "create", "--api", orders, "orders:read")
	made := exec("client", "create", "--name", "one", "--grant", orders+"=orders:read")
	machine := client{member[string](made, "client_id"), member[string](made, "client_secret")}
	for _, name := range names {
		s := replicas[name]
		a := s.request(machine)
		a.want(t)
		for _, other := range names {
			replicas[other].verify(t, replicas[other].jwks(t), a.token())
		}
		if a := s.get(pathMetadata); member[string](a.body, "issuer") != s.Issuer || member[string](a.body, "jwks_uri") != s.Issuer+pathJWKS {
			t.Errorf("%s: metadata %s", name, a.body)
		}
		// Whoever is not the proxy speaks plain http, and is refused before a secret is looked at.
		direct := &server{Server: s.Server, base: s.base, http: servertest.Client(t)}
		if a := direct.request(machine); a.err != nil || a.status != http.StatusBadRequest || a.token() != "" {
			t.Errorf("%s past the proxy: %d %s (%v)", name, a.status, a.body, a.err)
		}
	}
	for name, s := range replicas {
		eventually(t, 10*time.Second, "trust Redis on "+name, func() bool {
			return strings.Contains(s.get(pathReady).body, `{"name":"redis","state":"ok"}`)
		})
	}
	if _, err := replicas[names[0]].admin.DisableClient(t.Context(), machine.id, ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, seenWithin, "see on "+names[1]+" that the client is disabled", func() bool {
		return replicas[names[1]].request(machine).status == http.StatusUnauthorized
	})
}

// postgres plays the service of that name, with its role and database, and writes the secret that names it.
func (c *containers) postgres(t *testing.T) {
	t.Helper()
	service := c.compose.Services["postgres"].Environment
	password := rand.Text()
	postgres := pgtest.Start(t)
	pgtest.Exec(t, postgres.URL(), "CREATE ROLE "+service["POSTGRES_USER"]+" LOGIN PASSWORD '"+password+"'")
	pgtest.Exec(t, postgres.URL(), "CREATE DATABASE "+service["POSTGRES_DB"]+" OWNER "+service["POSTGRES_USER"])
	u := &url.URL{
		Scheme: "postgres", User: url.UserPassword(service["POSTGRES_USER"], password), Host: postgres.Addr(),
		Path: "/" + service["POSTGRES_DB"], RawQuery: "sslmode=disable",
	}
	if err := os.WriteFile(filepath.Join(c.secrets, "database_url"), []byte(u.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// oneShots are the services that end, each after those that it waits for.
func (c *containers) oneShots(t *testing.T) []string {
	t.Helper()
	var order []string
	for range c.compose.Services {
		for _, name := range slices.Sorted(maps.Keys(c.compose.Services)) {
			service := c.compose.Services[name]
			waits := false
			for other, on := range service.DependsOn {
				waits = waits || on.Condition == "service_completed_successfully" && !slices.Contains(order, other)
			}
			if service.IsSignet() && service.IsOneShot() && !waits && !slices.Contains(order, name) {
				order = append(order, name)
			}
		}
	}
	if !slices.Equal(order, []string{"migrate", "init"}) {
		t.Fatalf("one-shots run in the order %v", order)
	}
	return order
}

// environment is that of a service, with its paths mapped. A container's own directory is empty at its start; the volume
// with the keys is in all of them.
func (c *containers) environment(t *testing.T, name string) []string {
	t.Helper()
	service := c.compose.Services[name]
	data := filepath.Join(c.dir, name)
	if !slices.ContainsFunc(service.Tmpfs, func(m string) bool { return strings.HasPrefix(m, service.Environment["SIGNET_DATA_DIR"]+":") }) {
		t.Fatalf("%s: the data directory is no tmpfs", name)
	}
	if !slices.Contains(service.Volumes, "keys:"+service.Environment["SIGNET_DATA_DIR"]+"/keys") {
		t.Fatalf("%s does not mount the keys", name)
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(c.dir, "keys"), filepath.Join(data, "keys")); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	var env []string
	for key, value := range service.Environment {
		switch key {
		case "SIGNET_DATA_DIR":
			value = data
		case "SIGNET_PROXY_TRUSTED_CIDRS":
			value = proxyPeer + "/32"
		case "SIGNET_REDIS_URL":
			if u, err := url.Parse(value); err != nil || c.compose.Services[u.Hostname()].Image == "" {
				t.Fatalf("%s: %s is no service", name, value)
			}
			value = c.redis
		}
		env = append(env, key+"="+strings.Replace(value, "/run/secrets/", c.secrets+"/", 1))
	}
	return env
}

// start runs a replica on ports of its own, which are mapped to what it listens on, and waits until the proxy would send
// requests to it.
func (c *containers) start(t *testing.T, name string) *server {
	t.Helper()
	env := c.environment(t, name)
	address := c.compose.Services[name].Environment["SIGNET_LISTEN_PUBLIC"]
	if _, port, err := net.SplitHostPort(address); err != nil || port != "8080" {
		t.Fatalf("%s listens on %s, and the proxy sends to port 8080", name, address)
	}
	public, admin := reserve(t), reserve(t)
	s := &servertest.Server{
		Issuer: c.compose.Services[name].Environment["SIGNET_ISSUER"], Address: public,
		AdminSocket: filepath.Join(c.dir, name, "admin.sock"),
	}
	// Beyond loopback, as in the container: that is what the proxy's settings allow.
	_, port, _ := net.SplitHostPort(public)
	env = append(env, "SIGNET_LISTEN_PUBLIC=0.0.0.0:"+port, "SIGNET_LISTEN_ADMIN="+admin)
	s.Process = servertest.Start(t, env, c.compose.Services[name].Command...)
	inner := &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(proxyPeer)}}).DialContext}
	t.Cleanup(inner.CloseIdleConnections)
	out := &server{
		Server: s, base: "http://" + public, http: &http.Client{Transport: proxied{inner}, Timeout: 10 * time.Second},
		admin: adminapi.NewUnix(s.AdminSocket),
	}
	eventually(t, 20*time.Second, "be ready", func() bool { return out.get(pathReady).ok() || !s.Running() })
	return out
}

func reserve(t *testing.T) string {
	t.Helper()
	port, err := daemon.ReservePort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(port.Release)
	return port.Addr()
}

// proxied adds what the proxy adds.
type proxied struct{ inner http.RoundTripper }

func (p proxied) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Forwarded-Proto", "https")
	r.Header.Set("X-Forwarded-For", "203.0.113.7")
	return p.inner.RoundTrip(r)
}
