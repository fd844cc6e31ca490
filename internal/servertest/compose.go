package servertest

import (
	"os"
	"path/filepath"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Compose is as much of docker-compose.yml as tests speak of.
type Compose struct {
	Services map[string]ComposeService
	Secrets  map[string]struct{ File string }
	Volumes  map[string]any
	Networks map[string]any
}

// ComposeService is one container.
type ComposeService struct {
	Image       string
	Build       string
	Command     []string
	Environment map[string]string
	Secrets     []string
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	Healthcheck *struct{ Test []string }
	Restart     string
	Volumes     []string
	Tmpfs       []string
	Ports       []string
	Privileged  bool
	User        string
	ReadOnly    bool     `yaml:"read_only"`
	CapDrop     []string `yaml:"cap_drop"`
	NetworkMode string   `yaml:"network_mode"`
}

// IsSignet tells the services that run our own image.
func (s ComposeService) IsSignet() bool { return s.Build != "" }

// IsOneShot tells the services that others wait for to end.
func (s ComposeService) IsOneShot() bool { return s.Restart == "no" }

// ReadCompose reads the docker-compose.yml of this tree.
func ReadCompose(t testing.TB) Compose {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(Root(), "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var c Compose
	if err := yaml.Unmarshal(content, &c); err != nil {
		t.Fatalf("docker-compose.yml: %v", err)
	}
	return c
}
