package doctest

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/telemetry"
)

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// TestLinks makes sure that what documents refer to is there. Links to the world are not followed.
func TestLinks(t *testing.T) {
	t.Parallel()
	for _, d := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(d.prose, -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			file := d.path
			if target != "" {
				file = path.Join(path.Dir(d.path), target)
			}
			content, err := os.ReadFile(filepath.Join(servertest.Root(), filepath.FromSlash(file)))
			if err != nil {
				if info, staterr := os.Stat(filepath.Join(servertest.Root(), filepath.FromSlash(file))); staterr != nil || !info.IsDir() {
					t.Errorf("%s: link to %s: there is no such file", d.path, m[1])
				}
				continue
			}
			if anchor != "" && !slices.Contains(anchors(string(content)), anchor) {
				t.Errorf("%s: link to %s: there is no such heading", d.path, m[1])
			}
		}
	}
}

var (
	heading  = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	notInAnc = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are the names that a forge gives to headings.
func anchors(text string) []string {
	var all []string
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		all = append(all, strings.ReplaceAll(notInAnc.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return all
}

// options reads the names of all options from the sample that a test of package config keeps complete.
func options(t *testing.T) map[string]bool {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(servertest.Root(), "configs", "signet.full.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(content, &tree); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	var walk func(prefix string, tree map[string]any)
	walk = func(prefix string, tree map[string]any) {
		for name, value := range tree {
			names[prefix+name] = true
			if sub, ok := value.(map[string]any); ok {
				walk(prefix+name+".", sub)
			}
		}
	}
	walk("", tree)
	for _, secret := range []string{"database.url", "keys.master_key", "keys.pepper"} { // of whose forms the sample shows one
		names[secret+".file"], names[secret+".env"], names[secret+".exec"] = true, true, true
	}
	return names
}

var (
	optionName   = regexp.MustCompile(`^([a-z_]+)(\.[a-z_]+)+$`)
	variableName = regexp.MustCompile(`\bSIGNET_[A-Z_]+\b`)
)

func TestOptionsExist(t *testing.T) {
	t.Parallel()
	names := options(t)
	variables := map[string]bool{"SIGNET_CONFIG": true}
	for name := range names {
		variables["SIGNET_"+strings.ToUpper(strings.ReplaceAll(name, ".", "_"))] = true
	}
	seen := 0
	for _, d := range documents(t) {
		for _, span := range d.spans() {
			m := optionName.FindStringSubmatch(span)
			if m == nil || !names[m[1]] { // no section of the configuration
				continue
			}
			seen++
			if !names[span] {
				t.Errorf("%s: there is no option %s", d.path, span)
			}
		}
		for _, b := range append(d.blocks, block{text: d.prose}) {
			for _, name := range variableName.FindAllString(b.text, -1) {
				if !variables[name] {
					t.Errorf("%s: there is no environment variable %s", d.path, name)
				}
			}
		}
	}
	if seen == 0 {
		t.Error("no document names an option: the search is broken")
	}
}

var (
	metricName = regexp.MustCompile(`\b(?:signet|go_sql)_[a-z_]+\b`)
	family     = regexp.MustCompile(`(?m)^# TYPE (\S+) `)
)

// TestMetricsAreDocumented goes both ways: what the documents name exists, and what exists is in docs/operations.md.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics("test")
	m.Cache("x", func() (int, int) { return 0, 1 })
	m.RegistryStaleness(func() time.Duration { return 0 })
	m.CertificateExpiry(time.Now)
	none := func() int64 { return 0 }
	m.Revocations(telemetry.RevocationSources{
		Leased: func() bool { return true }, FromRedis: none, FromLedger: none, Rebuilds: none, Withdrawals: none,
	})
	m.SigningKeys(func() map[telemetry.KeyState]int {
		return map[telemetry.KeyState]int{{Alg: "ES256", State: "active"}: 1}
	})
	m.Refused("token", "internal")
	m.Route("/").Observe(http.StatusOK, time.Millisecond)
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	exists := map[string]bool{}
	for _, found := range family.FindAllStringSubmatch(w.Body.String(), -1) {
		exists[found[1]] = true
	}
	var operations string
	for _, d := range documents(t) {
		if d.path == "docs/operations.md" {
			operations = d.prose
		}
		for _, span := range d.spans() {
			for _, name := range metricName.FindAllString(span, -1) {
				known := exists[name] || strings.HasPrefix(name, "go_sql_") || strings.HasPrefix(name, "signet_cs_") || strings.HasPrefix(name, "signet_at_")
				if !known {
					t.Errorf("%s: there is no metric %s", d.path, name)
				}
			}
		}
	}
	for name := range exists {
		if strings.HasPrefix(name, "signet_") && !strings.Contains(operations, "`"+name) {
			t.Errorf("docs/operations.md says nothing of %s", name)
		}
	}
}

var (
	testSpan = regexp.MustCompile(`^(Test[A-Z]\w*)`)
	testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
)

// testFunctions are the tests of the tree, each with the packages that have one of that name.
func testFunctions(t *testing.T) map[string][]string {
	t.Helper()
	packages := map[string][]string{}
	err := filepath.WalkDir(servertest.Root(), func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git") {
			return cmpOr(err, fs.SkipDir)
		}
		if !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(servertest.Root(), filepath.Dir(name))
		for _, m := range testFunc.FindAllStringSubmatch(string(content), -1) {
			packages[m[1]] = append(packages[m[1]], "./"+filepath.ToSlash(dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return packages
}

// TestTestsExist looks for the tests that the documents call as witnesses.
func TestTestsExist(t *testing.T) {
	t.Parallel()
	exists := testFunctions(t)
	for _, d := range documents(t) {
		for _, span := range d.spans() {
			if m := testSpan.FindStringSubmatch(span); m != nil && exists[m[1]] == nil {
				t.Errorf("%s: there is no test %s", d.path, m[1])
			}
		}
	}
}

// cmpOr returns the first error that is one.
func cmpOr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
