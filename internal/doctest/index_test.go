package doctest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/servertest"
)

// TestIndexes: each document is in the index of its directory. That what an index lists is there is TestLinks.
func TestIndexes(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"docs", "docs/decisions"} {
		root := filepath.Join(servertest.Root(), filepath.FromSlash(dir))
		index, err := os.ReadFile(filepath.Join(root, "README.md"))
		if err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(root, "*.md"))
		if err != nil || len(files) < 2 {
			t.Fatalf("%s holds %d documents, %v", dir, len(files), err)
		}
		for _, file := range files {
			if name := filepath.Base(file); name != "README.md" && !strings.Contains(string(index), "]("+name+")") {
				t.Errorf("%s/README.md does not list %s", dir, name)
			}
		}
	}
}
