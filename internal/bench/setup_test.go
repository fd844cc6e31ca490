package bench_test

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/bench"
	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
)

// What every server of the benchmarks knows, and what every client asks for.
const (
	api   = "https://api.example.com"
	scope = "orders:read"
	form  = "grant_type=client_credentials&scope=orders%3Aread&resource=https%3A%2F%2Fapi.example.com"
)

// conns is how many connections the load comes over.
const conns = 8

// table is what the benchmarks of this process end with.
var table bench.Table

func TestMain(m *testing.M) {
	code := m.Run()
	if flag.Lookup("test.bench").Value.String() != "" {
		servertest.CleanUp() // would build the binary only to remove it when nothing has used it
	}
	if rows := table.Markdown(); rows != "" {
		fmt.Printf("\n%s, %d CPUs, GOMAXPROCS %d\n\n%s\n", runtime.Version(), runtime.NumCPU(), runtime.GOMAXPROCS(0), rows)
	}
	os.Exit(code)
}

// number is a size that the environment may change: the figures of docs/performance.md take longer than one likes to wait.
func number(b *testing.B, variable string, otherwise int) int {
	b.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		b.Fatalf("%s=%q is no positive number", variable, text)
	}
	return n
}

// unit makes a name fit for a metric.
func unit(name string) string { return strings.ReplaceAll(strings.ToLower(name), " ", "-") }

// target is a token endpoint with a client of its own.
type target struct {
	name     string
	address  string
	pid      int
	id       string
	secret   string
	server   *servertest.Server // nil for the bare handler
	database string             // of PostgreSQL
}

// token is the request for a token.
func (x target) token() []byte { return bench.Post(x.address, "/oauth2/token", x.id, x.secret, form) }

// signet starts a server with one API and one client, on PostgreSQL where there is a database.
func signet(b *testing.B, name, database string) target {
	b.Helper()
	s := servertest.Serve(b, servertest.Config{Database: database, ExtraYAML: "telemetry:\n  pprof: true\n"})
	s.Signet(b, "api", "create", "--identifier", api, "--name", "Orders")
	s.Signet(b, "scope", "create", "--api", api, scope)
	x := target{name: name, address: s.Address, pid: s.PID(), server: s, database: database}
	x.id, x.secret = x.client(b, "bench")
	return x
}

// client registers one more client, which may introspect too, and returns its ID and secret.
func (x target) client(b *testing.B, name string) (string, string) {
	b.Helper()
	out := x.server.Signet(b, "client", "create", "--name", name, "--grant", api+"="+scope, "--introspects", api, "--output", "json")
	var made struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	if err := json.Unmarshal([]byte(out), &made); err != nil || made.Secret == "" {
		b.Fatalf("signet client create printed %q: %v", out, err)
	}
	return made.ID, made.Secret
}

func sqlite(b *testing.B) target {
	b.Helper()
	return signet(b, "SQLite", "")
}

// postgres has a PostgreSQL server of its own, with fsync.
func postgres(b *testing.B) (target, *pgtest.Server) {
	b.Helper()
	server := pgtest.Start(b)
	return signet(b, "PostgreSQL", server.URL()), server
}

// buildBare is done once; it uses the flags of `make build`.
var buildBare = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "signet-bare-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "bare")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "./internal/bench/bare")
	cmd.Dir, cmd.Env = servertest.Root(), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

// bare starts the handler that Signet is measured against, in the same environment, with a client of the same shape.
func bare(b *testing.B, like target) target {
	b.Helper()
	path, err := buildBare()
	if err != nil {
		b.Fatalf("build the bare handler: %v", err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(path)) })
	cmd := exec.CommandContext(b.Context(), path, like.id, like.secret)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.TempDir()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatalf("the bare handler did not start: %v", err)
	}
	return target{name: "bare handler", address: strings.TrimSpace(address), pid: cmd.Process.Pid, id: like.id, secret: like.secret}
}

// run sends a load and returns what it took, per request: CPU time of the server, and wall time in order.
func (x target) run(b *testing.B, l bench.Load) (time.Duration, []time.Duration) {
	b.Helper()
	l.Address = x.address
	if l.Conns == 0 {
		l.Conns = conns
	}
	before, err := bench.CPUTime(x.pid)
	if err != nil {
		b.Fatal(err)
	}
	took, err := l.Run(b.Context())
	if err != nil {
		b.Fatalf("%s: %v", x.name, err)
	}
	after, err := bench.CPUTime(x.pid)
	if err != nil {
		b.Fatal(err)
	}
	return (after - before) / time.Duration(l.Requests), took
}
