package app

import (
	"context"
	"testing"
)

// TestSweepAll: one look deletes as much as has come in since the last, and no more than its bound.
func TestSweepAll(t *testing.T) {
	t.Parallel()
	for rows, want := range map[int]int{0: 0, 3 * sweepLimit / 2: 0, 2 * sweepMost * sweepLimit: sweepMost * sweepLimit} {
		left := rows
		err := sweepAll(t.Context(), func(_ context.Context, limit int) (int, error) {
			n := min(left, limit)
			left -= n
			return n, nil
		})
		if err != nil || left != want {
			t.Errorf("%d rows: %d are left, %v; want %d", rows, left, err, want)
		}
	}
}
