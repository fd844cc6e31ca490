package doctest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/servertest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	servertest.CleanUp()
	os.Exit(code)
}

// document is a Markdown file of the repository.
type document struct {
	path   string // from the root, with slashes
	blocks []block
	prose  string // everything outside fenced blocks
}

// block is a fenced block.
type block struct {
	lang string
	mark string // what the comment before it says: "test", "test install"; empty without one
	line int    // of its first line of text
	text string
}

var (
	fence   = regexp.MustCompile("^```([a-z]*)$")
	comment = regexp.MustCompile(`^<!-- (test(?: [a-z]+)?) -->$`)
)

// marks are the comments that mean something.
var marks = map[string]bool{"": true, "test": true, "test install": true, "test verifier": true}

// documents reads all documents. Decisions are left out: they tell what was true on their day.
func documents(t *testing.T) []document {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(servertest.Root(), "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	var all []document
	for _, path := range append([]string{filepath.Join(servertest.Root(), "README.md")}, paths...) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(servertest.Root(), path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, parse(t, filepath.ToSlash(name), string(content)))
	}
	return all
}

// parse splits a document into its blocks and the rest.
func parse(t *testing.T, path, text string) document {
	t.Helper()
	d := document{path: path}
	var prose strings.Builder
	var open *block
	before, line := "", 0
	for content := range strings.Lines(text) {
		line++
		trimmed := strings.TrimRight(content, "\n")
		opening := fence.FindStringSubmatch(trimmed)
		switch {
		case open != nil && trimmed == "```":
			d.blocks = append(d.blocks, *open)
			open = nil
		case open != nil:
			open.text += content
		case opening != nil:
			open = &block{lang: opening[1], line: line + 1}
			if mark := comment.FindStringSubmatch(before); mark != nil {
				open.mark = mark[1]
			}
			if !marks[open.mark] {
				t.Errorf("%s:%d: unknown mark %q", path, line-1, open.mark)
			}
		default:
			if comment.MatchString(before) {
				t.Errorf("%s:%d: a mark with no block right below it marks nothing", path, line-1)
			}
			prose.WriteString(content)
		}
		before = trimmed
	}
	if open != nil {
		t.Errorf("%s:%d: block without an end", path, open.line)
	}
	d.prose = prose.String()
	return d
}

var codeSpan = regexp.MustCompile("`([^`\n]+)`")

// spans returns what stands in backticks in the prose.
func (d document) spans() []string {
	var all []string
	for _, m := range codeSpan.FindAllStringSubmatch(d.prose, -1) {
		all = append(all, m[1])
	}
	return all
}

// marked returns the blocks of a language with a mark.
func (d document) marked(mark string, langs ...string) []block {
	var found []block
	for _, b := range d.blocks {
		for _, lang := range langs {
			if b.mark == mark && b.lang == lang {
				found = append(found, b)
			}
		}
	}
	return found
}

func TestParse(t *testing.T) {
	t.Parallel()
	d := parse(t, "x.md", "a `b` c\n\n<!-- test -->\n```sh\none\n```\n```yaml\ntwo\n```\n`d e`\n")
	if len(d.blocks) != 2 || d.blocks[0] != (block{lang: "sh", mark: "test", line: 5, text: "one\n"}) || d.blocks[1].mark != "" {
		t.Errorf("blocks %+v", d.blocks)
	}
	if got := strings.Join(d.spans(), "|"); got != "b|d e" {
		t.Errorf("spans %s", got)
	}
}
