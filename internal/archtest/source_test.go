package archtest

import (
	"regexp"
	"strings"
	"testing"
)

// Above the soft budget a file needs a row in longFiles; above the hard one it must be divided. Tests are tables, and
// tables may be longer.
const (
	softBudget     = 400
	hardBudget     = 600
	softTestBudget = 600
	hardTestBudget = 1000
)

// longFiles are over the soft budget, each with the reason why dividing it would make it worse.
var longFiles = map[string]string{}

func TestFileBudgets(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, f := range writtenFiles(t) {
		if !strings.HasSuffix(f.path, ".go") || generated.MatchString(f.text) {
			continue
		}
		soft, hard := softBudget, hardBudget
		if f.isTest() {
			soft, hard = softTestBudget, hardTestBudget
		}
		reason, listed := longFiles[f.path]
		seen[f.path] = true
		switch n := f.lines(); {
		case n > hard:
			t.Errorf("%s has %d lines, more than %d: divide it by feature", f.path, n, hard)
		case n > soft && reason == "":
			t.Errorf("%s has %d lines, more than %d: divide it by feature, or say in longFiles why not", f.path, n, soft)
		case n <= soft && listed:
			t.Errorf("%s has only %d lines now: take it out of longFiles", f.path, n)
		}
	}
	for path := range longFiles {
		if !seen[path] {
			t.Errorf("%s is gone: take it out of longFiles", path)
		}
	}
}

var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

// TestPackageComments wants each package to say what it owns and what lives elsewhere.
func TestPackageComments(t *testing.T) {
	t.Parallel()
	own, _ := ownPackages(t)
	for _, p := range own {
		if strings.TrimSpace(p.Doc) == "" {
			t.Errorf("%s has no package comment", p.room())
		}
	}
}

// machinePath finds paths that exist on somebody's machine only. A path within a URL or a route is none: what stands
// before it must not be part of one.
var machinePath = regexp.MustCompile("(?m)(?:^|[\\s\"'`=(:,])((?:/(?:work|root)/|/(?:home|Users)/[a-z])[^\\s\"'`)]*)")

func TestNoMachinePaths(t *testing.T) {
	t.Parallel()
	for _, f := range writtenFiles(t) {
		for _, m := range machinePath.FindAllStringSubmatch(f.text, -1) {
			t.Errorf("%s names a path of one machine: %s", f.path, m[1])
		}
	}
}

// A note to do something later belongs to an issue, where somebody will find it. context.TODO is not such a note.
var laterNote = regexp.MustCompile(`(?m)(?:^|[^.\w])(TOD[O]|FIXM[E])\b(\(#\d+\))?`)

func TestLaterNotesNameAnIssue(t *testing.T) {
	t.Parallel()
	for _, f := range writtenFiles(t) {
		for _, m := range laterNote.FindAllStringSubmatch(f.text, -1) {
			if m[2] == "" {
				t.Errorf("%s: %s without the number of an issue; write %s(#123)", f.path, m[1], m[1])
			}
		}
	}
}

// onPurpose are the skips that lose nothing in CI: tests that another test runs in a process of its own, and what only make calls.
var onPurpose = regexp.MustCompile(`Skip\("runs only as a child of |Skipf\("the faults:|Skip\("PEER_URL names no server`)

var skip = regexp.MustCompile(`(?m)^.*\.Skip(?:f|Now)?\(.*$`)

// TestSkipsFailInCI wants skips for want of something to go by daemon.Lack, which fails in CI.
func TestSkipsFailInCI(t *testing.T) {
	t.Parallel()
	for _, f := range writtenFiles(t) {
		if !strings.HasSuffix(f.path, ".go") || strings.HasPrefix(f.path, "internal/archtest/") || f.path == "internal/servertest/daemon/program.go" {
			continue
		}
		for _, line := range skip.FindAllString(f.text, -1) {
			if !onPurpose.MatchString(line) {
				t.Errorf("%s skips without failing in CI; call daemon.Lack: %s", f.path, strings.TrimSpace(line))
			}
		}
	}
}
