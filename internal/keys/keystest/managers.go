package keystest

import (
	"sync"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/rootkeys"
)

// testManagers starts several replicas on an empty store at once.
func testManagers(t *testing.T, s keys.Store) {
	sealer := keys.NewSealer("https://as.test", rootkeys.Generate())
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			m := keys.NewManager(keys.ManagerConfig{Store: s, Sealer: sealer, Plan: keys.DefaultPlan()})
			if err := m.Ensure(t.Context(), audit.System(), apis.ES256, apis.EdDSA); err != nil {
				t.Errorf("Ensure: %v", err)
			}
			if err := m.Tick(t.Context()); err != nil {
				t.Errorf("Tick: %v", err)
			}
		})
	}
	group.Wait()
	set := read(t, s)
	if active, pending := count(set, keys.Active), count(set, keys.Pending); active != 2 || pending != 2 || len(set.Keys) != 4 {
		t.Errorf("%d active and %d pending of %d keys, want 2 and 2 of 4", active, pending, len(set.Keys))
	}
	// What the store gives back can still be unsealed and signs.
	ring := keys.NewRing(s, sealer, keys.DefaultPlan())
	if err := ring.Reload(t.Context()); err != nil {
		t.Fatalf("Reload: %v", err)
	}
	if _, err := ring.Sign(apis.EdDSA); err != nil {
		t.Errorf("Sign: %v", err)
	}
}
