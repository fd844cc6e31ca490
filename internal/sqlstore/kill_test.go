package sqlstore_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

// TestVictim is the process that TestKill kills: it writes for ever, and prints what was acknowledged.
func TestVictim(t *testing.T) {
	path := os.Getenv("SQLSTORE_VICTIM")
	if path == "" {
		t.Skip("runs only as a child of TestKill")
	}
	db := open(t, sqlstore.Config{Driver: "sqlite", Path: path})
	go func() {
		for i := 0; ; i++ {
			if err := record(t.Context(), db, hour(fmt.Sprint(i)), event("token.revoke")); err != nil {
				fmt.Println("error", err)
			}
			fmt.Println("jti", i)
		}
	}()
	for {
		c, err := db.Clients().UpdateClient(t.Context(), "client_1", func(c *clients.Client) (audit.Event, error) {
			c.Generation++
			return event("revocation.cut-off"), nil
		})
		if err != nil {
			fmt.Println("error", err)
		}
		fmt.Println("generation", c.Generation)
	}
}

// TestKill kills a writing process with SIGKILL, three times: nothing that it was told is lost.
func TestKill(t *testing.T) {
	t.Parallel()
	config := fresh(t, "sqlite")
	db := migrated(t, config)
	createClient(t, db, client("client_1"))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		kill(t, config)
	}
}

func kill(t *testing.T, config sqlstore.Config) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestVictim$", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), "SQLSTORE_VICTIM="+config.Path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acknowledged []string
	var generation int64
	lines := bufio.NewScanner(out)
	for read := 0; lines.Scan(); read++ {
		if read == 60 {
			_ = cmd.Process.Kill() // what it prints until it dies was acknowledged too
		}
		word, value, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "jti":
			acknowledged = append(acknowledged, value)
		case "generation":
			generation, _ = strconv.ParseInt(value, 10, 64)
		default:
			t.Fatal(lines.Text())
		}
	}
	_ = cmd.Wait()
	if len(acknowledged) == 0 || generation == 0 {
		t.Fatalf("the child wrote %d revocations and reached generation %d", len(acknowledged), generation)
	}
	db, err := sqlstore.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	memory, err := revocations.NewMemory(t.Context(), db.Revocations())
	if err != nil {
		t.Fatal(err)
	}
	tokens := []revocations.Token{{ClientID: "client_1", Generation: generation - 1}}
	for _, jti := range acknowledged {
		tokens = append(tokens, revocations.Token{JTI: jti, ClientID: "client_1", Generation: generation + 100})
	}
	for _, token := range tokens {
		if revoked, err := check(t.Context(), db, token); err != nil || !revoked {
			t.Errorf("database: %+v was acknowledged: revoked %v, %v", token, revoked, err)
		}
		if revoked, err := memory.Check(t.Context(), token); err != nil || !revoked {
			t.Errorf("memory: %+v was acknowledged: revoked %v, %v", token, revoked, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
