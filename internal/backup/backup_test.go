package backup

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/internal/rootkeys"
)

func identity(t *testing.T) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

var someRows = []Row{
	{Table: "meta", Values: map[string]any{"key": "issuer", "value": "https://auth.example.com"}},
	{Table: "clients", Values: map[string]any{"id": "client_1", "generation": int64(1<<53 + 1), "owner": nil, "name": "a <b> \u2028 \"c\"\n"}},
	{Table: "clients", Values: map[string]any{"id": strings.Repeat("x", 100_000)}},
}

// made writes a backup of someRows for an identity.
func made(t *testing.T, to age.Recipient) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := NewWriter(&file, Header{Issuer: "https://auth.example.com", Schema: 3, CreatedAt: time.Unix(1e9, 0).UTC()}, to)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range someRows {
		if err := w.Row(row.Table, row.Values); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func read(file []byte, id age.Identity) (Header, []Row, error) {
	r, err := NewReader(bytes.NewReader(file), id)
	if err != nil {
		return Header{}, nil, err
	}
	var rows []Row
	for row, err := range r.Rows() {
		if err != nil {
			return r.Header(), rows, err
		}
		rows = append(rows, row)
	}
	return r.Header(), rows, nil
}

func TestRowsComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	id := identity(t)
	header, rows, err := read(made(t, id.Recipient()), id)
	if err != nil {
		t.Fatal(err)
	}
	want := Header{Format: "signet-backup", Version: 1, Issuer: "https://auth.example.com", Schema: 3, CreatedAt: time.Unix(1e9, 0).UTC()}
	if diff := cmp.Diff(want, header); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	numbers := cmp.Transformer("numbers", func(v any) any {
		if n, ok := v.(int64); ok {
			return json.Number(fmt.Sprint(n))
		}
		return v
	})
	if diff := cmp.Diff(someRows, rows, cmp.FilterValues(func(a, b any) bool { _, x := a.(int64); _, y := b.(int64); return x || y }, numbers)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func TestNothingIsReadableInTheFile(t *testing.T) {
	t.Parallel()
	file := made(t, identity(t).Recipient())
	for _, plain := range []string{"auth.example.com", "clients", "signet-backup"} {
		if bytes.Contains(file, []byte(plain)) {
			t.Errorf("file shows %q", plain)
		}
	}
}

func TestWrongKeyIsACleanRefusal(t *testing.T) {
	t.Parallel()
	file := made(t, identity(t).Recipient())
	if _, _, err := read(file, identity(t)); !errors.Is(err, ErrKey) {
		t.Errorf("another identity: %v, want ErrKey", err)
	}
}

// TestDamage changes or cuts a backup at many places: no reader may end without an error.
func TestDamage(t *testing.T) {
	t.Parallel()
	id := identity(t)
	file := made(t, id.Recipient())
	for i := 0; i < len(file); i += 7 {
		changed := bytes.Clone(file)
		changed[i] ^= 1
		if _, _, err := read(changed, id); err == nil {
			t.Errorf("byte %d changed: read without an error", i)
		}
		if _, _, err := read(file[:i], id); err == nil {
			t.Errorf("cut at byte %d: read without an error", i)
		}
	}
	if _, _, err := read(append(bytes.Clone(file), "more"...), id); err == nil {
		t.Error("read although something follows the end")
	}
	if _, _, err := read([]byte("not a backup at all"), id); !errors.Is(err, ErrDamaged) {
		t.Errorf("some other file: %v, want ErrDamaged", err)
	}
}

// plain writes lines as NewWriter does, but whatever lines the test wants. SUM in one stands for the sum of those before it.
func plain(t *testing.T, to age.Recipient, change func(lines []string) []string) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := NewWriter(&file, Header{Issuer: "i"}, to)
	if err != nil {
		t.Fatal(err)
	}
	lines := change([]string{`{"t":"a","v":{}}`, `{"t":"b","v":{}}`})
	for _, line := range lines {
		line = strings.ReplaceAll(line, "SUM", hex.EncodeToString(w.sum.Sum(nil)))
		if _, err := io.WriteString(w.gzip, line+"\n"); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(line, `{"t"`) {
			_, _ = io.WriteString(w.sum, line+"\n")
			w.rows++
		}
	}
	if err := errors.Join(w.gzip.Close(), w.sealed.Close()); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// TestWholeByTheTrailerAlone holds what the encryption cannot know: that the writer had finished.
func TestWholeByTheTrailerAlone(t *testing.T) {
	t.Parallel()
	id := identity(t)
	const whole = `{"rows":2,"sha256":"SUM"}`
	if _, rows, err := read(plain(t, id.Recipient(), func(l []string) []string { return append(l, whole) }), id); err != nil || len(rows) != 2 {
		t.Fatalf("%d rows, %v; want the two of a whole backup", len(rows), err)
	}
	for name, change := range map[string]func([]string) []string{
		"no trailer":     func(l []string) []string { return l },
		"false trailer":  func(l []string) []string { return append(l, `{"rows":2,"sha256":"00"}`) },
		"empty trailer":  func(l []string) []string { return append(l, `{}`) },
		"wrong number":   func(l []string) []string { return append(l, `{"rows":3,"sha256":"SUM"}`) },
		"row after it":   func(l []string) []string { return append(l, whole, `{"t":"c","v":{}}`) },
		"byte after it":  func(l []string) []string { return append(l, whole, ``) },
		"unknown member": func(l []string) []string { return append(l, `{"t":"c","w":1}`) },
		"no JSON":        func(l []string) []string { return append(l, `{"t":`) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := read(plain(t, id.Recipient(), change), id); !errors.Is(err, ErrDamaged) {
				t.Errorf("%v, want ErrDamaged", err)
			}
		})
	}
}

func TestLaterVersionIsRefused(t *testing.T) {
	t.Parallel()
	id := identity(t)
	var file bytes.Buffer
	sealed, err := age.Encrypt(&file, id.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	w := gzipTo(sealed)
	_, _ = io.WriteString(w, `{"format":"signet-backup","version":2}`+"\n")
	if err := errors.Join(w.Close(), sealed.Close()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(file.Bytes(), id); !errors.Is(err, ErrVersion) {
		t.Errorf("%v, want ErrVersion", err)
	}
}

func TestValuesThatWouldChangeAreRefused(t *testing.T) {
	t.Parallel()
	w, err := NewWriter(io.Discard, Header{}, identity(t).Recipient())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{1.5, true, []byte("x"), time.Now(), 7} {
		if err := w.Row("t", map[string]any{"c": v}); err == nil {
			t.Errorf("wrote a %T", v)
		}
	}
}

func TestPassphrase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("good", "correct horse battery staple\n", 0o600)
	to, err := PassphraseRecipient(good)
	if err != nil {
		t.Fatal(err)
	}
	to.SetWorkFactor(10)
	backup := made(t, to)
	id, err := PassphraseIdentity(good)
	if err != nil {
		t.Fatal(err)
	}
	if _, rows, err := read(backup, id); err != nil || len(rows) != len(someRows) {
		t.Errorf("read %d rows, %v", len(rows), err)
	}
	wrong, err := PassphraseIdentity(file("wrong", "correct horse battery stapl", 0o600))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(backup, wrong); !errors.Is(err, ErrKey) {
		t.Errorf("wrong passphrase: %v, want ErrKey", err)
	}
	if _, _, err := read(backup, identity(t)); !errors.Is(err, ErrKey) {
		t.Errorf("identity for a passphrase: %v, want ErrKey", err)
	}
	for name, path := range map[string]string{
		"short": file("short", "fifteen letters", 0o600), "open": file("open", "correct horse battery staple", 0o644),
		"empty": file("empty", "\n", 0o600), "missing": filepath.Join(dir, "none"), "directory": dir,
	} {
		if _, err := PassphraseRecipient(path); err == nil {
			t.Errorf("took the %s passphrase file", name)
		} else if strings.Contains(err.Error(), "fifteen") || strings.Contains(err.Error(), "horse") {
			t.Errorf("error shows the passphrase: %v", err)
		}
	}
}

func TestIdentityFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "identity")
	recipient, err := NewIdentity(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewIdentity(path); !errors.Is(err, os.ErrExist) {
		t.Errorf("second identity in the same file: %v, want os.ErrExist", err)
	}
	ids, err := Identities(path)
	if err != nil {
		t.Fatal(err)
	}
	to, err := Recipients([]string{recipient})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(made(t, to[0]), ids[0]); err != nil {
		t.Error(err)
	}
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("AGE-SECRET-KEY-1HUNTER2"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Identities(bad); err == nil || strings.Contains(err.Error(), "HUNTER2") {
		t.Errorf("malformed identity: %v, want an error that does not show it", err)
	}
	if _, err := Recipients([]string{"ssh-ed25519 AAAA"}); err == nil {
		t.Error("took a recipient that is none of age's")
	}
}

func TestRootKeysMustBeThoseOfTheBackup(t *testing.T) {
	t.Parallel()
	master, pepper := rootkeys.Generate(), rootkeys.Generate()
	h := Header{MasterKey: master.Fingerprints(), Pepper: pepper.Fingerprints()}
	if err := h.CheckRootKeys(master.Add(), pepper.Add()); err != nil {
		t.Errorf("a newer version beside: %v", err)
	}
	for name, sets := range map[string][2]rootkeys.Set{
		"another master key": {rootkeys.Generate(), pepper},
		"another pepper":     {master, rootkeys.Generate()},
		"exchanged":          {pepper, master},
	} {
		if err := h.CheckRootKeys(sets[0], sets[1]); !errors.Is(err, ErrRootKeys) {
			t.Errorf("%s: %v, want ErrRootKeys", name, err)
		}
	}
	newer := Header{MasterKey: master.Add().Fingerprints(), Pepper: pepper.Fingerprints()}
	if err := newer.CheckRootKeys(master, pepper); !errors.Is(err, ErrRootKeys) {
		t.Errorf("a version missing: %v, want ErrRootKeys", err)
	}
}

// FuzzLines holds that no decrypted text makes the reader panic or end well without a true trailer.
func FuzzLines(f *testing.F) {
	f.Add(`{"t":"a","v":{"x":1}}`)
	f.Add(`{"rows":0,"sha256":""}`)
	id, err := age.GenerateX25519Identity()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		file := plain(t, id.Recipient(), func([]string) []string { return []string{text} })
		if _, _, err := read(file, id); err == nil {
			t.Errorf("read a backup without a true trailer: %q", text)
		}
	})
}
