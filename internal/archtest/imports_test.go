package archtest

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A room is a package, or a family of packages ("internal/oauth/..." belongs to internal/oauth), and what it may import
// of the house. The words "domain" and "all" stand for groups. A new package needs a row here: that is the moment to
// think about where it belongs.
var rooms = map[string][]string{
	// What is true, whatever the wire or the database. These may use each other; Go itself refuses the circles.
	"internal/accounts":    {"domain"},
	"internal/apis":        {"domain", "pkg/verifier/routes"},
	"internal/apitokens":   {"domain"},
	"internal/audit":       {"domain"},
	"internal/clientjwks":  {"domain"},
	"internal/clients":     {"domain"},
	"internal/credential":  {"domain"},
	"internal/keys":        {"domain"},
	"internal/registry":    {"domain"},
	"internal/revocations": {"domain"},
	"internal/rootkeys":    {"domain"},
	"internal/tokens":      {"domain"},
	"internal/usage":       {"domain"},

	// Protocol: decisions in oauth, wire in endpoints.
	"internal/oauth": {"domain", "internal/limits"},
	"internal/endpoints": {
		"internal/oauth", "internal/keys", "internal/web", "internal/limits", "internal/telemetry",
		// the values that answers speak of
		"internal/apis", "internal/audit", "internal/revocations", "internal/tokens",
	},

	// Management surfaces.
	"internal/admin":   {"domain", "internal/limits", "internal/web", "pkg/adminapi"},
	"internal/console": {"domain", "internal/web"},

	// Adapters.
	"internal/sqlstore":   {"domain"},
	"internal/redisstore": {"domain"},
	"internal/backup":     {"domain", "internal/sqlstore"},
	"internal/telemetry":  {"domain"}, // to know which values to redact
	"internal/limits":     {},
	"internal/web":        {},
	"internal/config":     {},

	// The one place that knows all of it, and the commands in front of it.
	"internal/app": {"all"},
	"cmd/signet": {
		"domain", "internal/app", "internal/backup", "internal/config", "internal/telemetry", "pkg/adminapi",
		"internal/sqlstore", // migrate, doctor, backup and restore work without a server
	},

	// Test support and whole-system tests.
	suites:                 {"domain"},
	"internal/servertest":  {"all"},
	"internal/archtest":    {},
	"internal/conformance": {"all"},
	"internal/interop":     {"all"},
	"internal/attacks":     {"all"},
	"internal/bench":       {"all"},
	"internal/doctest":     {"all"},
	"internal/failures":    {"all"},
	"internal/faultlab":    {"all"},

	// What other people import.
	"pkg/adminapi":        {},
	"pkg/verifier":        {"pkg/verifier/routes"},
	"pkg/verifier/routes": {},
}

// suites is the row of what every store of a feature passes: internal/keys/keystest and its like.
const suites = "internal/<feature>/<feature>test"

var suite = regexp.MustCompile(`^internal/\w+/\w+test$`)

var domain = []string{
	"internal/accounts", "internal/apis", "internal/apitokens", "internal/audit", "internal/clientjwks", "internal/clients",
	"internal/credential", "internal/keys", "internal/registry", "internal/revocations", "internal/rootkeys", "internal/tokens", "internal/usage",
}

// A fence keeps a library in the rooms that know its traps. It holds for tests too.
type fence struct {
	library string // import path prefix
	rooms   []string
	reason  string
}

var fences = []fence{
	{"github.com/ory", []string{"internal/oauth"}, "fosite is fenced (docs/decisions/0002-fosite-fence.md)"},
	{"gorm.io", []string{"internal/sqlstore"}, "rows and dialects end at the store"},
	{"github.com/jackc/pgx", []string{"internal/sqlstore", "internal/servertest"}, "drivers end at the store"},
	{"modernc.org/sqlite", []string{"internal/sqlstore"}, "drivers end at the store"},
	{"github.com/pressly/goose", []string{"internal/sqlstore"}, "one package owns the schema"},
	{"github.com/XSAM/otelsql", []string{"internal/sqlstore"}, "one package opens databases"},
	{"github.com/redis", []string{"internal/redisstore"}, "the revocation protocol lives in one place"},
	{"github.com/danielgtaylor/huma", []string{"internal/admin"}, "OAuth answers are not the admin API's"},
	{"github.com/maypok86/otter", []string{"internal/registry"}, "one cache, valid by epoch"},
}

// domainLibraries is all that a domain package may import of other people's code; fences narrow it further.
var domainLibraries = []string{"github.com/golang-jwt/jwt/v5", "github.com/go-jose/go-jose/v4", "github.com/maypok86/otter/v2"}

// verifierLibraries is all that a resource server has to trust when it imports pkg/verifier.
var verifierLibraries = domainLibraries[:2]

func TestImportMatrix(t *testing.T) {
	t.Parallel()
	own, all := ownPackages(t)
	for _, p := range own {
		row, ok := rowOf(p.room())
		if !ok {
			t.Errorf("%s has no row in the import matrix: decide what it may import and add one", p.room())
			continue
		}
		for _, imported := range p.Imports {
			if why := refused(row, imported, all); why != "" {
				t.Errorf("%s imports %s: %s", p.room(), imported, why)
			}
		}
	}
}

// TestFences looks at test files too: a test that speaks gorm depends on it as much as the code does.
func TestFences(t *testing.T) {
	t.Parallel()
	own, _ := ownPackages(t)
	for _, p := range own {
		row, _ := rowOf(p.room())
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			for _, f := range fences {
				if within(imported, f.library) && !slices.Contains(f.rooms, row) {
					t.Errorf("%s imports %s, which only %s may: %s", p.room(), imported, strings.Join(f.rooms, " and "), f.reason)
				}
			}
		}
	}
}

// TestPublicPackageTests keeps pkg usable from outside: its tests may start a server, and reach for nothing else inside.
func TestPublicPackageTests(t *testing.T) {
	t.Parallel()
	own, _ := ownPackages(t)
	for _, p := range own {
		if !within(p.room(), "pkg") {
			continue
		}
		for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
			if room := roomOf(imported); within(room, "internal") && room != "internal/servertest" {
				t.Errorf("a test of %s imports %s: pkg never imports internal", p.room(), imported)
			}
		}
	}
}

// rowOf finds the row of a package, or of the nearest family it belongs to.
func rowOf(room string) (string, bool) {
	if suite.MatchString(room) && slices.Contains(domain, path.Dir(room)) {
		return suites, true
	}
	for ; room != "." && room != "/"; room = path.Dir(room) {
		if _, ok := rooms[room]; ok {
			return room, true
		}
	}
	return "", false
}

// refused says why a package of this row may not import that path, or nothing.
func refused(row, imported string, all map[string]goPackage) string {
	if room := roomOf(imported); room != "" {
		return refusedRoom(row, room)
	}
	standard := all[imported].Standard
	switch {
	case within(row, "pkg/verifier"):
		if !standard && !withinAny(imported, verifierLibraries) {
			return "a resource server should not have to trust it"
		}
	case slices.Contains(domain, row):
		if imported == "net/http" || strings.HasPrefix(imported, "net/http/") {
			return "a domain package knows no transport"
		}
		if imported == "database/sql" || strings.HasPrefix(imported, "database/sql/") {
			return "a domain package knows no database"
		}
		if !standard && !withinAny(imported, domainLibraries) {
			return "a domain package imports the standard library, golang-jwt and go-jose"
		}
	}
	return ""
}

func refusedRoom(row, room string) string {
	target, _ := rowOf(room)
	allowed := rooms[row]
	switch {
	case target == row:
		return ""
	case within(row, "pkg") && within(room, "internal"):
		return "pkg never imports internal"
	case target == "internal/config" && !slices.Contains(allowed, target) && !slices.Contains(allowed, "all"):
		return "only internal/app and cmd/signet read the configuration; take a small value of your own"
	case slices.Contains(allowed, "all"), slices.Contains(allowed, target):
		return ""
	case slices.Contains(allowed, "domain") && slices.Contains(domain, target):
		return ""
	case len(allowed) == 0:
		return "it may import no package of the house"
	default:
		return "it may import only " + strings.Join(allowed, ", ")
	}
}

func within(importPath, prefix string) bool {
	return importPath == prefix || strings.HasPrefix(importPath, prefix+"/")
}

func withinAny(importPath string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return within(importPath, prefix) })
}
