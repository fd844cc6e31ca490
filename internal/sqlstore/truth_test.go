package sqlstore_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

// TestRevokedMany asks about many tokens at once: each gets its own answer, whatever the others are.
func TestRevokedMany(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		db := migrated(t, config)
		for _, jti := range []string{"j1", "j2", `"],[`, "\uFFFD", ""} {
			if err := record(t.Context(), db, hour(jti), event("token.revoke")); err != nil {
				t.Fatal(err)
			}
		}
		cut(t, db, revocations.ByClient, "client_1", 3)
		cut(t, db, revocations.ByClient, "client_gone", revocations.Everything)
		cut(t, db, revocations.ByKey, "kid", 0)
		questions := []struct {
			token revocations.Token
			want  bool
		}{
			{revocations.Token{JTI: "j1"}, true},
			{revocations.Token{JTI: "j3"}, false},
			{revocations.Token{JTI: "j2", ClientID: "client_2", KID: "other", Generation: 9}, true},
			{revocations.Token{JTI: "j1"}, true},
			{revocations.Token{JTI: "j", ClientID: "client_1", Generation: 2}, true},
			{revocations.Token{JTI: "j", ClientID: "client_1", Generation: 3}, false},
			{revocations.Token{JTI: "j", ClientID: "client_gone", Generation: revocations.Everything - 1}, true},
			{revocations.Token{JTI: "j", KID: "kid", Generation: 100}, true},
			{revocations.Token{JTI: "j", ClientID: "kid", KID: "client_1", Generation: 1}, false},
			{revocations.Token{JTI: `"],[`}, true},
			{revocations.Token{JTI: "\xff"}, false}, // is not what it would be replaced by
			{revocations.Token{JTI: "j1\x00"}, false},
			{revocations.Token{JTI: "\x00", ClientID: "client_1", Generation: 2}, true},
			{revocations.Token{JTI: "j", ClientID: "\x00", KID: "\xff"}, false},
			{revocations.Token{JTI: ""}, true},
		}
		for len(questions) < 300 {
			questions = append(questions, questions[len(questions)%13])
		}
		tokens := make([]revocations.Token, len(questions))
		for i, q := range questions {
			tokens[i] = q.token
		}
		got, err := db.Revocations().Revoked(t.Context(), tokens)
		if err != nil || len(got) != len(tokens) {
			t.Fatalf("%d answers, %v", len(got), err)
		}
		for i, q := range questions {
			if got[i] != q.want {
				t.Errorf("%d: %+v: %v, want %v", i, q.token, got[i], q.want)
			}
		}
		if got, err := db.Revocations().Revoked(t.Context(), nil); err != nil || len(got) != 0 {
			t.Errorf("about no token: %v, %v", got, err)
		}
	})
}

// TestRevokedByTheKey asks PostgreSQL how it looked tokens up: never by going through a table, however many tokens there are.
func TestRevokedByTheKey(t *testing.T) {
	t.Parallel()
	config := fresh(t, "postgres")
	config.MaxConns = 1 // it is the connection that counts what it has read
	db := migrated(t, config)
	conn := dial(t, config)
	execute(
		t, conn, "INSERT INTO revocations SELECT 'j' || i, '', 4000000000000000, 1, '' FROM generate_series(1, 2000) i",
		"INSERT INTO cut_offs SELECT 'client', 'c' || i, 1, 4000000000000000, 1 FROM generate_series(1, 2000) i", "ANALYZE",
	)
	read := func() (string, string) { // whole tables, by their keys
		t.Helper()
		var whole, byKey string
		if err := db.Exec(t.Context(), "SELECT pg_stat_force_next_flush()"); err != nil {
			t.Fatal(err)
		}
		err := conn.QueryRow(t.Context(), "SELECT string_agg(relname || ' ' || seq_scan, ' ' ORDER BY relname), sum(idx_scan)::text "+
			"FROM pg_stat_user_tables WHERE relname IN ('revocations', 'cut_offs')").Scan(&whole, &byKey)
		if err != nil {
			t.Fatal(err)
		}
		return whole, byKey
	}
	before, counted := read()
	tokens := make([]revocations.Token, 256)
	for i := range tokens {
		tokens[i] = revocations.Token{JTI: fmt.Sprint("j", i), ClientID: "c1", KID: "k", Generation: 5}
	}
	for range 10 { // PostgreSQL plans a prepared statement anew for some times, and then once for all
		if _, err := db.Revocations().Revoked(t.Context(), tokens); err != nil {
			t.Fatal(err)
		}
	}
	after, now := read()
	if after != before {
		t.Errorf("whole tables were read: %s; before: %s", after, before)
	}
	if now == counted {
		t.Error("no look-up was counted; this test proves nothing")
	}
}

// TestRecordOfNoText refuses what no later question could find.
func TestRecordOfNoText(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		db := migrated(t, config)
		for _, jti := range []string{"\x00", "j\x00", "\xff"} {
			if err := record(t.Context(), db, hour(jti), event("token.revoke")); err == nil {
				t.Errorf("%q was recorded", jti)
			}
		}
	})
}

// live reads everything, and what came together.
func live(t *testing.T, db *sqlstore.DB, first func()) ([]string, []int) {
	t.Helper()
	var all []string
	var sizes []int
	err := db.Revocations().Live(t.Context(), func(revoked []revocations.Revocation, cutOffs []revocations.CutOff) error {
		if len(sizes) == 0 {
			first()
		}
		for _, r := range revoked {
			all = append(all, r.JTI)
		}
		for _, c := range cutOffs {
			all = append(all, fmt.Sprint(c.Kind, " ", c.ID, " ", c.Generation))
		}
		sizes = append(sizes, len(revoked)+len(cutOffs))
		return nil
	})
	if err != nil {
		t.Fatalf("Live: %v", err)
	}
	slices.Sort(all)
	return all, sizes
}

// TestLive changes everything while it is read: what comes is what was there at one moment.
func TestLive(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		db := migrated(t, config)
		if all, sizes := live(t, db, func() {}); len(all) != 0 || len(sizes) != 0 {
			t.Errorf("an empty database has %v in %v", all, sizes)
		}
		tokens := 2*sqlstore.LiveBatch + 7
		ago := func(d time.Duration) int64 { return now().Add(-d).UnixMicro() }
		numbers := "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
		err := errors.Join(
			db.Exec(t.Context(), fmt.Sprintf("INSERT INTO revocations "+numbers+
				"SELECT 'j' || i, '', 4000000000000000, 1, '' FROM n", tokens)),
			db.Exec(t.Context(), fmt.Sprintf("INSERT INTO cut_offs (kind, id, generation, expires_at) "+numbers+
				"SELECT 'client', 'c' || i, 2, 4000000000000000 FROM n", sqlstore.LiveBatch)),
			db.Exec(t.Context(), "INSERT INTO revocations VALUES ('ended', '', ?, 1, '')", ago(revocations.Retention-time.Minute)),
			db.Exec(t.Context(), "INSERT INTO revocations VALUES ('forgotten', '', ?, 1, '')", ago(revocations.Retention+time.Minute)),
			db.Exec(t.Context(), "INSERT INTO cut_offs (kind, id, generation, expires_at) VALUES ('key', 'ended', 1, ?)",
				ago(revocations.Retention-time.Minute)),
			db.Exec(t.Context(), "INSERT INTO cut_offs (kind, id, generation, expires_at) VALUES ('key', 'forgotten', 1, ?)",
				ago(revocations.Retention+time.Minute)),
		)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"ended", "key ended 1"}
		for i := range tokens {
			want = append(want, fmt.Sprint("j", i+1))
		}
		for i := range sqlstore.LiveBatch {
			want = append(want, fmt.Sprint("client c", i+1, " 2"))
		}
		slices.Sort(want)
		got, sizes := live(t, db, func() {
			err := errors.Join(
				record(t.Context(), db, hour("new"), event("token.revoke")),
				db.Exec(t.Context(), "DELETE FROM revocations WHERE jti <> 'new'"),
				db.Exec(t.Context(), "UPDATE cut_offs SET generation = 9"),
			)
			if err != nil {
				t.Error(err)
			}
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Live (-want +got):\n%s", diff)
		}
		b := sqlstore.LiveBatch
		if diff := cmp.Diff([]int{b, b, 8, b, 1}, sizes); diff != "" {
			t.Errorf("batches (-want +got):\n%s", diff)
		}
		got, _ = live(t, db, func() {})
		if !slices.Contains(got, "new") || !slices.Contains(got, "client c1 9") || slices.Contains(got, "j1") {
			t.Errorf("afterwards: %d entries", len(got))
		}
		calls := 0
		err = db.Revocations().Live(t.Context(), func([]revocations.Revocation, []revocations.CutOff) error {
			calls++
			return errFailed
		})
		if !errors.Is(err, errFailed) || err.Error() != errFailed.Error() || calls != 1 {
			t.Errorf("Live whose first batch failed = %v after %d calls", err, calls)
		}
	})
}

// TestLiveStreams looks at the server while the first rows are handed over: it still has the others, and waits until they are
// wanted. A million revocations must not be in memory at once.
func TestLiveStreams(t *testing.T) {
	t.Parallel()
	config := fresh(t, "postgres")
	db := migrated(t, config)
	watch := dial(t, config)
	// 120 MB, 40 of them in the first batch: more than what kernels buffer between the two (36 MiB where this was written).
	execute(t, watch, "INSERT INTO revocations "+
		"SELECT 'j' || i, '', 4000000000000000, 1, repeat('x', 40000) FROM generate_series(1, 3000) i")
	all, _ := live(t, db, func() {
		ended := make(chan struct{})
		timer := time.AfterFunc(5*time.Second, func() { close(ended) })
		defer timer.Stop()
		if !await(t, watch, ended, "EXISTS (SELECT 1 FROM pg_stat_activity "+
			"WHERE datname = current_database() AND wait_event = 'ClientWrite')") {
			t.Error("everything was read before anything was handed over")
		}
	})
	if len(all) != 3000 {
		t.Errorf("%d entries", len(all))
	}
}

// TestSwept is what a sweep says that it has deleted.
func TestSwept(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		db := migrated(t, config)
		old := now().Add(-revocations.Retention - time.Hour)
		for i := range 3 {
			r := hour(fmt.Sprint("j", i))
			r.ExpiresAt = old
			err := errors.Join(
				record(t.Context(), db, r, event("token.revoke")),
				db.Exec(t.Context(), "INSERT INTO cut_offs (kind, id, generation, expires_at) VALUES ('client', ?, 7, ?)",
					fmt.Sprint("c", i), old.UnixMicro()+int64(i)),
			)
			if err != nil {
				t.Fatal(err)
			}
		}
		cut(t, db, revocations.ByClient, "client_1", 2)
		for round, want := range []revocations.Swept{
			{Revocations: 2, CutOffs: []revocations.CutOff{
				{Kind: revocations.ByClient, ID: "c0", Generation: 7, ExpiresAt: old},
				{Kind: revocations.ByClient, ID: "c1", Generation: 7, ExpiresAt: old.Add(time.Microsecond)},
			}},
			{Revocations: 1, CutOffs: []revocations.CutOff{
				{Kind: revocations.ByClient, ID: "c2", Generation: 7, ExpiresAt: old.Add(2 * time.Microsecond)},
			}},
			{},
		} {
			before := time.Now()
			got, err := db.Revocations().Sweep(t.Context(), 2)
			if err != nil {
				t.Fatal(err)
			}
			// PostgreSQL's clock is this machine's in a test.
			earliest, latest := before.Add(-revocations.Retention-time.Second), time.Now().Add(-revocations.Retention)
			if got.Before.Before(earliest) || got.Before.After(latest) {
				t.Errorf("round %d: before %v", round, got.Before)
			}
			byID := cmpopts.SortSlices(func(a, b revocations.CutOff) bool { return a.ID < b.ID })
			ignore := cmpopts.IgnoreFields(revocations.Swept{}, "Before")
			if diff := cmp.Diff(want, got, byID, ignore, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("round %d (-want +got):\n%s", round, diff)
			}
		}
	})
}

// TestSweepSparesWhatIsRaised lets a sweep wait for rows that had ended when it found them, and have not when it gets them.
func TestSweepSparesWhatIsRaised(t *testing.T) {
	t.Parallel()
	config := fresh(t, "postgres")
	db := migrated(t, config)
	other, watch := dial(t, config), dial(t, config)
	for table, insert := range map[string]string{
		"revocations": "INSERT INTO revocations VALUES ('j', '', 1, 1, '')",
		"cut_offs":    "INSERT INTO cut_offs (kind, id, generation, expires_at) VALUES ('client', 'c', 2, 1)",
	} {
		execute(t, other, insert, "BEGIN", "UPDATE "+table+" SET expires_at = 4000000000000000")
		var err error
		sweep := background(func() { _, err = db.Revocations().Sweep(t.Context(), 100) })
		if !await(t, watch, sweep, blocked) {
			t.Errorf("%s: the sweep did not wait; this proves nothing", table)
		}
		execute(t, other, "COMMIT")
		<-sweep
		if err != nil {
			t.Error(err)
		}
	}
	if all, _ := live(t, db, func() {}); strings.Join(all, ", ") != "client c 2, j" {
		t.Errorf("left: %v", all)
	}
}
