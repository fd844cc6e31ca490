package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// CPUTime is how long the process has been on a CPU since it began, in user and kernel mode together. Linux accounts for it
// in nanoseconds, thread by thread; what threads that have ended took is missing, and Go's do not end.
func CPUTime(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, errors.Join(err, fmt.Errorf("process %d has no accounts in /proc: is it gone, or is this not Linux?", pid))
	}
	var sum time.Duration
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return 0, fmt.Errorf("read CPU time: %w", err)
		}
		onCPU, _, _ := strings.Cut(string(content), " ")
		nanoseconds, err := strconv.ParseInt(onCPU, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read CPU time: %w", err)
		}
		sum += time.Duration(nanoseconds)
	}
	return sum, nil
}

// Memory is what a process holds in RAM, in bytes.
type Memory struct {
	Resident int64 // now (VmRSS)
	Peak     int64 // at most until now (VmHWM)
}

// MemoryOf reads the memory of a process.
func MemoryOf(pid int) (Memory, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Memory{}, fmt.Errorf("read memory: %w", err)
	}
	var m Memory
	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(line, ":")
		var into *int64
		switch name {
		case "VmRSS":
			into = &m.Resident
		case "VmHWM":
			into = &m.Peak
		default:
			continue
		}
		kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return Memory{}, fmt.Errorf("read memory: %w", err)
		}
		*into = kilobytes << 10
	}
	return m, nil
}
