package sqlstore_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

// endFrozen is frozenTimeout in these tests.
const endFrozen = 5 * time.Second

// TestRebuilder is the process that TestFrozenInRebuild freezes: it holds the lock and the snapshot, and gets no further.
func TestRebuilder(t *testing.T) {
	url := os.Getenv("SQLSTORE_REBUILDER")
	if url == "" {
		t.Skip("runs only as a child of TestFrozenInRebuild")
	}
	db := open(t, sqlstore.Config{Driver: "postgres", URL: url, MaxConns: 2, InsecureSkipFsyncCheck: true})
	db.EndFrozen(endFrozen)
	_, err := db.Exclusive(t.Context(), "rebuild", func(ctx context.Context) error {
		return db.Ledger().Live(ctx, func([]revocations.Revocation, []revocations.CutOff) error {
			fmt.Println("reading")
			select {} // what freezes it comes now
		})
	})
	t.Error("it went on:", err)
}

// TestFrozenInRebuild freezes a process in the middle of a rebuild, which holds the lock and a snapshot then: another one can
// rebuild after a while, and nothing keeps old rows from being cleared away. With few rows the server has sent them all and
// idles; with many it waits until it can send more, which no idling ends.
func TestFrozenInRebuild(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ rows, state string }{
		"few rows":  {"3", "state = 'idle in transaction'"},
		"many rows": {"3000", "wait_event = 'ClientWrite'"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := fresh(t, "postgres")
			peer, watch := migrated(t, config), dial(t, config)
			execute(t, watch, "INSERT INTO revocations "+
				"SELECT 'j' || i, '', 4000000000000000, 1, repeat('x', 40000) FROM generate_series(1, "+test.rows+") i")
			freezeRebuilder(t, config)
			const holds = "datname = current_database() AND pid <> pg_backend_pid() AND backend_xmin IS NOT NULL"
			await(t, watch, nil, "EXISTS (SELECT 1 FROM pg_stat_activity WHERE "+holds+" AND "+test.state+")")
			if alone(t, peer, "rebuild") {
				t.Error("the frozen process holds no lock, which proves nothing")
			}
			ended := make(chan struct{})
			timer := time.AfterFunc(time.Minute, func() { close(ended) })
			defer timer.Stop()
			if !await(t, watch, ended, "NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE "+holds+")") {
				t.Error("the frozen process holds its snapshot after a minute")
			}
			if !await(t, watch, ended, "NOT EXISTS (SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database "+
				"WHERE l.locktype = 'advisory' AND d.datname = current_database())") || !alone(t, peer, "rebuild") {
				t.Error("the frozen process keeps others from rebuilding")
			}
			if all, _ := live(t, peer, func() {}); len(all) == 0 {
				t.Error("another process reads nothing")
			}
		})
	}
}

// freezeRebuilder starts TestRebuilder and stops it where it reads.
func freezeRebuilder(t *testing.T, config sqlstore.Config) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRebuilder$", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), "SQLSTORE_REBUILDER="+config.URL)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // stopped, it would outlive this process
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "reading" {
		t.Fatalf("the child says %q", lines.Text())
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
}
