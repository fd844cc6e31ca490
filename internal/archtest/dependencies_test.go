package archtest

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the dependency lists in testdata anew")

// TestDependencies compares what is linked with the committed lists, so that a review shows every new door. A list has
// no versions (go.mod has them) and no packages below an "internal" (they move with every release and cannot be called).
func TestDependencies(t *testing.T) {
	t.Parallel()
	_, all := ownPackages(t)
	for room, file := range map[string]string{
		"cmd/signet":   "signet.dependencies.txt",
		"pkg/verifier": "verifier.dependencies.txt",
	} {
		p, ok := all[module+"/"+room]
		if !ok {
			continue // this room is not furnished yet
		}
		path := filepath.Join("testdata", file)
		got := dependencyList(p, all)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("%v\nwrite it: go test ./internal/archtest -run TestDependencies -update", err)
			continue
		}
		if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
			t.Errorf("%s links other packages than its committed list (-listed +linked):\n%s\n"+
				"meant? go test ./internal/archtest -run TestDependencies -update", room, diff)
		}
	}
}

// dependencyList has one line per module and, indented below it, one per package.
func dependencyList(p goPackage, all map[string]goPackage) string {
	linked := map[string][]string{}
	for _, path := range p.Deps {
		dep := all[path]
		if dep.Standard || dep.Module == nil || dep.room() != "" {
			continue
		}
		linked[dep.Module.Path] = append(linked[dep.Module.Path], path)
	}
	modules := make([]string, 0, len(linked))
	for m := range linked {
		modules = append(modules, m)
	}
	slices.Sort(modules)
	var b strings.Builder
	for _, m := range modules {
		b.WriteString(m + "\n")
		slices.Sort(linked[m])
		for _, path := range linked[m] {
			rest, _ := strings.CutPrefix(path, m)
			if rest == "" || slices.Contains(strings.Split(rest, "/"), "internal") {
				continue
			}
			b.WriteString("\t" + strings.TrimPrefix(rest, "/") + "\n")
		}
	}
	return b.String()
}
