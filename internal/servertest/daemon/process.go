package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// pollEvery is how often states of processes and servers are looked at.
const pollEvery = 5 * time.Millisecond

// Process is one run of a server in its home. It needs no goroutine, so that goleak finds none.
type Process struct {
	pid  int
	home *Home

	mu     sync.Mutex
	exited bool
	status syscall.WaitStatus // when exited
}

// Run starts the program in the home, with output appended to its log.
func (h *Home) Run(program string, args ...string) (*Process, error) {
	log, err := os.OpenFile(h.logPath(), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open server log: %w", err)
	}
	defer func() { _ = log.Close() }()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("open null device: %w", err)
	}
	defer func() { _ = null.Close() }()
	// The shell writes the process number before it becomes the server: the guard must never miss it.
	argv := append([]string{"sh", "-c", `echo $$ >pid && exec "$@"`, "sh", program}, args...)
	process, err := os.StartProcess("/bin/sh", argv, &os.ProcAttr{
		Dir:   h.Dir,
		Env:   []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC", "HOME=" + h.Dir},
		Files: []*os.File{null, log, log},
		Sys:   &syscall.SysProcAttr{Setsid: true, Credential: h.credential},
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	running := &Process{pid: process.Pid, home: h}
	return running, process.Release()
}

// Log returns the end of what the servers of this home have printed.
func (h *Home) Log() string {
	content, err := os.ReadFile(h.logPath())
	if err != nil {
		return err.Error()
	}
	const most = 4096
	return string(content[max(0, len(content)-most):])
}

func (h *Home) logPath() string { return filepath.Join(h.Dir, "log") }

// PID returns the process number.
func (p *Process) PID() int { return p.pid }

// Exited reports whether the process has ended.
func (p *Process) Exited() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exited {
		return true
	}
	pid, err := syscall.Wait4(p.pid, &p.status, syscall.WNOHANG, nil)
	if pid == p.pid || errors.Is(err, syscall.ECHILD) {
		p.exited = true
		_ = os.Remove(filepath.Join(p.home.Dir, "pid"))
	}
	return p.exited
}

// Wait returns when the process has ended, which is expected within a minute; if not, it is killed. It fails unless the process
// ended by itself and with success.
func (p *Process) Wait() error {
	if !waitUntil(time.Minute, p.Exited) {
		p.Kill()
	}
	if !p.status.Exited() || p.status.ExitStatus() != 0 {
		return fmt.Errorf("ended with status %#x:\n%s", p.status, p.home.Log())
	}
	return nil
}

// Ready polls check until it succeeds; it fails when the process ends or a minute has passed.
func (p *Process) Ready(check func() error) error {
	deadline := time.Now().Add(time.Minute)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if p.Exited() {
			return fmt.Errorf("server ended at once:\n%s", p.home.Log())
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("server not ready within a minute: %w\n%s", err, p.home.Log())
		}
		time.Sleep(pollEvery) //nolint:forbidigo // polls another process
	}
}

// Stop sends the signal and waits for the end; after the patience it kills.
func (p *Process) Stop(signal syscall.Signal, patience time.Duration) error {
	p.Thaw()
	p.signal(signal)
	if waitUntil(patience, p.Exited) {
		return nil
	}
	p.Kill()
	return fmt.Errorf("server ignored %v for %v and was killed:\n%s", signal, patience, p.home.Log())
}

// Kill ends the process and its children with SIGKILL and returns when they are gone.
func (p *Process) Kill() {
	p.halt()
	tree := childrenOf(p.pid)
	p.signal(syscall.SIGKILL)
	for _, child := range tree {
		_ = syscall.Kill(child, syscall.SIGKILL)
	}
	waitUntil(time.Minute, func() bool {
		return !slices.ContainsFunc(tree, Running) && p.Exited()
	})
}

// Freeze stops the process and its children as SIGSTOP does: connections stay open and nothing answers.
func (p *Process) Freeze() {
	p.halt()
	for _, child := range childrenOf(p.pid) {
		_ = syscall.Kill(child, syscall.SIGSTOP)
	}
}

// halt stops the process itself, so that it forks no more children while its children are looked for.
func (p *Process) halt() {
	p.signal(syscall.SIGSTOP)
	waitUntil(time.Second, func() bool {
		state, _ := stat(p.pid)
		return state == "T" || state == "t" || state == "" || p.Exited()
	})
}

// Thaw ends Freeze.
func (p *Process) Thaw() {
	if p.Exited() {
		return
	}
	for _, child := range childrenOf(p.pid) {
		_ = syscall.Kill(child, syscall.SIGCONT)
	}
	p.signal(syscall.SIGCONT)
}

// signal spares a process that has ended: its number may be another's by now.
func (p *Process) signal(signal syscall.Signal) {
	if !p.Exited() {
		_ = syscall.Kill(p.pid, signal)
	}
}

// Running reports whether a process of that number exists and is more than a zombie.
func Running(pid int) bool {
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		return false
	}
	state, _ := stat(pid)
	if state == "" { // gone since, or this system has no /proc
		return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
	}
	return state != "Z" && state != "X"
}

// childrenOf lists the children of a process from /proc; without it there are none, and the tree is the process.
func childrenOf(pid int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var children []int
	for _, entry := range entries {
		number, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if _, parent := stat(number); parent == pid {
			children = append(children, number)
		}
	}
	return children
}

// stat returns state and parent of a process from /proc/PID/stat: "12 (name) S 1 …".
func stat(pid int) (string, int) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0
	}
	line := string(content)
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:]) // the name may hold anything
	if len(fields) < 2 {
		return "", 0
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return "", 0
	}
	return fields[0], parent
}

func waitUntil(patience time.Duration, done func() bool) bool {
	for deadline := time.Now().Add(patience); ; time.Sleep(pollEvery) { //nolint:forbidigo // polls other processes
		if done() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}
