package failures

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
)

// memory is one of the numbers that the kernel has about the server's memory, in bytes.
func (s *server) memory(t *testing.T, what string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if err != nil {
		daemon.Lack(t, "there is no /proc")
	}
	found := regexp.MustCompile(`(?m)^` + what + `:\s+(\d+) kB$`).FindSubmatch(status)
	if found == nil {
		t.Fatalf("the kernel does not say %s", what)
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

const (
	// idlePrice is the memory that an open connection may cost: a goroutine with its stack of 8 KiB, buffers of 4 KiB to read
	// and to write, and what net and net/http keep beside them, twice, because the collector lets the heap double.
	idlePrice = 48 << 10
	// silentWithin is how long a connection may say nothing at first (5 s), and what it takes to end thousands.
	silentWithin = 10 * time.Second
)

// TestIdleConnections opens thousands of connections that ask for nothing: one half have had an answer, the other half never
// said a word. Others are served beside them as if they were not there, each costs little, and the silent ones are ended.
func TestIdleConnections(t *testing.T) {
	// Not parallel: it takes the whole machine, and what is measured beside it would be late.
	long(t)
	idle := 10_000
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	const spareFiles = 2_000 // for this process and the servers of others
	if most := int(min(files.Cur, 1<<20)) - spareFiles; most < idle {
		if idle = most; idle < 1_000 {
			daemon.Lack(t, "too few open files are allowed")
		}
	}
	s := serve(t, servertest.Config{ExtraYAML: "limits:\n  max_connections: 20000\n"})
	c := s.client(t)
	s.token(t, c)
	before := s.memory(t, "RssAnon")

	var tasks, readers sync.WaitGroup
	var silent, ended, kept atomic.Int64
	conns := make([]net.Conn, idle)
	defer func() {
		for _, conn := range conns {
			if conn != nil {
				_ = conn.Close()
			}
		}
		readers.Wait()
	}()
	const dialers = 4
	for first := range dialers {
		tasks.Go(func() {
			for i := first; i < idle; i += dialers {
				conn, err := net.DialTimeout("tcp", s.Address, 5*time.Second)
				if err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
				conns[i] = conn
				if i%2 == 0 {
					if err := polite(conn); err != nil {
						t.Errorf("connection %d: %v", i, err)
						return
					}
					kept.Add(1)
					continue
				}
				silent.Add(1)
			}
		})
	}
	tasks.Wait()
	if t.Failed() {
		return
	}
	var begun sync.WaitGroup // the start of so many would be part of what is measured
	begun.Add(len(conns))
	for i, conn := range conns {
		readers.Go(func() {
			begun.Done()
			_, _ = io.Copy(io.Discard, conn)
			if i%2 == 1 {
				ended.Add(1)
			} else {
				kept.Add(-1)
			}
		})
	}
	begun.Wait()
	for range 10 {
		for _, a := range []answer{s.request(c), s.get(pathJWKS), s.get(pathReady)} {
			if !a.ok() || a.took > time.Second {
				t.Errorf("beside idle connections: %d %s after %v (%v)", a.status, a.body, a.took, a.err)
			}
		}
	}
	grown := s.memory(t, "RssAnon") - before
	if !slowed() && grown > idle*idlePrice {
		t.Errorf("%d idle connections cost %d MiB", idle, grown>>20)
	}
	took := eventually(t, silentWithin, "end the silent ones", func() bool { return ended.Load() == silent.Load() })
	if left := kept.Load(); left != int64(idle/2) {
		t.Errorf("%d of %d connections that had an answer are open, want all for a minute", left, idle/2)
	}
	fresh := &server{Server: s.Server, base: s.base, http: servertest.Client(t)}
	fresh.request(c).want(t)
	t.Logf("%d idle connections cost %d KiB each; the silent ones ended %v later", idle, grown/idle>>10, took.Round(time.Millisecond))
}

// polite asks for something and keeps the connection.
func polite(conn net.Conn) error {
	if _, err := io.WriteString(conn, "GET "+pathLive+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}
