package rootkeys_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/rootkeys"
)

func TestSetGrowsAndComesBack(t *testing.T) {
	t.Parallel()
	first := rootkeys.Generate()
	third := first.Add().Add()
	if v := first.Current().Version; v != 1 {
		t.Errorf("the first key has version %d; Add must not change the set it was called on", v)
	}
	if v := third.Current().Version; v != 3 {
		t.Errorf("the third key has version %d", v)
	}
	parsed, err := rootkeys.Parse(third.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[[32]byte]bool{}
	for v := 1; v <= 3; v++ {
		want, _ := third.Version(v)
		got, ok := parsed.Version(v)
		if !ok || got != want || got.Bytes == [32]byte{} {
			t.Errorf("version %d did not come back", v)
		}
		seen[got.Bytes] = true
	}
	if one, _ := third.Version(1); one != first.Current() || len(seen) != 3 {
		t.Error("adding a version changed an older one, or made the same key twice")
	}
	for _, v := range []int{-1, 0, 4} {
		if _, ok := parsed.Version(v); ok {
			t.Errorf("version %d exists", v)
		}
	}
}

func TestZeroSetIsOfNoUse(t *testing.T) {
	t.Parallel()
	if _, ok := (rootkeys.Set{}).Version(0); ok {
		t.Error("the zero Set has a version 0")
	}
	defer func() {
		if recover() == nil {
			t.Error("the zero Set has a current key")
		}
	}()
	rootkeys.Set{}.Current()
}

func TestParse(t *testing.T) {
	t.Parallel()
	key := func(b byte) string {
		return base64.RawURLEncoding.EncodeToString(append(bytes.Repeat([]byte{b}, 31), b^1))
	}
	a, b := key(7), key(9)
	for name, c := range map[string]struct{ text, problem string }{
		"one":                    {"1:" + a + "\n", ""},
		"no newline at the end":  {"1:" + a, ""},
		"comments and blanks":    {"# master key\n\n 1:" + a + " # 2026\r\n\t2:" + b + "\n", ""},
		"gap in versions":        {"2:" + a + "\n7:" + b, ""},
		"empty":                  {"", "no key"},
		"only comments":          {"# nothing\n", "no key"},
		"no version":             {a, "line 1: want VERSION:KEY"},
		"version 0":              {"0:" + a, "line 1: the version"},
		"negative version":       {"-1:" + a, "line 1: the version"},
		"leading zero":           {"01:" + a, "line 1: the version"},
		"huge version":           {"99999999999999999999:" + a, "line 1: the version"},
		"same version twice":     {"1:" + a + "\n1:" + b, "line 2: versions do not rise"},
		"falling versions":       {"2:" + a + "\n1:" + b, "line 2: versions do not rise"},
		"padding":                {"1:" + a + "=", "not base64url"},
		"standard alphabet":      {"1:" + strings.Repeat("+", 43), "not base64url"},
		"31 bytes":               {"1:" + a[:42], "has 31 bytes"},
		"33 bytes":               {"1:" + a + "A", "33 bytes"},
		"zeros":                  {"1:" + strings.Repeat("A", 43), "one byte repeated"},
		"second line is corrupt": {"1:" + a + "\n2:!" + b, "line 2"},
	} {
		_, err := rootkeys.Parse([]byte(c.text))
		if c.problem == "" {
			if err != nil {
				t.Errorf("%s: Parse = %v", name, err)
			}
			continue
		}
		if !errors.Is(err, rootkeys.ErrMalformed) {
			t.Errorf("%s: Parse = %v, want ErrMalformed", name, err)
			continue
		}
		if strings.Contains(err.Error(), a[:8]) || strings.Contains(err.Error(), b[:8]) {
			t.Errorf("%s: the error quotes the key", name)
		}
		if name != "33 bytes" && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s: Parse = %v, want %q", name, err, c.problem)
		}
	}
}

func TestNothingPrints(t *testing.T) {
	t.Parallel()
	set := rootkeys.Generate()
	key := set.Current()
	nested := struct {
		Set rootkeys.Set
		Key rootkeys.Key
		set rootkeys.Set // fmt cannot call methods here
	}{set, key, set}
	var out bytes.Buffer
	for verb := range strings.FieldsSeq("%v %+v %#v %s %q %x %X %d %t") {
		fmt.Fprintf(&out, verb+verb+verb+verb+verb, set, &set, key, &key, nested)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", slog.Any("set", set), slog.Any("key", key), slog.Any("nested", nested))
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", slog.Any("set", set), slog.Any("key", key), slog.Any("nested", nested))
	text, err := json.Marshal([]any{set, key, &set, &key, nested})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	raw := key.Bytes[:8]
	for _, form := range []string{
		base64.RawURLEncoding.EncodeToString(key.Bytes[:])[:10], base64.StdEncoding.EncodeToString(raw)[:10], string(raw),
		fmt.Sprintf("%x", raw), fmt.Sprintf("%X", raw),
		strings.Trim(fmt.Sprint(raw), "[]"), strings.Trim(fmt.Sprintf("%#v", raw)[7:], "{}"), //nolint:staticcheck // decimal bytes, as fmt prints them
	} {
		if strings.Contains(out.String(), form) {
			t.Error("a key was printed")
		}
	}
	if !strings.Contains(out.String(), "[redacted]") {
		t.Error("nothing was printed at all")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(rootkeys.Generate().Add().Reveal())
	f.Add([]byte("# x\n1:"))
	f.Fuzz(func(t *testing.T, text []byte) {
		set, err := rootkeys.Parse(text)
		if err != nil {
			return
		}
		again, err := rootkeys.Parse(set.Reveal())
		if err != nil || !bytes.Equal(again.Reveal(), set.Reveal()) || again.Current() != set.Current() {
			t.Fatalf("what was accepted does not come back: %v", err)
		}
	})
}
