package bench_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/bench"
	"github.com/seed-1972b8eb/signet/internal/servertest"
)

// BenchmarkStart is how long after the start of the process the first token is there: `signet serve` on a SQLite store that
// exists.
func BenchmarkStart(b *testing.B) {
	starts := number(b, "BENCH_STARTS", 20)
	x := sqlite(b)
	if err := x.server.Stop(); err != nil {
		b.Fatal(err)
	}
	var took []float64
	for range starts {
		took = append(took, milliseconds(x.firstToken(b)))
	}
	spread := bench.SpreadOf(took)
	b.ReportMetric(spread.Median, "ms-to-token")
	table.Add(fmt.Sprintf("start to first token, SQLite, %d starts", starts), spread.String()+" ms", "300 ms")
}

// firstToken starts the server again, asks for a token until there is one, and ends the server.
func (x target) firstToken(b *testing.B) time.Duration {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), servertest.Binary(b), "serve", "--config", filepath.Join(x.server.DataDir, "signet.yaml"))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.TempDir()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	for {
		if conn, err := net.Dial("tcp", x.address); err == nil {
			_ = conn.Close()
			break
		}
		if time.Since(began) > time.Minute {
			b.Fatal("the server did not start in a minute")
		}
		time.Sleep(time.Millisecond)
	}
	if _, err := (bench.Load{Address: x.address, Conns: 1, Requests: 1, Request: bench.Always(x.token()), Want: 200}).Run(b.Context()); err != nil {
		b.Fatal(err)
	}
	took := time.Since(began)
	_ = cmd.Process.Signal(syscall.SIGKILL) // a drain would take its time; what is on disk is durable
	_ = cmd.Wait()
	return took
}

// BenchmarkDev is how long `signet dev` takes until it says that it is ready: it makes keys, database, API and client.
func BenchmarkDev(b *testing.B) {
	if b.N > 1 {
		return // it takes less than a second, so that it is called again
	}
	starts := number(b, "BENCH_STARTS", 20) / 2
	servertest.Binary(b)
	var took []float64
	for range max(starts, 1) {
		began := time.Now()
		s := servertest.Dev(b)
		took = append(took, milliseconds(time.Since(began)))
		s.Kill()
	}
	spread := bench.SpreadOf(took)
	table.Add(fmt.Sprintf("signet dev until it is ready, %d starts", len(took)), spread.String()+" ms", "1000 ms")
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
