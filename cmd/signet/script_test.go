package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"signet": main})
}

// TestScripts runs testdata/script/*.txtar: each is a user's session with the real command, in a directory of its own.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("SIGNET_DATA_DIR", filepath.Join(env.WorkDir, "d"))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits, "devserver": devServer, "token": token, "member": member, "freeport": freePort,
		},
	})
}

// exits runs a command that must end with a certain exit code: exits 3 signet client show nobody.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		got = failed.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// devServer starts signet dev on free ports, waits until it says that it is ready, and sets the environment of the script
// to what it printed, in capitals: ISSUER, CLIENT_ID, TOKEN_ENDPOINT. The server ends with the script.
func devServer(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithCancel(context.Background())
	args = append([]string{"dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--output", "json"}, args...)
	program, err := exec.LookPath("signet")
	ts.Check(err)
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "SIGNET_DATA_DIR="+ts.Getenv("SIGNET_DATA_DIR"))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	log, err := os.Create(ts.MkAbs("dev.log"))
	ts.Check(err)
	cmd.Stderr = log
	stdout, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		cancel()
		_ = cmd.Wait()
		_ = log.Close()
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		ts.Fatalf("dev server did not become ready: %v\n%s", err, ts.ReadFile("dev.log"))
	}
	var ready map[string]any
	ts.Check(json.Unmarshal(line, &ready))
	for name, value := range ready {
		if text, ok := value.(string); ok {
			ts.Setenv(strings.ToUpper(name), text)
		}
	}
}

// token asks for an access token and sets a variable to it: token VAR CLIENT_ID SECRET. With ! it must be refused.
func token(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: token VAR CLIENT_ID SECRET")
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	req, err := http.NewRequest(http.MethodPost, ts.Getenv("TOKEN_ENDPOINT"), strings.NewReader(form.Encode()))
	ts.Check(err)
	req.SetBasicAuth(args[1], args[2])
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	ts.Check(err)
	if got := res.StatusCode == http.StatusOK; got == neg {
		ts.Fatalf("token endpoint answers %s: %s", res.Status, body)
	}
	if neg {
		return
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	ts.Check(json.Unmarshal(body, &answer))
	ts.Setenv(args[0], answer.AccessToken)
}

// member sets a variable to a member of the JSON object that the last command printed: member VAR NAME, with a path such
// as 0.kid into lists.
func member(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: member VAR PATH")
	}
	var value any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &value))
	for step := range strings.SplitSeq(args[1], ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[step]
		case []any:
			i, err := strconv.Atoi(step)
			ts.Check(err)
			value = v[i]
		}
	}
	text, ok := value.(string)
	if !ok || text == "" {
		ts.Fatalf("%s is %v", args[1], value)
	}
	ts.Setenv(args[0], text)
}

// freePort sets a variable to an address that nobody listens on.
func freePort(ts *testscript.TestScript, _ bool, args []string) {
	port, err := daemon.ReservePort()
	ts.Check(err)
	ts.Defer(port.Release)
	ts.Setenv(args[0], port.Addr())
}
