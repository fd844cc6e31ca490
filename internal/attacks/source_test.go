package attacks

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/servertest"
)

// Rows whose weakness would be a line of source: the file is what is looked at, and nothing is sent.

// productFiles gives all that the binary and the public packages are made of.
func productFiles(t *testing.T) map[string]*ast.File {
	t.Helper()
	files, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 100 {
		t.Fatalf("only %d files: the gate looks at nothing", len(files))
	}
	return files
}

var parsed = sync.OnceValues(func() (map[string]*ast.File, error) {
	root, files := servertest.Root(), map[string]*ast.File{}
	for _, dir := range []string{"cmd", "internal", "pkg"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
			name := filepath.ToSlash(strings.TrimPrefix(path, root+string(filepath.Separator)))
			switch {
			case err != nil:
				return err
			case entry.IsDir() && (entry.Name() == "testdata" || entry.Name() == "node_modules" || name == "internal/servertest"):
				return fs.SkipDir
			case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			files[name], err = parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
})

// symmetric names what would let a JWT be verified with a secret, or with nothing.
var symmetric = regexp.MustCompile(`^(SigningMethod(HMAC|HS\d+|None)|UnsafeAllowNoneSignatureType|HS(256|384|512)|PBES2_\w+|DIRECT|A\d+(GCM)?KW|NewEncrypter|ParseEncrypted\w*|ParseSignedAndEncrypted|Decrypt\w*)$`)

// noHMAC (A5): there is no code that verifies a JWT by HMAC, and none that decrypts one.
func noHMAC(a *attempt) {
	for name, file := range productFiles(a.T) {
		a.steps++
		ast.Inspect(file, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok || !symmetric.MatchString(selector.Sel.Name) {
				return true
			}
			if from, ok := selector.X.(*ast.Ident); ok && (from.Name == "jwt" || from.Name == "jose") {
				a.Errorf("%s uses %s.%s", name, from.Name, selector.Sel.Name)
			}
			return true
		})
	}
}

// guarded names what must be compared in constant time.
var guarded = regexp.MustCompile(`(?i)^(secret|clientsecret|digest|sum|mac|hmac|password|pepper|signature|reveal)$`)

// publicComparisons are comparisons of what is no secret, under a name that could be one.
var publicComparisons = map[string]string{
	"internal/oauth/throttle.go":           "a hash of the request with a seed of this process",
	"internal/oauth/client_keys.go":        "the text of a client's public keys",
	"internal/oauth/authenticate.go":       "whether there is a secret at all",
	"internal/credential/credential.go":    "the checksum against typing errors",
	"internal/keys/signer.go":              "public keys",
	"internal/servertest/servertest.go":    "test support",
	"internal/endpoints/document.go":       "whether a document has changed",
	"internal/sqlstore/migrate.go":         "checksums of migrations",
	"internal/backup/reader.go":            "the checksum of a backup",
	"internal/registry/cache.go":           "records of the registry",
	"internal/clients/registry.go":         "records of the registry",
	"cmd/signet/verify_checks.go":          "what is printed of a token",
	"internal/revocations/memory.go":       "identifiers",
	"internal/rootkeys/rootkeys.go":        "whether a key is one byte repeated",
	"internal/sqlstore/clientrows.go":      "records of the registry",
	"internal/clients/secrets.go":          "identifiers of secrets",
	"internal/keys/lifecycle.go":           "records of keys",
	"internal/telemetry/redact.go":         "names of attributes",
	"internal/apis/registry.go":            "records of the registry",
	"internal/web/certificate.go":          "whether the files have changed",
	"internal/config/secret.go":            "whether a reference is set",
	"internal/admin/clients.go":            "whether there is a secret at all",
	"internal/clientjwks/clientjwks.go":    "public keys",
	"internal/oauth/secret.go":             "whether there is a digest at all",
	"internal/credential/digest.go":        "whether there is a digest at all",
	"internal/keys/seal.go":                "versions of keys",
	"internal/servertest/daemon/shared.go": "test support",
}

// constantTime (F1, F3, F4): secrets and digests are compared by hmac.Equal or subtle, and by nothing that stops at the first
// difference.
func constantTime(a *attempt) {
	files := productFiles(a.T)
	for name, file := range files {
		a.steps++
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BinaryExpr:
				if (n.Op == token.EQL || n.Op == token.NEQ) && !isConstant(n.X) && !isConstant(n.Y) && (isGuarded(n.X) || isGuarded(n.Y)) {
					a.betrayed(name, "compares a secret with "+n.Op.String())
				}
			case *ast.CallExpr:
				if called := nameOf(n.Fun); (called == "bytes.Equal" || called == "bytes.Compare" || called == "strings.Compare" || called == "reflect.DeepEqual") &&
					len(n.Args) == 2 && (isGuarded(n.Args[0]) || isGuarded(n.Args[1])) {
					a.betrayed(name, "compares a secret with "+called)
				}
			}
			return true
		})
	}
	uses := false
	ast.Inspect(files["internal/credential/digest.go"], func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		uses = uses || ok && nameOf(call.Fun) == "hmac.Equal"
		return true
	})
	if !uses {
		a.Error("digests are not compared with hmac.Equal any more: is this gate still looking at the right place?")
	}
}

func (a *attempt) betrayed(name, what string) {
	if _, known := publicComparisons[name]; !known {
		a.Errorf("%s %s", name, what)
	}
}

// isGuarded says whether an expression ends in a name that a secret may have.
func isGuarded(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.CallExpr:
		return isGuarded(e.Fun)
	case *ast.SliceExpr:
		return isGuarded(e.X)
	case *ast.IndexExpr:
		return isGuarded(e.X)
	case *ast.ParenExpr:
		return isGuarded(e.X)
	case *ast.SelectorExpr:
		return guarded.MatchString(e.Sel.Name)
	case *ast.Ident:
		return guarded.MatchString(e.Name)
	default:
		return false
	}
}

// isConstant says whether an expression is nil, a literal or an empty value: comparing with those tells nothing.
func isConstant(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit, *ast.CompositeLit:
		return true
	case *ast.ParenExpr:
		return isConstant(e.X)
	case *ast.Ident:
		return e.Name == "nil"
	default:
		return false
	}
}

func nameOf(e ast.Expr) string {
	selector, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	from, ok := selector.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return from.Name + "." + selector.Sel.Name
}

// TestRandomness (R7): whatever has to be unguessable comes from crypto/rand, so nothing imports the other one.
func TestRandomness(t *testing.T) {
	t.Parallel()
	for name, file := range productFiles(t) {
		for _, imported := range file.Imports {
			if strings.HasPrefix(strings.Trim(imported.Path.Value, `"`), "math/rand") {
				t.Errorf("%s imports %s", name, imported.Path.Value)
			}
		}
	}
}
