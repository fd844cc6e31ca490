package sqlstore_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/registry"
	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
	"github.com/seed-1972b8eb/signet/internal/usage"
)

func epoch(t *testing.T, db *sqlstore.DB, since int64) (int64, []registry.Change, bool) {
	t.Helper()
	poll, err := db.Source().Poll(t.Context(), since)
	if err != nil {
		t.Fatalf("Poll(%d): %v", since, err)
	}
	return poll.Epoch, poll.Changes, poll.Complete
}

// TestCommit goes through every kind of change and looks at what the caches are told: by the database on the next poll, by
// the hook before the store returns.
func TestCommit(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		hook := &commits{}
		config.Committed = hook.add
		db := migrated(t, config)
		ctx := t.Context()
		one, api := registry.Change{Kind: registry.ClientChanged, ID: "client_1"}, registry.Change{Kind: registry.APIChanged, ID: orders}
		two := registry.Change{Kind: registry.ClientChanged, ID: "client_2"}
		steps := []struct {
			name    string
			do      func() error
			changes []registry.Change
			cutOffs []revocations.CutOff
		}{
			{"create an API", func() error { createOrders(t, db); return nil }, []registry.Change{api}, nil},
			{"create a client", func() error {
				c := client("client_1")
				c.Grants = []clients.Grant{{API: orders, Scopes: []string{"read"}}}
				createClient(t, db, c)
				return nil
			}, []registry.Change{one}, nil},
			{"create another", func() error {
				c := client("client_2")
				c.Introspects = []string{orders}
				createClient(t, db, c)
				return nil
			}, []registry.Change{two}, nil},
			{
				"cut a client off", func() error { cut(t, db, revocations.ByClient, "client_1", 5); return nil },
				[]registry.Change{one},
				[]revocations.CutOff{{Kind: revocations.ByClient, ID: "client_1", Generation: 5}},
			},
			{
				"compromise a key", func() error { cut(t, db, revocations.ByKey, "kid", 0); return nil },
				[]registry.Change{{Kind: registry.KeysChanged}},
				[]revocations.CutOff{{Kind: revocations.ByKey, ID: "kid", Generation: revocations.Everything}},
			},
			{
				"delete the API", func() error { return db.APIs().DeleteAPI(ctx, orders, event("api.delete")) },
				[]registry.Change{api, one, two},
				[]revocations.CutOff{{Kind: revocations.ByClient, ID: "client_1", Generation: 6}},
			},
			{
				"delete a client", func() error { return db.Clients().DeleteClient(ctx, "client_1", event("client.delete")) },
				[]registry.Change{one},
				[]revocations.CutOff{{Kind: revocations.ByClient, ID: "client_1", Generation: revocations.Everything}},
			},
		}
		for i, step := range steps {
			if err := step.do(); err != nil {
				t.Fatalf("%s: %v", step.name, err)
			}
			at, changes, complete := epoch(t, db, int64(i))
			if at != int64(i+1) || !complete {
				t.Errorf("%s: epoch %d, complete %v; want %d", step.name, at, complete, i+1)
			}
			sorted := cmpopts.SortSlices(func(a, b registry.Change) bool { return fmt.Sprint(a) < fmt.Sprint(b) })
			if diff := cmp.Diff(step.changes, changes, sorted); diff != "" {
				t.Errorf("%s: polled (-want +got):\n%s", step.name, diff)
			}
			want := []registry.Commit{{Changes: step.changes, CutOffs: step.cutOffs}}
			ignore := cmpopts.IgnoreFields(revocations.CutOff{}, "ExpiresAt")
			if diff := cmp.Diff(want, hook.take(), sorted, ignore); diff != "" {
				t.Errorf("%s: told (-want +got):\n%s", step.name, diff)
			}
		}
		if _, changes, _ := epoch(t, db, int64(len(steps))); len(changes) != 0 {
			t.Errorf("nothing changed, and the poll says %v", changes)
		}
	})
}

// TestNoCommit goes through what must not empty any cache.
func TestNoCommit(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		hook := &commits{}
		config.Committed = hook.add
		db := migrated(t, config)
		createOrders(t, db)
		createClient(t, db, client("client_1"))
		before, _, _ := epoch(t, db, 0)
		hook.take()
		ctx := t.Context()
		refused := errors.New("refused")
		_, err := db.Clients().UpdateClient(ctx, "client_1", func(*clients.Client) (audit.Event, error) { return event("x"), refused })
		if !errors.Is(err, refused) {
			t.Error(err)
		}
		if err := db.Clients().CreateClient(ctx, client("client_1"), event("x")); !errors.Is(err, clients.ErrNameTaken) {
			t.Error(err)
		}
		if err := db.Keys().UpdateKeySet(ctx, func(*keys.Set) (audit.Event, error) { return audit.Event{}, nil }); err != nil {
			t.Error(err)
		}
		used := usage.Batch{Clients: map[string]time.Time{"client_1": now()}}
		if err := errors.Join(db.Usage().AddUsage(ctx, used), db.SetMeta(ctx, "issuer", "x")); err != nil {
			t.Error(err)
		}
		if err := record(ctx, db, revocations.Revocation{JTI: "j", ExpiresAt: now().Add(time.Hour)}, event("x")); err != nil {
			t.Error(err)
		}
		if after, changes, _ := epoch(t, db, before); after != before || len(changes) != 0 {
			t.Errorf("epoch went from %d to %d: %v", before, after, changes)
		}
		if told := hook.take(); len(told) != 0 {
			t.Errorf("the hook was told %v", told)
		}
	})
}

// TestPanicInClosure makes sure that a closure that panics leaves no transaction open, which would stop every change.
func TestPanicInClosure(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		db := migrated(t, config)
		createClient(t, db, client("client_1"))
		func() {
			defer func() { _ = recover() }()
			_, _ = db.Clients().UpdateClient(t.Context(), "client_1", func(*clients.Client) (audit.Event, error) { panic("bug") })
		}()
		cut(t, db, revocations.ByClient, "client_1", 2)
	})
}

// TestEpochUnderLoad polls while others write: an epoch that was seen has all its changes in it, or one would be missed.
func TestEpochUnderLoad(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		db := migrated(t, config)
		const writers, each = 4, 12
		var group sync.WaitGroup
		done := make(chan struct{})
		for writer := range writers {
			group.Go(func() {
				for i := range each {
					createClient(t, db, client(fmt.Sprintf("client_%d_%d", writer, i)))
				}
			})
		}
		go func() { group.Wait(); close(done) }()
		seen := map[string]bool{}
		var since int64
		poll := func() {
			at, changes, complete := epoch(t, db, since)
			if !complete || at < since || int64(len(changes)) != at-since {
				t.Errorf("from epoch %d to %d: %d changes, complete %v", since, at, len(changes), complete)
			}
			for _, change := range changes {
				seen[change.ID] = true
			}
			since = at
		}
		for running := true; running; {
			select {
			case <-done:
				running = false
			default:
				poll()
			}
		}
		poll()
		if len(seen) != writers*each {
			t.Errorf("%d of %d changes were seen", len(seen), writers*each)
		}
	})
}

func TestEpochIncomplete(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		db := migrated(t, config)
		createClient(t, db, client("client_1"))
		for range 6 {
			cut(t, db, revocations.ByClient, "client_1", time.Now().UnixNano())
		}
		if _, _, complete := epoch(t, db, 8); complete {
			t.Error("an epoch from the future, as after a restore, must empty the cache")
		}
		// As if a day had gone by.
		if swept, err := db.SweepChanges(t.Context(), 100); err != nil || swept != 0 {
			t.Errorf("SweepChanges = %d, %v; want nothing to sweep yet", swept, err)
		}
		if err := db.Exec(t.Context(), "UPDATE registry_epoch SET epoch = epoch + ?", sqlstore.KeepEpochs-2); err != nil {
			t.Fatal(err)
		}
		for i, want := range []int{3, 2, 0} {
			if swept, err := db.SweepChanges(t.Context(), 3); err != nil || swept != want {
				t.Errorf("SweepChanges %d = %d, %v; want %d", i, swept, err, want)
			}
		}
		for since, want := range map[int64]bool{0: false, 4: false, 5: true, 6: true} {
			if _, changes, complete := epoch(t, db, since); complete != want {
				t.Errorf("Poll(%d): complete %v, want %v (%v)", since, complete, want, changes)
			}
		}
	})
}

// TestEpochOfABulkChange deletes an API that more clients hold than one epoch names.
func TestEpochOfABulkChange(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		hook := &commits{}
		config.Committed = hook.add
		db := migrated(t, config)
		createOrders(t, db)
		insert := `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
			INSERT INTO clients (id, name, owner, labels, auth_method, jwks, jwks_uri, allow_cidrs, token_ttl_ns, claims, disabled, generation)
			SELECT 'client_' || i, 'n' || i, '', '{}', 'client_secret_basic', '', '', '[]', 0, '{}', 0, 1 FROM n`
		holders := sqlstore.MaxChanges + 5
		if err := db.Exec(t.Context(), insert, holders); err != nil {
			t.Fatal(err)
		}
		err := db.Exec(t.Context(), "INSERT INTO client_grants SELECT id, ?, 'read', 0 FROM clients", orders)
		if err != nil {
			t.Fatal(err)
		}
		before, _, _ := epoch(t, db, 0)
		hook.take()
		if err := db.APIs().DeleteAPI(t.Context(), orders, event("api.delete")); err != nil {
			t.Fatal(err)
		}
		if at, _, complete := epoch(t, db, before); complete || at != before+1 {
			t.Errorf("epoch %d, complete %v; want everything dropped", at, complete)
		}
		cutOffs, err := db.Revocations().CutOffs(t.Context())
		if err != nil || len(cutOffs) != holders {
			t.Errorf("%d cut-offs, %v; want %d", len(cutOffs), err, holders)
		}
		if told := hook.take(); len(told) != 1 || len(told[0].CutOffs) != holders {
			t.Errorf("the hook was told %d commits", len(told))
		}
	})
}
