package config

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"
)

// kind is what sort of value an option takes.
type kind int

const (
	kindText kind = iota
	kindBool
	kindInt
	kindFloat
	kindDuration
	kindList    // of text
	kindCIDRs   // list of networks
	kindSection // holds options; never a leaf
)

// option is one leaf of Config.
type option struct {
	path string // "listen.public"
	kind kind
}

// env is the name of the option's environment variable: SIGNET_LISTEN_PUBLIC.
func (o option) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(o.path, ".", "_"))
}

// options lists every option, in the order of the structure.
func options() []option { return optionsOf(reflect.TypeFor[Config](), "") }

func optionsOf(t reflect.Type, prefix string) []option {
	var out []option
	for f := range t.Fields() {
		path := prefix + f.Tag.Get("koanf")
		if k := kindOf(f.Type); k == kindSection {
			out = append(out, optionsOf(f.Type, path+".")...)
		} else {
			out = append(out, option{path: path, kind: k})
		}
	}
	return out
}

func kindOf(t reflect.Type) kind {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return kindDuration
	case reflect.TypeFor[[]netip.Prefix]():
		return kindCIDRs
	case reflect.TypeFor[[]string]():
		return kindList
	}
	switch t.Kind() {
	case reflect.Struct:
		return kindSection
	case reflect.Bool:
		return kindBool
	case reflect.Int:
		return kindInt
	case reflect.Float64:
		return kindFloat
	default:
		return kindText
	}
}

// nearest returns the candidate that most resembles the name, or "" when none does.
func nearest(name string, candidates []string) string {
	best, distance := "", max(2, len(name)/3)+1
	for _, c := range candidates {
		if d := editDistance(strings.ToLower(name), strings.ToLower(c)); d < distance {
			best, distance = c, d
		}
	}
	return best
}

// editDistance is the number of insertions, deletions and replacements of bytes that make b of a.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			above := row[j]
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(row[j]+1, row[j-1]+1, diagonal+cost)
			diagonal = above
		}
	}
	return row[len(b)]
}

// suggest is the tail of a refusal of something unknown.
func suggest(name string, candidates []string) string {
	if near := nearest(name, candidates); near != "" {
		return "; did you mean " + near + "?"
	}
	sorted := slices.Sorted(slices.Values(candidates))
	if len(sorted) <= 12 {
		return "; there are " + strings.Join(sorted, ", ")
	}
	return ""
}
