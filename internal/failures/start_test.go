package failures

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/rootkeys"
	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
)

// refusedWithin bounds how long a server that cannot start takes to say so.
const refusedWithin = 20 * time.Second

// site is what a server was initialised with, and how to run it.
type site struct {
	dir    string // its data directory
	file   string // its configuration
	env    []string
	binary string // empty: that of this tree
}

// copied gives a test a copy of a server that has ended, which it may spoil.
func copied(t *testing.T, s *servertest.Server) site {
	t.Helper()
	dir := servertest.ShortDir(t)
	err := filepath.WalkDir(s.DataDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(dir, strings.TrimPrefix(path, s.DataDir))
		if d.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, bytes.ReplaceAll(content, []byte(s.DataDir), []byte(dir)), 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return site{dir: dir, file: filepath.Join(dir, "signet.yaml"), env: s.Env}
}

func (s site) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

// refuses wants that the server does not start, at once, says why in these words and touches nothing.
func (s site) refuses(t *testing.T, words ...string) {
	t.Helper()
	before := s.fingerprint(t)
	binary := s.binary
	if binary == "" {
		binary = servertest.Binary(t)
	}
	began := time.Now()
	out, text, err := servertest.RunBinary(t, binary, s.env, "serve", "--config", s.file)
	if code := exitCode(err); code != 1 && code != 3 || out != "" {
		t.Errorf("signet serve: %v, stdout %q; want an error", err, out)
	}
	if took := time.Since(began); took > refusedWithin {
		t.Errorf("refused only after %v", took)
	}
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("signet serve says %q, which does not speak of %q", text, word)
		}
	}
	for _, secret := range s.secrets(t) {
		if strings.Contains(text, secret) {
			t.Error("signet serve prints a root key")
		}
	}
	if strings.Contains(text, "goroutine ") || strings.Count(strings.TrimSpace(text), "\n") > 5 {
		t.Errorf("signet serve prints no message for people: %s", text)
	}
	if after := s.fingerprint(t); after != before {
		t.Error("signet serve has changed the files that it refused")
	}
}

// fingerprint sums up the files that matter.
func (s site) fingerprint(t *testing.T) [32]byte {
	t.Helper()
	sum := sha256.New()
	for _, name := range []string{"signet.db", "keys/master.key", "keys/pepper.key"} {
		content, err := os.ReadFile(s.path(name))
		if err != nil {
			content = []byte("missing")
		}
		_, _ = sum.Write(append(content, name...))
	}
	return [32]byte(sum.Sum(nil))
}

// secrets are what is in the files of the root keys, word by word.
func (s site) secrets(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, name := range []string{"keys/master.key", "keys/pepper.key"} {
		content, err := os.ReadFile(s.path(name))
		if err != nil {
			continue
		}
		for word := range strings.FieldsSeq(string(content)) {
			if len(word) > 20 {
				all = append(all, word)
			}
		}
	}
	return all
}

// sqlite runs a statement in the site's database.
func (s site) sqlite(t *testing.T, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", s.path("signet.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// write replaces a file, keeping it private.
func (s site) write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(s.path(name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestStartRefused spoils what a server needs, one thing at a time.
func TestStartRefused(t *testing.T) {
	t.Parallel()
	server := serve(t, servertest.Config{})
	kid := kid(server.token(t, server.client(t)))
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	taken := listener(t)
	for name, test := range map[string]struct {
		spoil func(t *testing.T, s *site)
		words []string
	}{
		"schema newer": {func(t *testing.T, s *site) {
			s.sqlite(t, "INSERT INTO schema_version (version_id, is_applied) SELECT max(version_id) + 1, 1 FROM schema_version")
		}, []string{"newer than this program", "knows"}},
		"schema dirty": {func(t *testing.T, s *site) {
			s.sqlite(t, "INSERT INTO schema_version (version_id, is_applied) SELECT max(version_id) + 2, 1 FROM schema_version")
		}, []string{"not one that this program made"}},
		"schema older": {func(t *testing.T, s *site) {
			s.sqlite(t, "DELETE FROM schema_version WHERE version_id = (SELECT max(version_id) FROM schema_version)")
		}, []string{"signet"}},
		"database damaged": {func(t *testing.T, s *site) {
			content := s.read(t, "signet.db")
			for i := 8192; i < len(content); i += 97 {
				content[i] ^= 0x55
			}
			s.write(t, "signet.db", content)
		}, []string{"damaged"}},
		"header of the database damaged": {func(t *testing.T, s *site) {
			content := s.read(t, "signet.db")
			copy(content, bytes.Repeat([]byte{0xff}, 100))
			s.write(t, "signet.db", content)
		}, []string{"damaged"}},
		"database cut to nothing": {func(t *testing.T, s *site) { s.write(t, "signet.db", nil) }, []string{"damaged", "signet.db"}},
		"database cut in half": {func(t *testing.T, s *site) {
			content := s.read(t, "signet.db")
			s.write(t, "signet.db", content[:len(content)/2])
		}, []string{"damaged"}},
		"database missing": {func(t *testing.T, s *site) { s.remove(t, "signet.db") }, []string{"does not exist", "signet.db"}},
		"master key of another": {func(t *testing.T, s *site) {
			s.write(t, "keys/master.key", rootkeys.Generate().Reveal())
		}, []string{kid}},
		"master key missing":     {func(t *testing.T, s *site) { s.remove(t, "keys/master.key") }, []string{"master key", "keys/master.key"}},
		"pepper missing":         {func(t *testing.T, s *site) { s.remove(t, "keys/pepper.key") }, []string{"pepper", "keys/pepper.key"}},
		"master key for others":  {func(t *testing.T, s *site) { s.chmod(t, "keys/master.key", 0o644) }, []string{"keys/master.key", "0600"}},
		"pepper for others":      {func(t *testing.T, s *site) { s.chmod(t, "keys/pepper.key", 0o640) }, []string{"keys/pepper.key", "0600"}},
		"master key no key":      {func(t *testing.T, s *site) { s.write(t, "keys/master.key", []byte("v1 c2hvcnQ\n")) }, []string{"keys/master.key"}},
		"data directory missing": {func(t *testing.T, s *site) { s.moveAway(t) }, []string{"run signet init first"}},
		"other issuer": {func(t *testing.T, s *site) {
			s.write(t, "signet.yaml", bytes.Replace(s.read(t, "signet.yaml"), []byte("issuer: http://127.0.0.1"), []byte("issuer: http://127.0.0.2"), 1))
		}, []string{"another issuer", server.Issuer}},
		"port taken": {func(_ *testing.T, s *site) {
			s.env = append(slices.Clone(s.env), "SIGNET_LISTEN_PUBLIC="+taken)
		}, []string{"public listener", "address already in use", taken}},
		"admin port taken": {func(_ *testing.T, s *site) {
			s.env = append(slices.Clone(s.env), "SIGNET_LISTEN_PUBLIC=127.0.0.1:0", "SIGNET_LISTEN_ADMIN="+taken)
		}, []string{"admin listener", "address already in use", taken}},
		"unknown option": {func(t *testing.T, s *site) {
			s.write(t, "signet.yaml", append(s.read(t, "signet.yaml"), "tokns:\n  default_ttl: 5m\n"...))
		}, []string{"tokns"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := copied(t, server.Server)
			test.spoil(t, &s)
			s.refuses(t, test.words...)
		})
	}
	t.Run("nothing", func(t *testing.T) { // else the rows above prove nothing
		t.Parallel()
		s := copied(t, server.Server)
		s.migratesAtOnce(t)
		p := servertest.Start(t, s.env, "serve", "--config", s.file)
		eventually(t, 20*time.Second, "serve", func() bool { return accepts(server.Address) || !p.Running() })
		if !p.Running() {
			t.Errorf("signet serve ended: %s", p.Log())
		}
	})
}

// listener takes a port until the test ends, and returns its address.
func listener(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// migratesAtOnce brings the schema up by several processes, as replicas that are deployed together do.
func (s site) migratesAtOnce(t *testing.T) {
	t.Helper()
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if _, text, err := servertest.Run(t, s.env, "migrate", "up", "--config", s.file); err != nil {
				t.Errorf("signet migrate up: %v\n%s", err, text)
			}
		})
	}
	all.Wait()
	out, text, err := servertest.Run(t, s.env, "migrate", "status", "--config", s.file, "--output", "json")
	if err != nil || member[string](out, "state") != "current" {
		t.Errorf("signet migrate status: %v\n%s%s", err, out, text)
	}
}

func (s site) read(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(s.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func (s site) remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(s.path(name)); err != nil {
		t.Fatal(err)
	}
}

func (s site) chmod(t *testing.T, name string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(s.path(name), mode); err != nil {
		t.Fatal(err)
	}
}

// moveAway leaves the configuration with a data directory that is not there.
func (s site) moveAway(t *testing.T) {
	t.Helper()
	s.write(t, "signet.yaml", bytes.Replace(s.read(t, "signet.yaml"), []byte("data_dir: "+s.dir), []byte("data_dir: "+s.dir+"/gone"), 1))
}

// TestStartBesideAnother: a second process on the same data, or at the same address, is refused, and the first goes on.
func TestStartBesideAnother(t *testing.T) {
	t.Parallel()
	s := serve(t, servertest.Config{})
	c := s.client(t)
	same := site{dir: s.DataDir, file: s.File, env: s.Env}
	same.refusesBeside(t, "in use by another signet process", s.DataDir)
	s.token(t, c)

	// init makes nothing new where there is something: the keys above all.
	before := same.fingerprintOf(t, "keys/master.key", "keys/pepper.key")
	_, text, err := servertest.Run(t, s.Env, "init", "--config", s.File)
	if exitCode(err) != 3 || !strings.Contains(text, "already initialised") {
		t.Errorf("signet init: %v %s; want exit code 3", err, text)
	}
	if same.fingerprintOf(t, "keys/master.key", "keys/pepper.key") != before {
		t.Error("signet init has changed the keys of a server")
	}
}

// refusesBeside is refuses without the look at the files, which belong to a server that runs.
func (s site) refusesBeside(t *testing.T, words ...string) {
	t.Helper()
	_, text, err := servertest.Run(t, s.env, "serve", "--config", s.file)
	if exitCode(err) != 1 {
		t.Errorf("signet serve: %v, want an error", err)
	}
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("signet serve says %q, which does not speak of %q", text, word)
		}
	}
}

func (s site) fingerprintOf(t *testing.T, names ...string) string {
	t.Helper()
	var all strings.Builder
	for _, name := range names {
		sum := sha256.Sum256(s.read(t, name))
		all.Write(sum[:])
	}
	return all.String()
}

// TestMigrateAtOnce: replicas that are deployed together all migrate; and a schema that this program cannot work with is
// refused by serve and by migrate alike.
func TestMigrateAtOnce(t *testing.T) {
	t.Parallel()
	postgres := pgtest.Start(t)
	dir := servertest.ShortDir(t)
	s := site{dir: dir, file: filepath.Join(dir, "signet.yaml")}
	s.write(t, "signet.yaml", []byte("issuer: http://127.0.0.1:9\ndata_dir: "+dir+"\nlisten:\n  public: 127.0.0.1:0\n  admin: \"\"\ndatabase:\n  driver: postgres\n"))
	s.env = []string{"SIGNET_DATABASE_URL=" + postgres.URL()}
	s.refusesBeside(t, "run signet migrate")
	s.migratesAtOnce(t)
	if _, text, err := servertest.Run(t, s.env, "init", "--config", s.file); err != nil {
		t.Fatalf("signet init: %v\n%s", err, text)
	}
	for state, step := range map[string]struct {
		version int
		words   string
	}{"newer": {1, "newer than this program"}, "dirty": {2, "not one that this program made"}} {
		pgtest.Exec(t, postgres.URL(), "INSERT INTO schema_version (version_id, is_applied) SELECT max(version_id) + $1, true FROM schema_version", step.version)
		s.refuses(t, step.words)
		if _, text, err := servertest.Run(t, s.env, "migrate", "up", "--config", s.file); exitCode(err) != 3 || !strings.Contains(text, step.words) {
			t.Errorf("signet migrate up on a %s schema: %v %s; want exit code 3", state, err, text)
		}
		pgtest.Exec(t, postgres.URL(), "DELETE FROM schema_version WHERE version_id = (SELECT max(version_id) FROM schema_version)")
	}
	postgres.Freeze()
	s.refuses(t, "database")
	postgres.Thaw()
	postgres.Stop()
	s.refuses(t, "database")
	s.silent(t, postgres)
}

// silent wants that no message of a failed start holds the password of the database.
func (s site) silent(t *testing.T, postgres *pgtest.Server) {
	t.Helper()
	u, err := url.Parse(postgres.URL())
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	_, text, _ := servertest.Run(t, s.env, "serve", "--config", s.file)
	if text == "" || strings.Contains(text, password) {
		t.Error("signet serve prints the password of the database, or nothing")
	}
}
