package app

import "testing"

func TestGCPercent(t *testing.T) {
	t.Parallel()
	for live, want := range map[uint64]int{
		0: 100, 1: 400, 1 << 20: 400, 3 << 20: 400, 4 << 20: 300, 6 << 20: 200, 12 << 20: 100, 15 << 20: 80, 16 << 20: 75, 1 << 40: 75,
	} {
		if got := gcPercent(live); got != want {
			t.Errorf("%d bytes live: %d %%, want %d", live, got, want)
		}
	}
}
