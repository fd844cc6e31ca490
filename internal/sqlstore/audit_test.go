package sqlstore_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

func TestTrail(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		db := migrated(t, config)
		for i := range 105 {
			e := event([]string{"token.revoke", "key.rotate"}[i%2])
			e.Subject = fmt.Sprint("subject-", i%3)
			if err := record(t.Context(), db, hour(fmt.Sprint(i)), e); err != nil {
				t.Fatal(err)
			}
		}
		all, err := db.Trail().Events(t.Context(), audit.Filter{Limit: 5000})
		if err != nil || len(all) != 105 {
			t.Fatalf("%d events, %v", len(all), err)
		}
		for i := 1; i < len(all); i++ {
			if all[i].ID >= all[i-1].ID {
				t.Fatalf("event %d comes after %d", all[i].ID, all[i-1].ID)
			}
		}
		for _, test := range []struct {
			filter audit.Filter
			want   int
		}{
			{audit.Filter{}, 100},
			{audit.Filter{Limit: 7}, 7},
			{audit.Filter{Subject: "subject-1"}, 35},
			{audit.Filter{Action: "key.rotate"}, 52},
			{audit.Filter{Action: "key.rotate", Subject: "subject-1"}, 18},
			{audit.Filter{Before: all[100].ID}, 4},
			{audit.Filter{Subject: "subject-1\x00"}, 0},
			{audit.Filter{Action: "key.rotate' OR 1=1 --"}, 0},
		} {
			got, err := db.Trail().Events(t.Context(), test.filter)
			if err != nil || len(got) != test.want {
				t.Errorf("Events(%+v): %d, %v; want %d", test.filter, len(got), err, test.want)
			}
		}
	})
}

func TestMeta(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		db := migrated(t, config)
		err := errors.Join(db.SetMeta(t.Context(), "issuer", "a"), db.SetMeta(t.Context(), "other", ""), db.SetMeta(t.Context(), "issuer", "b"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := open(t, config).Meta(t.Context())
		if diff := cmp.Diff(map[string]string{"issuer": "b", "other": ""}, got); diff != "" || err != nil {
			t.Errorf("Meta (-want +got), %v:\n%s", err, diff)
		}
	})
}
