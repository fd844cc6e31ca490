package sqlstore_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/credential"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
	"github.com/seed-1972b8eb/signet/internal/usage"
)

func addUsage(t *testing.T, db *sqlstore.DB, b usage.Batch) {
	t.Helper()
	if err := db.Usage().AddUsage(t.Context(), b); err != nil {
		t.Fatalf("AddUsage: %v", err)
	}
}

func counts(t *testing.T, db *sqlstore.DB) string {
	t.Helper()
	list := "string_agg(client_id || ' ' || day || ' ' || api || ' ' || tokens, ',' ORDER BY client_id, day, api)"
	text, err := db.ReadText(t.Context(), true, "SELECT "+list+" FROM usage_daily")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestUsage(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		db := migrated(t, config)
		c := client("client_1")
		c.Secrets = []clients.Secret{{ID: "cs_1", Digest: credential.Digest{Pepper: 1, Sum: [32]byte{1}}, CreatedAt: now()}}
		createClient(t, db, c)
		addUsage(t, db, usage.Batch{})
		late := now()
		key := usage.Key{ClientID: "client_1", API: orders, Day: "2026-02-03"}
		next := usage.Key{ClientID: "client_1", API: orders, Day: "2026-02-04"}
		addUsage(t, db, usage.Batch{
			Tokens:  map[usage.Key]int64{key: 3, next: 1, {ClientID: "client_gone", API: orders, Day: "2026-02-03"}: 2},
			Clients: map[string]time.Time{"client_1": late, "client_gone": late},
			Secrets: map[string]time.Time{"cs_1": late, "cs_gone": late},
		})
		addUsage(t, db, usage.Batch{ // another replica's, older in part
			Tokens:  map[usage.Key]int64{key: 4},
			Clients: map[string]time.Time{"client_1": late.Add(-time.Minute)},
			Secrets: map[string]time.Time{"cs_1": late.Add(time.Minute)},
		})
		want := "client_1 2026-02-03 " + orders + " 7,client_1 2026-02-04 " + orders + " 1,client_gone 2026-02-03 " + orders + " 2"
		if got := counts(t, db); got != want {
			t.Errorf("counts are %s, want %s", got, want)
		}
		got, err := db.Clients().Client(t.Context(), "client_1")
		if err != nil {
			t.Fatal(err)
		}
		if !got.LastUsedAt.Equal(late) || !got.Secrets[0].LastUsedAt.Equal(late.Add(time.Minute)) {
			t.Errorf("last used: client %v, secret %v; want %v and a minute more", got.LastUsedAt, got.Secrets[0].LastUsedAt, late)
		}
		// What is gone leaves no last use, neither before nor after it went.
		if err := db.Clients().DeleteClient(t.Context(), "client_1", event("client.delete")); err != nil {
			t.Fatal(err)
		}
		if left, err := db.ReadText(t.Context(), true, "SELECT count(*) FROM last_used"); err != nil || left != "0" {
			t.Errorf("%s last uses are left, %v", left, err)
		}
	})
}

// TestUsageAtOnce lets replicas flush overlapping batches while clients are deleted: nobody waits for ever, nothing is lost.
func TestUsageAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		db := migrated(t, config)
		const n, replicas, rounds = 30, 4, 5
		batch := usage.Batch{Tokens: map[usage.Key]int64{}, Clients: map[string]time.Time{}, Secrets: map[string]time.Time{}}
		for i := range n {
			c := client(fmt.Sprintf("client_%02d", i))
			for j := range 3 {
				id := fmt.Sprintf("cs_%d_%02d", j, i)
				c.Secrets = append(c.Secrets, clients.Secret{ID: id, Digest: credential.Digest{Pepper: 1, Sum: [32]byte{1}}})
				batch.Secrets[id] = now()
			}
			createClient(t, db, c)
			batch.Tokens[usage.Key{ClientID: c.ID, API: orders, Day: "2026-02-03"}] = 1
			batch.Clients[c.ID] = now()
		}
		addUsage(t, db, batch)
		var group sync.WaitGroup
		for range replicas {
			group.Go(func() {
				for range rounds {
					addUsage(t, db, batch)
				}
			})
		}
		group.Go(func() {
			for i := range n / 2 {
				if err := db.Clients().DeleteClient(t.Context(), fmt.Sprintf("client_%02d", i), event("client.delete")); err != nil {
					t.Errorf("DeleteClient: %v", err)
				}
			}
		})
		group.Wait()
		for line := range strings.SplitSeq(counts(t, db), ",") {
			if !strings.HasSuffix(line, fmt.Sprint(" ", 1+replicas*rounds)) {
				t.Errorf("count is %s, want %d", line, 1+replicas*rounds)
			}
		}
	})
}
