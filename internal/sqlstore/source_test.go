package sqlstore_test

import (
	"errors"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

// TestSourceClient reads what the cache reads, and finds nobody by anything but the exact ID.
func TestSourceClient(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		db := migrated(t, config)
		if c, err := db.Source().Client(t.Context(), "client_b"); !errors.Is(err, clients.ErrNotFound) {
			t.Errorf("in an empty database: %v, %v", c, err)
		}
		createClient(t, db, client("client_a"))
		createClient(t, db, client("client_b"))
		for _, id := range []string{"client_a", "client_b"} {
			if c, err := db.Source().Client(t.Context(), id); err != nil || c.ID != id {
				t.Errorf("%s: %v, %v", id, c, err)
			}
		}
		for _, id := range []string{"", "client_", "client_c", "CLIENT_A", "client_a ", "name of client_a", "\x00", "\xff"} {
			if c, err := db.Source().Client(t.Context(), id); !errors.Is(err, clients.ErrNotFound) || c != nil {
				t.Errorf("%q: %v, %v", id, c, err)
			}
		}
	})
}
