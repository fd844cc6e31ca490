package faultlab

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// journal is the file of what was acknowledged, one JSON object a line. What is in it has reached the disk.
type journal struct {
	mu   sync.Mutex
	file *os.File
}

// noted is one line of the journal.
type noted struct {
	Time   time.Time `json:"time"` // when the acknowledgement arrived
	How    string    `json:"how"`
	Token  string    `json:"token"`
	Client string    `json:"client,omitempty"`
	Until  time.Time `json:"until"` // when the token expires
}

func newJournal(t testing.TB) *journal {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(t.TempDir(), "acknowledged.jsonl"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return &journal{file: file}
}

// add returns when the lines are on the disk.
func (j *journal) add(lines []noted) error {
	var text []byte
	for _, line := range lines {
		encoded, err := json.Marshal(line)
		if err != nil {
			return fmt.Errorf("encode a line: %w", err)
		}
		text = append(append(text, encoded...), '\n')
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, err := j.file.Write(text); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("sync the journal: %w", err)
	}
	return nil
}

// read returns all lines from the file itself.
func (j *journal) read() ([]noted, error) {
	file, err := os.Open(j.file.Name())
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	defer func() { _ = file.Close() }()
	var lines []noted
	for scanner := bufio.NewScanner(file); ; {
		if !scanner.Scan() {
			return lines, scanner.Err()
		}
		var line noted
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
			return nil, fmt.Errorf("line %d of the journal: %w", len(lines)+1, err)
		}
		lines = append(lines, line)
	}
}
