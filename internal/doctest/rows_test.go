package doctest

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/servertest"
)

const faultTable = "docs/failure-modes.md"

var (
	faultName = regexp.MustCompile(`"([a-z]+(?:-[a-z]+)*)"`)
	// A kind of internal/faultlab is a line of its table, and its name is there or one of the constants.
	faultKind = regexp.MustCompile(`(?m)^(?:\t\t\{|\tkill\w+ += )"([a-z-]+)"`)
)

// TestRows makes sure that each row of docs/failure-modes.md names what shows it, and that all of it exists. With ROWS_RUNS it runs
// all of it so many times (`make rows`): ROWS_PKG, if given, is the only package, or "faults" for the laboratory; ROWS_RESULTS is a
// file to which the table of the run is appended.
func TestRows(t *testing.T) {
	t.Parallel()
	packages, kinds := testFunctions(t), faultKinds(t)
	tests, faults := map[string]bool{}, map[string]bool{}
	for _, shown := range shownBy(t) {
		named := strings.Contains(shown, "`make ")
		for _, m := range codeSpan.FindAllStringSubmatch(shown, -1) {
			if name := testSpan.FindString(m[1]); name != "" {
				named, tests[name] = true, true // TestTestsExist knows whether there is one
			}
		}
		for _, m := range faultName.FindAllStringSubmatch(shown, -1) {
			if named, faults[m[1]] = true, true; !slices.Contains(kinds, m[1]) {
				t.Errorf("%s: the laboratory has no fault %s", faultTable, m[0])
			}
		}
		if !named {
			t.Errorf("%s: nothing shows a row: its last column is %q", faultTable, shown)
		}
	}
	if len(tests) == 0 || len(faults) == 0 {
		t.Fatalf("%d tests and %d faults in %s: the search is broken", len(tests), len(faults), faultTable)
	}
	if text := os.Getenv("ROWS_RUNS"); text != "" && !t.Failed() {
		runs, err := strconv.Atoi(text)
		if err != nil || runs < 1 {
			t.Fatalf("ROWS_RUNS=%s is no number of runs", text)
		}
		shares := map[string][]string{}
		for name := range tests {
			for _, pkg := range packages[name] { // one name in two packages: both
				shares[pkg] = append(shares[pkg], name)
			}
		}
		runRows(t, shares, slices.Sorted(maps.Keys(faults)), runs)
	}
}

// shownBy is the last column of all rows.
func shownBy(t *testing.T) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(servertest.Root(), faultTable))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	within := false // a table with that column
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		cells := strings.Split(strings.Trim(line, "|"), "|")
		last := strings.TrimSpace(cells[len(cells)-1])
		switch {
		case last == "Shown by":
			within = true
		case strings.HasPrefix(line, "#"):
			within = false
		case within && strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "|---"):
			all = append(all, last)
		}
	}
	return all
}

// faultKinds are the names of what the laboratory can do.
func faultKinds(t *testing.T) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(servertest.Root(), "internal", "faultlab", "faults_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, m := range faultKind.FindAllStringSubmatch(string(content), -1) {
		kinds = append(kinds, m[1])
	}
	return kinds
}
