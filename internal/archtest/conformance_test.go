package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const conformanceFile = "docs/conformance.md"

// TestConformanceNamesTests reads the table rows of docs/conformance.md, `| ID | source | test name | … |`, and wants
// every test they name to exist: the function, and each sub-test as a string literal in the same package. A row without
// a test must argue in its fourth cell why none is needed.
func TestConformanceNamesTests(t *testing.T) {
	t.Parallel()
	var doc string
	for _, f := range writtenFiles(t) {
		if f.path == conformanceFile {
			doc = f.text
		}
	}
	if doc == "" {
		t.Fatalf("%s is not there", conformanceFile)
	}
	rows := conformanceRows(doc)
	if len(rows) == 0 {
		t.Fatalf("%s has no table row that begins with an ID such as TOK-01", conformanceFile)
	}
	tests := declaredTests(t)
	seen := map[string]bool{}
	for _, row := range rows {
		if seen[row.id] {
			t.Errorf("%s: %s twice", conformanceFile, row.id)
		}
		seen[row.id] = true
		if len(row.tests) == 0 && row.argument == "" {
			t.Errorf("%s: %s names no test and argues nothing", conformanceFile, row.id)
		}
		for _, name := range row.tests {
			if why := tests.missing(row.id, name); why != "" {
				t.Errorf("%s: %s names %s: %s", conformanceFile, row.id, name, why)
			}
		}
	}
}

type conformanceRow struct {
	id, argument string
	tests        []string
}

var (
	rowID    = regexp.MustCompile(`^[A-Z]{2,4}-\d+[a-z]?$`)
	testName = regexp.MustCompile("(?:[a-z][\\w/]*\\.)?(?:Test|Fuzz|Benchmark|Example)[A-Z_]\\w*(?:/[^\\s`,;|]+)*")
)

func conformanceRows(doc string) []conformanceRow {
	var rows []conformanceRow
	for line := range strings.Lines(doc) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) < 3 || !rowID.MatchString(cells[0]) {
			continue
		}
		row := conformanceRow{id: cells[0], tests: testName.FindAllString(cells[2], -1)}
		if len(cells) > 3 {
			row.argument = cells[3]
		}
		rows = append(rows, row)
	}
	return rows
}

// testSet knows each test function by name, and the string literals of the test files beside it.
type testSet map[string][]testFunc

type testFunc struct {
	dir      string // of the package, from the root
	literals map[string]bool
}

func declaredTests(t *testing.T) testSet {
	t.Helper()
	tests, literals := testSet{}, map[string]map[string]bool{}
	for _, f := range writtenFiles(t) {
		if !strings.HasSuffix(f.path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), f.path, f.text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		dir := path.Dir(f.path)
		if literals[dir] == nil {
			literals[dir] = map[string]bool{}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil {
					tests[n.Name.Name] = append(tests[n.Name.Name], testFunc{dir, literals[dir]})
				}
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil {
					literals[dir][strings.ReplaceAll(text, " ", "_")] = true
				}
			}
			return true
		})
	}
	return tests
}

// missing says what is not there, or nothing. A name may begin with its package ("internal/oauth.TestX", "oauth.TestX").
func (s testSet) missing(id, name string) string {
	pkg, name := cutPackage(name)
	function, sub, _ := strings.Cut(name, "/")
	why := "no such test function"
	for _, f := range s[function] {
		if pkg != "" && f.dir != pkg && path.Base(f.dir) != pkg {
			why = "no such test function in " + pkg
			continue
		}
		if why = f.missingSub(id, sub); why == "" {
			return ""
		}
	}
	return why
}

// cutPackage returns the package, if there is one, and the test.
func cutPackage(name string) (string, string) {
	pkg, test, found := strings.Cut(name, ".")
	if !found || strings.HasPrefix(name, "Test") {
		return "", name
	}
	return pkg, test
}

// missingSub accepts a sub-test that a literal spells out, and one made of the row's own ID and more.
func (f testFunc) missingSub(id, sub string) string {
	if sub == "" || f.literals[sub] {
		return ""
	}
	for segment := range strings.SplitSeq(sub, "/") {
		if f.literals[segment] || (f.literals[id] && (segment == id || strings.HasPrefix(segment, id+"_"))) {
			continue
		}
		return "no test file in " + f.dir + " spells " + segment
	}
	return ""
}
