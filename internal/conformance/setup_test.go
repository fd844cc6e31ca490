package conformance_test

import (
	"os"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/servertest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	servertest.CleanUp()
	os.Exit(code)
}

// row is one row of the checklist.
type row struct {
	id  string
	run func(t *testing.T, s *suite)
}

// TestConformance runs the rows group by group. Rows of a group run beside each other, those that are marked serial first
// and alone. GEN comes last and in order: its last row looks through what all others have left in logs and metrics.
func TestConformance(t *testing.T) { //nolint:tparallel // groups follow each other, see above
	t.Parallel()
	s := newSuite(t)
	for _, group := range []struct {
		name             string
		serial, parallel []row
	}{
		{"TOK", tokSerial(), tokRows()},
		{"CC", nil, ccRows()},
		{"CAU", nil, cauRows()},
		{"PKJ", nil, pkjRows()},
		{"REV", nil, revRows()},
		{"INT", intSerial(), intRows()},
		{"MET", nil, metRows()},
		{"JWK", jwkSerial(), jwkRows()},
		{"AT", nil, atRows()},
		{"GEN", genRows(), nil},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, r := range group.serial {
				t.Run(r.id, func(t *testing.T) { r.run(t, s) })
			}
			for _, r := range group.parallel {
				t.Run(r.id, func(t *testing.T) {
					t.Parallel()
					r.run(t, s)
				})
			}
		})
	}
}
