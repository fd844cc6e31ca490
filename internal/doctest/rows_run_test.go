package doctest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
)

const laboratory = "./internal/faultlab"

// tally is how often something was run. What was skipped was not run.
type tally struct{ runs, failed int }

// runRows runs the tests of each package and the faults of the laboratory, and says how often each was run. A test that failed once,
// or was not run as often as was asked for, fails the run.
func runRows(t *testing.T, shares map[string][]string, faults []string, runs int) {
	t.Helper()
	began, only := time.Now(), os.Getenv("ROWS_PKG")
	names, counts := []string{}, map[string]tally{}
	count := func(pkg string, wanted []string, run func() map[string]tally) {
		if only != "" && only != pkg {
			return
		}
		start := time.Now()
		counted, sum := run(), tally{}
		for _, one := range slices.Sorted(slices.Values(wanted)) {
			name, c := one+" ("+pkg+")", counted[one]
			if names, counts[name] = append(names, name), c; c.runs != runs || c.failed > 0 {
				t.Errorf("%s: %d of %d runs, %d failed", name, c.runs, runs, c.failed)
			}
			sum.runs, sum.failed = sum.runs+c.runs, sum.failed+c.failed
		}
		t.Logf("%s: %d tests, %d runs, %d failed, in %v", pkg, len(wanted), sum.runs, sum.failed, time.Since(start).Round(time.Second))
	}
	for _, pkg := range slices.Sorted(maps.Keys(shares)) {
		count(pkg, shares[pkg], func() map[string]tally { return runTests(t, pkg, shares[pkg], runs) })
	}
	count("faults", faults, func() map[string]tally { return runFaults(t, faults, runs) })
	if len(names) == 0 {
		t.Fatalf("ROWS_PKG=%s: no row is shown there", only)
	}
	report(t, began, names, counts)
}

// runTests runs tests of one package.
func runTests(t *testing.T, pkg string, tests []string, runs int) map[string]tally {
	t.Helper()
	counted, skipped := map[string]tally{}, map[string]bool{}
	goTest(t, nil, func(name, action, _ string) {
		c := counted[name]
		switch action {
		case "run":
			delete(skipped, name)
		case "skip": // of one of its sub-tests, too: it passes then
			skipped[name] = true
		case "pass":
			if !skipped[name] {
				c.runs++
			}
		case "fail":
			c.runs, c.failed = c.runs+1, c.failed+1
		}
		counted[name] = c
	}, pkg, "-count="+strconv.Itoa(runs), "-run", "^("+strings.Join(tests, "|")+")$")
	return counted
}

// faultLine is what the laboratory says at its end of each fault: how often it was made, and how often all was well again after it.
var faultLine = regexp.MustCompile(`^\s+([a-z]+(?:-[a-z]+)*)\s+(\d+)\s+\d+\s+\S+\s+\S+\s*$`)

// runFaults makes the faults in one run of the laboratory, which fails or passes as one.
func runFaults(t *testing.T, faults []string, runs int) map[string]tally {
	t.Helper()
	counted := map[string]tally{}
	env := []string{"FAULTS_CYCLES=" + strconv.Itoa(runs), "FAULTS_ONLY=" + strings.Join(faults, ",")}
	failed := 0
	goTest(t, env, func(_, action, output string) {
		if action == "fail" {
			failed = 1
		}
		if m := faultLine.FindStringSubmatch(output); m != nil {
			n, _ := strconv.Atoi(m[2]) // are digits
			counted[m[1]] = tally{runs: n}
		}
	}, laboratory, "-count=1", "-run", "^TestFaults$")
	for name, c := range counted {
		counted[name] = tally{c.runs, failed}
	}
	return counted
}

// goTest runs go test, and calls each for every event of a test that is not a sub-test, every skip of one that is, and every line
// of output. It fails the test with the output of each run of a test that failed.
func goTest(t *testing.T, env []string, each func(name, action, output string), args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"test", "-json", "-timeout", "0"}, args...)...)
	cmd.Dir, cmd.Env = servertest.Root(), append(os.Environ(), env...)
	cmd.Stderr = t.Output()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("go test: %v", err)
	}
	logs := map[string]*strings.Builder{} // of the run of each test that goes on; of the package under ""
	for events := json.NewDecoder(stdout); ; {
		var event struct{ Action, Test, Output string }
		if err := events.Decode(&event); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Errorf("go test %s: %v", args[0], err)
			}
			break
		}
		name, _, isSub := strings.Cut(event.Test, "/")
		if logs[name] == nil || event.Action == "run" && !isSub {
			logs[name] = &strings.Builder{}
		}
		logs[name].WriteString(event.Output)
		switch {
		case event.Action == "output":
			each(name, event.Action, event.Output)
		case name != "" && (!isSub || event.Action == "skip"):
			each(name, event.Action, "")
		}
		if event.Action == "fail" && !isSub && name != "" {
			t.Errorf("%s failed:\n%s", name, logs[name])
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("go test %s: %v\n%s", args[0], err, logs[""])
	}
}

// report shows the table, and appends it to the file of results if there is one.
func report(t *testing.T, began time.Time, names []string, counts map[string]tally) {
	t.Helper()
	var table strings.Builder
	var sum tally
	fmt.Fprintf(&table, "| test | runs | failed |\n|---|---|---|\n")
	for _, name := range names {
		c := counts[name]
		fmt.Fprintf(&table, "| %s | %d | %d |\n", name, c.runs, c.failed)
		sum.runs, sum.failed = sum.runs+c.runs, sum.failed+c.failed
	}
	fmt.Fprintf(&table, "| all %d | %d | %d |\n", len(names), sum.runs, sum.failed)
	t.Logf("%v\n%s", time.Since(began).Round(time.Second), table.String())
	path := os.Getenv("ROWS_RESULTS")
	if path == "" {
		return
	}
	commit, err := exec.CommandContext(t.Context(), "git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatalf("write results: %v", err)
	}
	defer func() { _ = file.Close() }()
	if _, err := fmt.Fprintf(file, "%s commit=%s took=%v failed=%t\n%s\n", began.UTC().Format(time.RFC3339), strings.TrimSpace(string(commit)),
		time.Since(began).Round(time.Second), t.Failed(), table.String()); err != nil {
		t.Errorf("write results: %v", err)
	}
}
