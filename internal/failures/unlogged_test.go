package failures

import (
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// TestLogCannotBeWritten runs servers whose log goes nowhere, in the ways that there are. Lines are lost, requests are not.
func TestLogCannotBeWritten(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) *os.File{
		"disk full": func(t *testing.T) *os.File {
			t.Helper()
			file, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			if err != nil {
				daemon.Lack(t, "there is no /dev/full")
			}
			return file
		},
		// Whatever read the log has ended: a pipe of a shell, the log driver of a container.
		"reader gone": func(t *testing.T) *os.File {
			t.Helper()
			reader, writer, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			_ = reader.Close()
			return writer
		},
		"not writable": func(t *testing.T) *os.File {
			t.Helper()
			file, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			return file
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, servertest.Config{ExtraYAML: "log:\n  level: debug\n"})
			if err := s.Stop(); err != nil {
				t.Fatalf("stop: %v", err)
			}
			file := open(t)
			ended, stop := s.againInto(t, file)
			_ = file.Close()
			select {
			case err := <-ended:
				t.Fatalf("the server ended before it accepted: %v", err)
			case <-accepting(t, s.Address):
			}
			eventually(t, calmWithin, "accept on the admin socket, too", func() bool { _, err := s.admin.Keys(t.Context()); return err == nil })
			c := s.client(t)
			token := s.token(t, c)
			for range 20 { // each has a line
				if a := s.request(client{c.id, "x"}); a.status != http.StatusUnauthorized {
					t.Errorf("a wrong secret: %d %s (%v), want 401", a.status, a.body, a.err)
				}
			}
			if _, err := s.admin.DisableClient(t.Context(), s.client(t).id, ""); err != nil {
				t.Errorf("a change: %v", err)
			}
			if _, err := s.admin.CreateClient(t.Context(), adminapi.NewClient{}); err == nil {
				t.Error("a client without a name was made")
			}
			s.revoke(c, token).want(t)
			if a := s.introspect(c, token); !a.inactive() {
				t.Errorf("a revoked token: %d %s (%v)", a.status, a.body, a.err)
			}
			stop()
			if err := <-ended; err != nil {
				t.Errorf("the server did not end well: %v", err)
			}
		})
	}
}

// againInto runs a server that has ended once more, with its log into a file. How it ends is sent; stop asks it to.
func (s *server) againInto(t *testing.T, log *os.File) (<-chan error, func()) {
	t.Helper()
	cmd := exec.Command(servertest.Binary(t), "serve", "--config", s.File)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, s.Env...)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start signet: %v", err)
	}
	ended, done := make(chan error, 1), make(chan struct{})
	go func() {
		ended <- cmd.Wait()
		close(done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
	})
	return ended, func() { _ = cmd.Process.Signal(syscall.SIGTERM) }
}

// accepting is closed when something listens at an address.
func accepting(t *testing.T, address string) <-chan struct{} {
	t.Helper()
	ready := make(chan struct{})
	ctx := t.Context()
	go func() {
		for ctx.Err() == nil && !accepts(address) {
			pause(ctx)
		}
		if ctx.Err() == nil {
			close(ready)
		}
	}()
	return ready
}
