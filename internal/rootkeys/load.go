package rootkeys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const (
	maxText     = 64 << 10         // bytes of the text form: some 1400 versions
	execTimeout = 30 * time.Second // a secret manager that does not answer must not hang the start for ever
)

// Source says where a Set is kept. Exactly one field is set.
type Source struct {
	File string   // path of a file that nobody else may read
	Env  string   // name of an environment variable that holds the text form
	Exec []string // program and arguments that print the text form to stdout
}

// Load reads a Set. The file must be regular, of mode 0600 or stricter, and owned by this process' user or root. Errors name
// the file, variable or program, and never what it holds.
func Load(ctx context.Context, s Source) (Set, error) {
	given := 0
	for _, set := range []bool{s.File != "", s.Env != "", len(s.Exec) > 0} {
		if set {
			given++
		}
	}
	if given != 1 {
		return Set{}, fmt.Errorf("root keys want exactly one of file, environment variable and program, have %d", given)
	}
	name, read := s.reader()
	text, err := read(ctx)
	if err != nil {
		return Set{}, fmt.Errorf("read root keys from %s: %w", name, err)
	}
	defer clear(text)
	set, err := Parse(text)
	if err != nil {
		return Set{}, fmt.Errorf("read root keys from %s: %w", name, err)
	}
	return set, nil
}

// reader returns the one way of reading that is set, with its name for errors.
func (s Source) reader() (string, func(context.Context) ([]byte, error)) {
	switch {
	case s.File != "":
		return "file " + s.File, func(context.Context) ([]byte, error) { return readFile(s.File) }
	case s.Env != "":
		return "environment variable " + s.Env, func(context.Context) ([]byte, error) {
			//nolint:forbidigo // config holds the variable's name only, so that the secret never lies in a printable struct
			text, ok := os.LookupEnv(s.Env)
			if !ok {
				return nil, errors.New("it is not set")
			}
			return []byte(text), nil
		}
	default:
		return "program " + s.Exec[0], func(ctx context.Context) ([]byte, error) { return readProgram(ctx, s.Exec) }
	}
}

func readFile(path string) ([]byte, error) {
	// Opened first and looked at after, so that what is checked is what is read; O_NONBLOCK lets a FIFO be refused
	// instead of waited for. A symbolic link is followed: Kubernetes mounts secrets that way.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, bare(err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, bare(err)
	}
	if err := checkFile(info); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err != nil {
		return nil, bare(err)
	}
	if len(text) > maxText {
		return nil, fmt.Errorf("it has more than %d bytes", maxText)
	}
	return text, nil
}

func checkFile(info os.FileInfo) error {
	if !info.Mode().IsRegular() {
		return errors.New("it is not a regular file")
	}
	if perm := info.Mode().Perm(); perm&0o177 != 0 {
		return fmt.Errorf("its mode is %#o: others may read or change it; chmod it to 0600", perm)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("its owner is unknown")
	}
	if uid := os.Geteuid(); stat.Uid != 0 && int(stat.Uid) != uid {
		return fmt.Errorf("it belongs to user %d, not to user %d or root", stat.Uid, uid)
	}
	return nil
}

func readProgram(ctx context.Context, argv []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, execTimeout)
	defer cancel()
	out := capped{left: maxText}
	//nolint:gosec // the program is named by the operator's configuration
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout = &out
	cmd.WaitDelay = time.Second // a grandchild that keeps the pipe open does not keep us
	// What it writes to stderr is dropped: nobody promises that it holds no secret.
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case out.left < 0: // before err, which is only how the program took it
		return nil, fmt.Errorf("it prints more than %d bytes", maxText)
	case err != nil:
		return nil, err
	}
	return out.buf.Bytes(), nil
}

// capped is a writer that fails once left is below zero, so that a runaway program cannot fill the memory.
type capped struct {
	buf  bytes.Buffer
	left int
}

func (c *capped) Write(p []byte) (int, error) {
	if c.left -= len(p); c.left < 0 {
		return 0, io.ErrShortWrite
	}
	return c.buf.Write(p)
}

// Create makes a Set of one new key and writes it to a new file of mode 0600, durably. It refuses to overwrite.
func Create(path string) (Set, error) {
	set := Generate()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Set{}, fmt.Errorf("create root keys in file %s: %w", path, bare(err))
	}
	if err := write(f, set); err != nil {
		_ = os.Remove(path) // ours: O_EXCL made it
		return Set{}, fmt.Errorf("create root keys in file %s: %w", path, bare(err))
	}
	return set, nil
}

// write puts the text form on the disk before it returns: what is sealed under a key that a power cut takes is lost.
func write(f *os.File, set Set) error {
	text := set.Reveal()
	defer clear(text)
	_, err := f.Write(text)
	err = errors.Join(err, f.Chmod(0o600)) // whatever the umask took away or an ACL gave
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(f.Name()))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// bare takes the path out of an error whose caller names it already.
func bare(err error) error {
	if pathErr, ok := errors.AsType[*os.PathError](err); ok {
		return pathErr.Err
	}
	return err
}
