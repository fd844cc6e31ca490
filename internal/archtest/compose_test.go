package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/servertest"
)

func readText(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestComposeHasTheWholeDeployment(t *testing.T) {
	t.Parallel()
	c := servertest.ReadCompose(t)
	var commands, replicas []string
	for name, s := range c.Services {
		if s.IsSignet() {
			commands = append(commands, strings.Join(s.Command, " "))
		}
		if s.IsSignet() && slices.Equal(s.Command, []string{"serve"}) {
			replicas = append(replicas, name)
		}
	}
	slices.Sort(commands)
	if want := []string{"init --if-needed", "migrate up", "serve", "serve"}; !slices.Equal(commands, want) {
		t.Errorf("the Signet services run %q, want %q", commands, want)
	}
	for _, name := range []string{"proxy", "postgres", "redis"} {
		if c.Services[name].Image == "" {
			t.Errorf("there is no service %s", name)
		}
	}
	caddyfile := readText(t, "configs/Caddyfile")
	for _, name := range replicas {
		if !strings.Contains(caddyfile, name+":8080") {
			t.Errorf("configs/Caddyfile does not send requests to %s", name)
		}
	}
	if !strings.Contains(caddyfile, "health_uri /readyz") {
		t.Error("configs/Caddyfile does not ask the replicas whether they are ready")
	}
}

// pinned is an image with at least major.minor in its tag. Patch releases that change under a name break quietly.
var pinned = regexp.MustCompile(`^[a-z0-9./-]+:\d+\.\d+(\.\d+)?[\w.-]*(@sha256:[0-9a-f]{64})?$`)

func TestComposeImagesArePinned(t *testing.T) {
	t.Parallel()
	for name, s := range servertest.ReadCompose(t).Services {
		if !s.IsSignet() && !pinned.MatchString(s.Image) {
			t.Errorf("%s: image %q names no exact version", name, s.Image)
		}
	}
}

func TestComposeHealth(t *testing.T) {
	t.Parallel()
	c := servertest.ReadCompose(t)
	for name, s := range c.Services {
		// The proxy asks the replicas (TestComposeHasTheWholeDeployment); one-shots end.
		if !s.IsSignet() && (s.Healthcheck == nil || len(s.Healthcheck.Test) < 2) {
			t.Errorf("%s has no health check", name)
		}
		for other, on := range s.DependsOn {
			target, ok := c.Services[other]
			switch {
			case !ok:
				t.Errorf("%s depends on %s, which is no service", name, other)
			case on.Condition == "service_completed_successfully" && target.IsOneShot():
			case on.Condition == "service_healthy" && target.Healthcheck != nil:
			case on.Condition == "service_started" && target.IsSignet() && !target.IsOneShot():
			default:
				t.Errorf("%s cannot depend on %s being %q", name, other, on.Condition)
			}
		}
	}
	for name, s := range c.Services {
		if s.IsSignet() && !waitsFor(c, name, "postgres", 0) {
			t.Errorf("%s does not wait for postgres", name)
		}
		if slices.Equal(s.Command, []string{"serve"}) && (!waitsFor(c, name, "init", 0) || !waitsFor(c, name, "migrate", 0)) {
			t.Errorf("%s does not wait for init and migrate", name)
		}
	}
}

// waitsFor follows depends_on; depth ends a circle.
func waitsFor(c servertest.Compose, name, other string, depth int) bool {
	for next := range c.Services[name].DependsOn {
		if next == other || depth < len(c.Services) && waitsFor(c, next, other, depth+1) {
			return true
		}
	}
	return false
}

var (
	secretName = regexp.MustCompile(`(?i)(password|secret|token|pepper|master_key|database_url|credential)`)
	urlLogin   = regexp.MustCompile(`://[^/@\s]*:[^/@\s]*@`)
)

func TestComposeSecretsAreFiles(t *testing.T) {
	t.Parallel()
	c := servertest.ReadCompose(t)
	for name, s := range c.Services {
		for key, value := range s.Environment {
			if urlLogin.MatchString(value) {
				t.Errorf("%s: %s holds a password", name, key)
			}
			if !secretName.MatchString(key) {
				continue
			}
			secret, isFile := strings.CutPrefix(value, "/run/secrets/")
			if !strings.HasSuffix(key, "_FILE") || !isFile {
				t.Errorf("%s: %s is no file below /run/secrets", name, key)
			} else if !slices.Contains(s.Secrets, secret) {
				t.Errorf("%s: %s names a secret that the service is not given", name, key)
			}
		}
		for _, word := range s.Command {
			if urlLogin.MatchString(word) || word == "--requirepass" {
				t.Errorf("%s: its command line holds a password", name)
			}
		}
		for _, secret := range s.Secrets {
			if c.Secrets[secret].File == "" {
				t.Errorf("%s is given %s, which is no secret with a file", name, secret)
			}
		}
	}
	ignored := readText(t, ".gitignore")
	for name, secret := range c.Secrets {
		if !strings.HasPrefix(secret.File, "./secrets/") || !strings.Contains(ignored, "\n/secrets/\n") {
			t.Errorf("secret %s is kept in %s, which git does not ignore", name, secret.File)
		}
	}
}

func TestComposeContainersAreConfined(t *testing.T) {
	t.Parallel()
	for name, s := range servertest.ReadCompose(t).Services {
		if s.Privileged || s.NetworkMode != "" || s.User == "root" {
			t.Errorf("%s has more rights than it needs", name)
		}
		if s.IsSignet() && (!s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.Ports) > 0) {
			t.Errorf("%s is not read-only without capabilities, behind the proxy", name)
		}
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s publishes %s to the world; an example stays on loopback", name, port)
			}
		}
		for _, volume := range s.Volumes {
			if strings.Contains(volume, "docker.sock") {
				t.Errorf("%s can reach the engine", name)
			}
		}
	}
}

func TestComposeStores(t *testing.T) {
	t.Parallel()
	c := servertest.ReadCompose(t)
	postgres, redis := c.Services["postgres"], c.Services["redis"]
	if !strings.HasPrefix(postgres.Image, "postgres:16.") || postgres.Environment["POSTGRES_HOST_AUTH_METHOD"] != "scram-sha-256" {
		t.Error("postgres is not version 16 with scram-sha-256")
	}
	if !strings.Contains(strings.Join(redis.Command, "|"), "--save||--appendonly|no") {
		t.Error("redis keeps data on disk: a restart would bring an old set of revocations back")
	}
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	dockerfile, gomod := readText(t, "Dockerfile"), readText(t, "go.mod")
	version := regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(gomod)
	if version == nil || !strings.Contains(dockerfile, "FROM golang:"+version[1]+"-") {
		t.Errorf("the image is not built with the Go version of go.mod")
	}
	for _, want := range []string{"\nFROM scratch\n", "CGO_ENABLED=0", "-trimpath", "\nUSER 65532:65532\n", `ENTRYPOINT ["/usr/bin/signet"]`} {
		if !strings.Contains(dockerfile, want) {
			t.Errorf("Dockerfile lacks %q", want)
		}
	}
}
