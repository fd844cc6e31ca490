package keystest_test

import (
	"testing"

	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/keys/keystest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	keystest.Run(t, func(*testing.T) keys.Store { return &keystest.Store{} })
}
