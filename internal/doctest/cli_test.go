package doctest

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/servertest"
)

const rest = "[ \t]+([^|;&>)`\n#]*)" // of a simple command: up to what ends it in a shell, or in prose

var (
	inShell  = regexp.MustCompile(`(?m)(?:^[ \t]*|[|;&(] *|sudo -u \w+ )(?:bin/)?signet` + rest)
	inSpan   = regexp.MustCompile(`^(?:bin/)?signet` + rest)
	inProse  = regexp.MustCompile(`\bsignet` + rest)
	flagName = regexp.MustCompile(`(?:^|\s)--([a-z][a-z-]*)`)
	word     = regexp.MustCompile(`^[a-z][a-z-]*$`)
	useLine  = regexp.MustCompile(`(?m)^Usage:\n  signet((?: [a-z][a-z-]*)*)`)
)

// TestCommandsExist looks up every signet command that the documents and the remedies of refusals name, run or not.
func TestCommandsExist(t *testing.T) {
	t.Parallel()
	h := &helps{texts: map[string]string{}}
	seen := 0
	check := func(where string, calls [][]string) {
		for _, m := range calls {
			seen++
			if problem := h.problem(t, strings.TrimRight(m[1], " .")); problem != "" {
				t.Errorf("%s: %s", where, problem)
			}
		}
	}
	for _, d := range documents(t) {
		for _, b := range d.blocks {
			if b.lang == "sh" {
				check(fmt.Sprintf("%s:%d", d.path, b.line), inShell.FindAllStringSubmatch(strings.ReplaceAll(b.text, "\\\n", " "), -1))
			}
		}
		for _, span := range d.spans() {
			check(d.path, inSpan.FindAllStringSubmatch(span, -1))
		}
	}
	for _, reason := range audit.Reasons() {
		e, _ := audit.Explain(reason)
		check("remedy of "+reason, inProse.FindAllStringSubmatch(e.Remedy, -1))
	}
	if seen < 50 {
		t.Errorf("only %d commands found: the search is broken", seen)
	}
}

// TestWrongCommandsAreFound is the proof that the test above finds something.
func TestWrongCommandsAreFound(t *testing.T) {
	t.Parallel()
	h := &helps{texts: map[string]string{}}
	for line, right := range map[string]bool{
		"secret rotate ci --cancel --yes":          true,
		"backup --new-identity a.key b.backup":     true,
		"client create --name x --grant 'a=b c'":   true,
		"config check --config /etc/signet/x.yaml": true,
		"version":                 true,
		"clients list":            false,
		"client rename":           false,
		"secret rotate ci --undo": false,
		"backup --out file":       false,
		"secret rotate ci --over": false, // the beginning of a flag is none
		"explain abc --client x":  false,
	} {
		if problem := h.problem(t, line); (problem == "") != right {
			t.Errorf("signet %s: %q", line, problem)
		}
	}
}

// helps remembers what --help printed.
type helps struct {
	mu    sync.Mutex
	texts map[string]string
}

func (h *helps) of(t *testing.T, words []string) string {
	t.Helper()
	key := strings.Join(words, " ")
	h.mu.Lock()
	defer h.mu.Unlock()
	text, known := h.texts[key]
	if !known {
		var err error
		var talk string
		if text, talk, err = servertest.Run(t, nil, append(words, "--help")...); err != nil {
			t.Errorf("signet %s --help: %v\n%s", key, err, talk)
		}
		h.texts[key] = text
	}
	return text
}

// problem says what is wrong with a command line, without "signet"; empty when it is right.
func (h *helps) problem(t *testing.T, line string) string {
	t.Helper()
	var words []string
	for w := range strings.FieldsSeq(line) {
		if !word.MatchString(w) || len(words) == 2 {
			break
		}
		words = append(words, w)
	}
	if len(words) > 0 && (words[0] == "help" || words[0] == "completion") {
		return "" // cobra's own
	}
	text := h.of(t, words)
	use := useLine.FindStringSubmatch(text)
	if use == nil {
		return fmt.Sprintf("signet %s --help shows no usage", strings.Join(words, " "))
	}
	found := strings.Fields(use[1])
	if len(found) < len(words) && strings.Contains(text, " [command]\n") { // what is left over is no argument
		return fmt.Sprintf("there is no command signet %s", strings.Join(words, " "))
	}
	for _, m := range flagName.FindAllStringSubmatch(line, -1) {
		if !strings.Contains(text, "--"+m[1]+" ") {
			return fmt.Sprintf("signet %s has no flag --%s", strings.Join(found, " "), m[1])
		}
	}
	return ""
}
