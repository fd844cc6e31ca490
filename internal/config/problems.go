package config

import (
	"fmt"
	"strings"
)

// Problem is one thing that is wrong with a configuration. It never repeats a value that might be a secret.
type Problem struct {
	Where  string // the option's path, an environment variable, or a file with a line
	Reason string
}

// Problems is everything that is wrong, in one error.
type Problems []Problem //nolint:errname // a report reads better than an error

// Error lists the problems, one a line.
func (p Problems) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "configuration has %d problem", len(p))
	if len(p) != 1 {
		b.WriteByte('s')
	}
	for _, problem := range p {
		fmt.Fprintf(&b, "\n  %s: %s", problem.Where, problem.Reason)
	}
	return b.String()
}

func (p *Problems) add(where, format string, args ...any) {
	*p = append(*p, Problem{Where: where, Reason: fmt.Sprintf(format, args...)})
}

// err is nil when there is no problem.
func (p Problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}
