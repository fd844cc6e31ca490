package sqlstore_test

import (
	"errors"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

// TestDamagedClientHarmsNoOther: of a record that cannot be read nothing can be known, so it is neither absent nor anybody
// else's trouble.
func TestDamagedClientHarmsNoOther(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		db := migrated(t, config)
		createClient(t, db, client("client_a"))
		createClient(t, db, client("client_b"))
		if err := db.Exec(t.Context(), "UPDATE clients SET claims = '{' WHERE id = 'client_a'"); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Source().Client(t.Context(), "client_nobody"); !errors.Is(err, clients.ErrNotFound) {
			t.Errorf("unknown client: %v, want ErrNotFound", err)
		}
		if _, err := db.Source().Client(t.Context(), "client_b"); err != nil {
			t.Errorf("sound client: %v", err)
		}
		if _, err := db.Source().Client(t.Context(), "client_a"); err == nil || errors.Is(err, clients.ErrNotFound) {
			t.Errorf("damaged client: %v, want an error that is not ErrNotFound", err)
		}
	})
}
