package bench

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Table collects what was measured. Safe for concurrent use.
type Table struct {
	mu   sync.Mutex
	rows [][3]string
}

// Add adds a row: what was measured, what came out, what is promised of it ("" for nothing).
func (t *Table) Add(what, measured, promised string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, [3]string{what, measured, promised})
}

// Markdown returns the table, or nothing when it has no row.
func (t *Table) Markdown() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.rows) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("| What | Measured | Promised |\n|---|---|---|\n")
	for _, row := range t.rows {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", row[0], row[1], row[2])
	}
	return b.String()
}

// Spread is the median of several rounds with the least and the most.
type Spread struct{ Median, Least, Most float64 }

// SpreadOf computes it; there must be a value.
func SpreadOf(values []float64) Spread {
	sorted := slices.Sorted(slices.Values(values))
	return Spread{Median: Percentile(sorted, 50), Least: sorted[0], Most: sorted[len(sorted)-1]}
}

// String prints the median with the spread behind it.
func (s Spread) String() string {
	return short(s.Median) + " (" + short(s.Least) + " to " + short(s.Most) + ")"
}

// short prints three digits, or all of a large number.
func short(value float64) string {
	if value >= 1000 {
		return fmt.Sprintf("%.0f", value)
	}
	return fmt.Sprintf("%.3g", value)
}

// Micros is a duration in microseconds, for Spread and for benchmark metrics.
func Micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// MiB is a size in 2^20 bytes.
func MiB(bytes int64) float64 { return float64(bytes) / (1 << 20) }
