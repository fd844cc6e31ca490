package attacks

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/servertest"
)

// TestDocument holds docs/attacks.md to the rows that run: each has one line with the exact name of its test, and a line
// without a test says what it waits for.
func TestDocument(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(servertest.Root(), "docs", "attacks.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	line := regexp.MustCompile("^\\| ([A-Z]\\d+) \\| [^|]+ \\| (?:`(\\S+)`)? *\\| ([^|]*) \\|$")
	for _, m := range findLines(string(text), line) {
		id, test, note := m[1], m[2], m[3]
		if _, twice := documented[id]; twice {
			t.Errorf("%s twice", id)
		}
		documented[id] = test
		if test == "" && !strings.HasPrefix(note, "needs a later issue: ") {
			t.Errorf("%s has no test and does not say what it waits for", id)
		}
	}
	ran := map[string]bool{"TestRandomness": true}
	for _, g := range catalogue() {
		for _, r := range g.rows {
			name := "TestAttacks/" + g.name + "/" + r.id
			if ran[name] {
				t.Errorf("%s runs twice", name)
			}
			ran[name] = true
			if documented[r.id] != name {
				t.Errorf("%s is documented as %q", name, documented[r.id])
			}
		}
	}
	for id, test := range documented {
		if test != "" && !ran[test] {
			t.Errorf("%s names %s, which does not run", id, test)
		}
	}
}

func findLines(text string, line *regexp.Regexp) [][]string {
	var found [][]string
	for one := range strings.Lines(text) {
		if m := line.FindStringSubmatch(strings.TrimRight(one, "\n")); m != nil {
			found = append(found, m)
		}
	}
	return found
}
