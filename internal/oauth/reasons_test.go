package oauth_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/audit"
)

// TestEveryReasonIsExplained keeps "why was this refused?" answerable: a reason without an explanation is no answer.
func TestEveryReasonIsExplained(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"reasons.go", "../endpoints/refuse.go"} {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || !strings.HasPrefix(strings.ToLower(spec.Names[0].Name), "reason") {
				return true
			}
			// What an inactive token is about is told by `token inspect`; nothing was refused.
			if strings.HasPrefix(spec.Names[0].Name, "ReasonToken") {
				return true
			}
			literal, ok := spec.Values[0].(*ast.BasicLit)
			if !ok {
				t.Fatalf("%s is not a plain word", spec.Names[0].Name)
			}
			word, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			found++
			if e, ok := audit.Explain(word); !ok || e.Meaning == "" || e.Remedy == "" {
				t.Errorf("%s (%q) has no explanation in internal/audit/reasons.go", spec.Names[0].Name, word)
			}
			return true
		})
		if found == 0 {
			t.Errorf("no reasons found in %s", file)
		}
	}
}
