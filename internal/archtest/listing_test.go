package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const (
	module = "github.com/seed-1972b8eb/signet"
	root   = "../.."
)

// goPackage is what the rules need to know of one package.
type goPackage struct {
	ImportPath   string
	Dir          string
	Doc          string
	Standard     bool
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string
	Module       *struct{ Path string }
}

// room is the package's place in the house: "internal/keys", "cmd/signet"; empty for what others wrote.
func (p goPackage) room() string { return roomOf(p.ImportPath) }

func roomOf(importPath string) string {
	room, _ := strings.CutPrefix(importPath, module+"/")
	if room == importPath {
		return ""
	}
	return room
}

// listing asks the go command once, for all tests. The platform is fixed so that every machine sees the same tree; a package
// that does not compile is the compiler's to report (-e).
var listing = sync.OnceValues(func() (map[string]goPackage, error) {
	cmd := exec.Command("go", "list", "-e", "-deps",
		"-json=ImportPath,Dir,Doc,Standard,Imports,TestImports,XTestImports,Deps,Module", "./...")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, stderr.String())
	}
	packages := map[string]goPackage{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("read go list: %w", err)
		}
		packages[p.ImportPath] = p
	}
})

// ownPackages returns the packages of this module by import path, sorted, and all packages to look others up in.
func ownPackages(t *testing.T) ([]goPackage, map[string]goPackage) {
	t.Helper()
	all, err := listing()
	if err != nil {
		t.Fatal(err)
	}
	var own []goPackage
	for _, p := range all {
		if p.room() != "" && p.Dir != "" { // a package that is imported and not there has no directory
			own = append(own, p)
		}
	}
	slices.SortFunc(own, func(a, b goPackage) int { return strings.Compare(a.ImportPath, b.ImportPath) })
	return own, all
}

// textFile is one file of the tree that people write and read.
type textFile struct {
	path string // slash-separated, from the root
	text string
}

func (f textFile) isTest() bool {
	return strings.HasSuffix(f.path, "_test.go") || strings.HasPrefix(f.path, "internal/servertest/") ||
		suite.MatchString(path.Dir(f.path))
}

// lines counts as editors do.
func (f textFile) lines() int { return strings.Count(f.text, "\n") }

// written reads every text file of the tree, without what tools make (build output, sums, packages of other people).
var written = sync.OnceValues(func() ([]textFile, error) {
	var files []textFile
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			return skipUnwritten(rel, d.Name())
		}
		if !d.Type().IsRegular() || d.Name() == "go.sum" || d.Name() == "package-lock.json" {
			return nil
		}
		content, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // an editor's temporary file, gone since the directory was read
		}
		if err != nil {
			return err
		}
		if bytes.IndexByte(content, 0) < 0 {
			files = append(files, textFile{path: rel, text: string(content)})
		}
		return nil
	})
	return files, err
})

func skipUnwritten(rel, name string) error {
	switch {
	case rel == ".git", rel == "bin", rel == "dist", rel == "data", rel == "secrets", name == "node_modules":
		return fs.SkipDir
	}
	return nil
}

func writtenFiles(t *testing.T) []textFile {
	t.Helper()
	files, err := written()
	if err != nil {
		t.Fatal(err)
	}
	return files
}
