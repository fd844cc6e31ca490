package bench_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/internal/bench"
	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
)

// TestLoad sends what it says: every request once, by as many connections, credentials and form as net/http reads them.
func TestLoad(t *testing.T) {
	t.Parallel()
	var requests, connections atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if r.Method != http.MethodPost || user != "id" || password != "se%3Acret" || r.FormValue("a") != "b" {
			t.Errorf("%s, user %q, password %q, form %v", r.Method, user, password, r.Form)
		}
		if requests.Add(1) == 20 {
			w.WriteHeader(http.StatusTeapot)
		}
		_, _ = w.Write([]byte("answer"))
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	address := server.Listener.Addr().String()
	load := bench.Load{Address: address, Conns: 3, Requests: 19, Want: http.StatusOK, Request: bench.Always(bench.Post(address, "/", "id", "se:cret", "a=b"))}
	took, err := load.Run(t.Context())
	if err != nil || len(took) != 19 || requests.Load() != 19 || connections.Load() > 3 {
		t.Errorf("%d requests over %d connections, %d times: %v", requests.Load(), connections.Load(), len(took), err)
	}
	if _, err := load.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "status 418") {
		t.Errorf("the wrong status is no error: %v", err)
	}
	load.Requests, load.PerSecond = 5, 100
	began := time.Now()
	if _, err := load.Run(t.Context()); err != nil || time.Since(began) < 39*time.Millisecond {
		t.Errorf("5 requests at 100 a second took %v: %v", time.Since(began), err)
	}
}

// TestConnRefuses: what is no answer is an error and no measurement.
func TestConnRefuses(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"not HTTP": "hello\r\n\r\n", "no length": "HTTP/1.1 200 OK\r\n\r\n", "bad length": "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
		"bad status": "HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n", "half a body": "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "nothing": "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = listener.Close() }()
			go func() {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Read(make([]byte, 100))
				_, _ = conn.Write([]byte(answer))
				_ = conn.Close()
			}()
			conn, err := bench.Dial(t.Context(), listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if status, body, err := conn.Do([]byte("x")); err == nil {
				t.Errorf("status %d, body %q", status, body)
			}
		})
	}
}

func TestAccountsOfAProcess(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/schedstat"); err != nil {
		daemon.Lack(t, "needs Linux")
	}
	before, err := bench.CPUTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for began, sum := time.Now(), 0; time.Since(began) < 20*time.Millisecond; sum++ {
		_ = sum
	}
	if after, err := bench.CPUTime(os.Getpid()); err != nil || after <= before {
		t.Errorf("CPU time was %v and is %v: %v", before, after, err)
	}
	memory, err := bench.MemoryOf(os.Getpid())
	if err != nil || memory.Resident < 1<<20 || memory.Peak < memory.Resident {
		t.Errorf("memory %+v: %v", memory, err)
	}
	if _, err := bench.CPUTime(-1); err == nil {
		t.Error("a process that is not there has CPU time")
	}
	if _, err := bench.MemoryOf(-1); err == nil {
		t.Error("a process that is not there has memory")
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	var empty bench.Table
	if got := empty.Markdown(); got != "" {
		t.Errorf("an empty table is %q", got)
	}
	var some bench.Table
	some.Add("cost", bench.SpreadOf([]float64{3, 1, 2}).String(), "2.5")
	want := "| What | Measured | Promised |\n|---|---|---|\n| cost | 2 (1 to 3) | 2.5 |\n"
	if diff := cmp.Diff(want, some.Markdown()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if p50, p99 := bench.Percentile([]int{1, 2, 3, 4}, 50), bench.Percentile([]int{1, 2, 3, 4}, 99.9); p50 != 3 || p99 != 4 {
		t.Errorf("percentiles %d and %d", p50, p99)
	}
}
