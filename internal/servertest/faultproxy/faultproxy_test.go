package faultproxy_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-1972b8eb/signet/internal/servertest/faultproxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a server that sends back what it gets, and says bye at the end.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			tasks.Go(func() {
				defer func() { _ = conn.Close() }()
				if _, err := io.Copy(conn, conn); err == nil {
					_, _ = io.WriteString(conn, "bye\n")
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		tasks.Wait()
	})
	return listener.Addr().String()
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// ask sends a line and waits for the answer.
func ask(conn net.Conn, patience time.Duration) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		return err
	}
	_, err := bufio.NewReader(conn).ReadString('\n')
	return err
}

func mustAnswer(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := ask(conn, 10*time.Second); err != nil {
		t.Fatalf("no answer: %v", err)
	}
}

func TestForwardsAndHalfCloses(t *testing.T) {
	t.Parallel()
	proxy := faultproxy.New(t, echo(t))
	conn := dial(t, proxy.Addr())
	mustAnswer(t, conn)
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		t.Fatalf("dialled a %T", conn)
	}
	if err := tcp.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(conn); err != nil || string(rest) != "bye\n" {
		t.Errorf("after half-close: %q, %v", rest, err)
	}
}

func TestURL(t *testing.T) {
	t.Parallel()
	proxy := faultproxy.New(t, echo(t))
	got := proxy.URL("postgres://user:secret@127.0.0.1:5432/name?sslmode=disable")
	if want := "postgres://user:secret@" + proxy.Addr() + "/name?sslmode=disable"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPoint(t *testing.T) {
	t.Parallel()
	proxy := faultproxy.New(t, "127.0.0.1:1") // where nobody is
	proxy.Point(echo(t))
	conn := dial(t, proxy.Addr())
	mustAnswer(t, conn)
	proxy.Point("127.0.0.1:1")
	mustAnswer(t, conn)
}

func TestLatency(t *testing.T) {
	t.Parallel()
	proxy := faultproxy.New(t, echo(t))
	conn := dial(t, proxy.Addr())
	mustAnswer(t, conn)
	proxy.SetLatency(50 * time.Millisecond)
	began := time.Now()
	mustAnswer(t, conn)
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("a round trip took %v, want at least 100ms", took)
	}
}

func TestCutRefusesAndDrops(t *testing.T) {
	t.Parallel()
	proxy := faultproxy.New(t, echo(t))
	conn := dial(t, proxy.Addr())
	mustAnswer(t, conn)
	proxy.Cut()
	if err := ask(conn, 10*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("old connection: %v, want it dropped", err)
	}
	if _, err := net.Dial("tcp", proxy.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("new connection: %v, want it refused", err)
	}
	proxy.Heal()
	mustAnswer(t, dial(t, proxy.Addr()))
}

func TestResetIsRST(t *testing.T) {
	t.Parallel()
	proxy := faultproxy.New(t, echo(t))
	conn := dial(t, proxy.Addr())
	mustAnswer(t, conn)
	proxy.Reset()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v, want a reset", err)
	}
	mustAnswer(t, dial(t, proxy.Addr()))
}

func TestHangIsSilent(t *testing.T) {
	t.Parallel()
	proxy := faultproxy.New(t, echo(t))
	old := dial(t, proxy.Addr())
	mustAnswer(t, old)
	proxy.Hang()
	proxy.Hang() // twice is once
	fresh := dial(t, proxy.Addr())
	for name, conn := range map[string]net.Conn{"old": old, "fresh": fresh} {
		if err := ask(conn, 100*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s connection: %v, want silence", name, err)
		}
	}
	proxy.Heal()
	for _, conn := range []net.Conn{old, fresh} {
		mustAnswer(t, conn) // the answer to the first question
	}
}

func TestCutEndsHungConnections(t *testing.T) {
	t.Parallel()
	proxy := faultproxy.New(t, echo(t))
	conn := dial(t, proxy.Addr())
	proxy.Hang()
	if err := ask(conn, 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("hung connection: %v", err)
	}
	proxy.Cut()
	if err := ask(conn, 10*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("cut connection: %v, want it dropped", err)
	}
}

func TestUpstreamDown(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := listener.Addr().String()
	_ = listener.Close()
	proxy := faultproxy.New(t, down)
	conn, err := net.Dial("tcp", proxy.Addr())
	if err != nil {
		return // the reset came before the connection was seen to be one
	}
	defer func() { _ = conn.Close() }()
	if err := ask(conn, 10*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("ask: %v, want a dropped connection", err)
	}
}

// Faults at random moments must neither block nor leave goroutines (TestMain looks).
func TestFaultsUnderLoad(t *testing.T) {
	t.Parallel()
	proxy := faultproxy.New(t, echo(t))
	var tasks sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		tasks.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				conn, err := net.Dial("tcp", proxy.Addr())
				if err != nil {
					continue
				}
				_ = ask(conn, 20*time.Millisecond)
				_ = conn.Close()
			}
		})
	}
	for range 50 {
		for _, fault := range []func(){proxy.Reset, proxy.Hang, proxy.Cut, proxy.Heal} {
			fault()
			time.Sleep(time.Millisecond)
		}
	}
	close(stop)
	tasks.Wait()
	mustAnswer(t, dial(t, proxy.Addr()))
}

func TestSlowStart(t *testing.T) {
	t.Parallel()
	proxy := faultproxy.New(t, echo(t))
	const each = 50 * time.Millisecond
	proxy.SetStart(each)
	start := time.Now()
	_ = dial(t, proxy.Addr()).Close() // given up, and costs the same
	mustAnswer(t, dial(t, proxy.Addr()))
	if took := time.Since(start); took < 2*each {
		t.Errorf("answered after %v, want %v at least", took, 2*each)
	}
	if n := proxy.Accepted(); n != 2 {
		t.Errorf("accepted %d connections, want 2", n)
	}
	proxy.SetStart(time.Hour)
	held := dial(t, proxy.Addr())
	for proxy.Accepted() < 3 {
		time.Sleep(time.Millisecond)
	}
	proxy.Heal()
	mustAnswer(t, held)
	proxy.SetStart(time.Hour) // which must not hold up the end of the test
	dial(t, proxy.Addr())
	for proxy.Accepted() < 4 {
		time.Sleep(time.Millisecond)
	}
}
