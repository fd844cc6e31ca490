package sqlstore_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"

	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

// polled returns the trust row as a replica sees it, and whether there is something to confirm.
func polled(t *testing.T, db *sqlstore.DB) (revocations.Trust, bool) {
	t.Helper()
	poll, err := db.Source().Poll(t.Context(), 0)
	if err != nil {
		t.Fatalf("Poll: %v", err)
	}
	return poll.Trust, poll.Unconfirmed
}

// TestPollReadsTheClock: the database's, where it has one of its own.
func TestPollReadsTheClock(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		poll, err := migrated(t, config).Source().Poll(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if off := time.Since(poll.Now).Abs(); poll.Now.IsZero() != (config.Driver == "sqlite") || !poll.Now.IsZero() && off > time.Minute {
			t.Errorf("the clock says %v", poll.Now)
		}
	})
}

// dial connects past the store.
func dial(t *testing.T, config sqlstore.Config) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), config.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// execute runs statements on one connection.
func execute(t *testing.T, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// await asks the database until a condition holds. It is false when ended came before that, and fails the test after two minutes.
func await(t *testing.T, conn *pgx.Conn, ended <-chan struct{}, condition string) bool {
	t.Helper()
	late := time.After(2 * time.Minute)
	for {
		var holds bool
		if err := conn.QueryRow(t.Context(), "SELECT "+condition).Scan(&holds); err != nil {
			t.Fatalf("%s: %v", condition, err)
		}
		if holds {
			return true
		}
		select {
		case <-ended:
			return false
		case <-late:
			t.Fatalf("never: %s", condition)
		case <-time.After(time.Millisecond):
		}
	}
}

// blocked is the condition that some backend of this database waits for a lock of another.
const blocked = "EXISTS (SELECT 1 FROM pg_stat_activity " +
	"WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0)"

// background runs a call, and returns what closes when it has returned.
func background(call func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		call()
	}()
	return done
}

func TestLedgerOfSQLite(t *testing.T) {
	t.Parallel()
	db := migrated(t, fresh(t, "sqlite"))
	if ledger := db.Ledger(); ledger != nil {
		t.Errorf("SQLite has a ledger to share: %T", ledger)
	}
	// Not even rows that make no sense there are looked at.
	err := errors.Join(db.Exec(t.Context(), "UPDATE redis_trust SET write_id = 'r', generation = 5"),
		db.Exec(t.Context(), "INSERT INTO cut_offs VALUES ('client', 'c', 2, 4000000000000000, 0)"))
	if err != nil {
		t.Fatal(err)
	}
	if trust, unconfirmed := polled(t, db); trust != (revocations.Trust{}) || unconfirmed {
		t.Errorf("Poll: %+v, unconfirmed %v", trust, unconfirmed)
	}
	trust, err := db.Revocations().Record(t.Context(), hour("j"), event("token.revoke"))
	if trust != (revocations.Trust{}) || err != nil {
		t.Errorf("Record = %+v, %v", trust, err)
	}
}

// TestTrust goes through the life of the trust row, and tries at each step what is no longer or not yet right.
func TestTrust(t *testing.T) {
	t.Parallel()
	db := migrated(t, fresh(t, "postgres"))
	ctx, ledger := t.Context(), db.Ledger()
	leaps := map[int64]bool{}
	publish := func(id revocations.Identity, generation int64, want bool) func() error {
		return func() error {
			next, err := ledger.Publish(ctx, id, generation)
			if err != nil || next == 0 {
				return expected(want)(false, err)
			}
			if now, _ := polled(t, db); now.Generation != next || next <= generation {
				return fmt.Errorf("publication returned generation %d after %d, and the row is %+v", next, generation, now)
			}
			leaps[next-generation] = true
			// For the steps after this one, which name generations.
			return errors.Join(expected(want)(true, nil), db.Exec(ctx, "UPDATE redis_trust SET generation = ?", generation+1))
		}
	}
	complete := func(id revocations.Identity, generation int64, want bool) func() error {
		return func() error { return expected(want)(ledger.Complete(ctx, id, generation)) }
	}
	settle := func(generation int64) func() error {
		return func() error { return ledger.Settle(ctx, generation) }
	}
	withdraw := func(generation int64) func() error {
		return func() error {
			got, err := ledger.Withdraw(ctx, generation)
			if now, _ := polled(t, db); err == nil && got != now {
				err = fmt.Errorf("returned %+v, and the row is %+v", got, now)
			}
			return err
		}
	}
	row := func(write, read revocations.Identity, generation int64, settled bool) revocations.Trust {
		return revocations.Trust{WriteID: write, ReadID: read, Generation: generation, Settled: settled}
	}
	for _, step := range []struct {
		name string
		do   func() error
		want revocations.Trust
	}{
		{"at first", func() error { return nil }, row("", "", 1, true)},
		{"complete what was never published", complete("a", 1, false), row("", "", 1, true)},
		{"complete nothing", complete("", 2, false), row("", "", 1, true)},
		{"publish from another generation", publish("a", 2, false), row("", "", 1, true)},
		{"publish", publish("a", 1, true), row("a", "", 2, false)},
		{"publish from the same once more", publish("b", 1, false), row("a", "", 2, false)},
		{"settle an old generation", settle(1), row("a", "", 2, false)},
		{"settle a generation to come", settle(3), row("a", "", 2, false)},
		{"settle", settle(2), row("a", "", 2, true)},
		{"settle again", settle(2), row("a", "", 2, true)},
		{"complete another identity", complete("b", 2, false), row("a", "", 2, true)},
		{"complete an old generation", complete("a", 1, false), row("a", "", 2, true)},
		{"complete", complete("a", 2, true), row("a", "a", 2, true)},
		{"complete again", complete("a", 2, true), row("a", "a", 2, true)},
		{"withdraw an old generation", withdraw(1), row("a", "a", 2, true)},
		{"publish another", publish("b", 2, true), row("b", "", 3, false)},
		{"complete the one before", complete("a", 2, false), row("b", "", 3, false)},
		{"complete the one before in this generation", complete("a", 3, false), row("b", "", 3, false)},
		{"complete the other", complete("b", 3, true), row("b", "b", 3, false)},
		{"settle the other", settle(3), row("b", "b", 3, true)},
		{"withdraw", withdraw(3), row("", "", 4, false)},
		{"withdraw the same once more", withdraw(3), row("", "", 4, false)},
		{"complete what was withdrawn", complete("b", 3, false), row("", "", 4, false)},
		{"settle what was withdrawn", settle(3), row("", "", 4, false)},
		{"withdraw nothing", withdraw(4), row("", "", 5, false)},
	} {
		if err := step.do(); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if got, _ := polled(t, db); got != step.want {
			t.Fatalf("%s: %+v, want %+v", step.name, got, step.want)
		}
		recorded, err := ledger.Record(ctx, hour(step.name), event("token.revoke"))
		if err != nil || recorded != step.want {
			t.Errorf("%s: Record = %+v, %v", step.name, recorded, err)
		}
		if _, trust, err := ledger.Unconfirmed(ctx); err != nil || trust != step.want {
			t.Errorf("%s: Unconfirmed = %+v, %v", step.name, trust, err)
		}
	}
}

// expected returns an error where a call did not say what it should.
func expected(want bool) func(bool, error) error {
	return func(got bool, err error) error {
		if err == nil && got != want {
			return fmt.Errorf("said %v", got)
		}
		return err
	}
}

// TestTrustRowMissing is damage: nothing is acknowledged without it, and no replica goes on from it.
func TestTrustRowMissing(t *testing.T) {
	t.Parallel()
	db := migrated(t, fresh(t, "postgres"))
	if err := db.Exec(t.Context(), "DELETE FROM redis_trust"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Source().Poll(t.Context(), 0); !errors.Is(err, sqlstore.ErrCorrupt) {
		t.Errorf("Poll = %v, want ErrCorrupt", err)
	}
	if err := record(t.Context(), db, hour("j"), event("token.revoke")); err == nil {
		t.Error("Record was acknowledged")
	}
	if _, err := db.Ledger().Withdraw(t.Context(), 1); err == nil {
		t.Error("Withdraw was acknowledged")
	}
	if _, _, err := db.Ledger().Unconfirmed(t.Context()); err == nil {
		t.Error("Unconfirmed answered")
	}
}

// errSlow means that a scenario ran into the time limits of the calls in it: the machine is busy, it proves nothing.
var errSlow = errors.New("too slow")

// unhurried repeats a scenario that must end within the second that its calls have.
func unhurried(t *testing.T, scenario func(attempt int) error) {
	t.Helper()
	var err error
	for attempt := range 20 {
		if err = scenario(attempt); !errors.Is(err, errSlow) {
			break
		}
	}
	if err != nil {
		t.Error(err)
	}
}

// slow is errSlow for calls that ran out of time, as both the client and the server say it.
func slow(errs ...error) error {
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w: %w", errSlow, err)
	}
	return nil
}

// TestRecordHoldsTrust stops a Record in the middle of its commit. A withdrawal waits for it: what was recorded under a trust
// is committed before that trust ends.
func TestRecordHoldsTrust(t *testing.T) {
	t.Parallel()
	config := fresh(t, "postgres")
	db := migrated(t, config)
	gate := dial(t, config)
	execute(
		t, gate, `CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END $$`,
		`CREATE CONSTRAINT TRIGGER wait AFTER INSERT OR UPDATE ON revocations DEFERRABLE INITIALLY DEFERRED
			FOR EACH ROW EXECUTE FUNCTION wait()`,
	)
	unhurried(t, func(attempt int) error {
		before, _ := polled(t, db)
		execute(t, gate, "SELECT pg_advisory_lock(7)")
		var recorded, withdrawn revocations.Trust
		var recordErr, withdrawErr error
		record := background(func() {
			recorded, recordErr = db.Ledger().Record(t.Context(), hour(fmt.Sprint(attempt)), event("token.revoke"))
		})
		committing := await(t, gate, record, "EXISTS (SELECT 1 "+advisory+" AND NOT granted)")
		withdraw := background(func() { withdrawn, withdrawErr = db.Ledger().Withdraw(t.Context(), before.Generation) })
		waits := await(t, gate, withdraw, "EXISTS (SELECT 1 FROM pg_stat_activity w WHERE query LIKE 'UPDATE redis_trust%' AND "+
			"EXISTS (SELECT 1 FROM unnest(pg_blocking_pids(w.pid)) pid JOIN pg_locks l USING (pid) WHERE l.locktype = 'advisory'))")
		execute(t, gate, "SELECT pg_advisory_unlock(7)")
		<-record
		<-withdraw
		if err := slow(recordErr, withdrawErr); err != nil {
			return err
		}
		if !committing || !waits {
			return fmt.Errorf("Record was committing: %v; Withdraw waited for it: %v", committing, waits)
		}
		if after := before.Generation + 1; recorded != before || withdrawn != (revocations.Trust{Generation: after}) {
			return fmt.Errorf("Record saw %+v, Withdraw %+v, before it was %+v", recorded, withdrawn, before)
		}
		return nil
	})
}

// TestTrustIsNeverOld lets a withdrawal be under way when others read the trust row: they wait for how it ends.
func TestTrustIsNeverOld(t *testing.T) {
	t.Parallel()
	config := fresh(t, "postgres")
	db := migrated(t, config)
	other, watch := dial(t, config), dial(t, config)
	for name, read := range map[string]func() (revocations.Trust, error){
		"Record": func() (revocations.Trust, error) {
			return db.Ledger().Record(t.Context(), hour("j"), event("token.revoke"))
		},
		"Unconfirmed": func() (revocations.Trust, error) {
			_, trust, err := db.Ledger().Unconfirmed(t.Context())
			return trust, err
		},
		"Withdraw": func() (revocations.Trust, error) { return db.Ledger().Withdraw(t.Context(), -1) },
	} {
		unhurried(t, func(int) error {
			before, _ := polled(t, db)
			execute(t, other, "BEGIN", "UPDATE redis_trust SET generation = generation + 1, write_id = '', settled = 0")
			var got revocations.Trust
			var err error
			reading := background(func() { got, err = read() })
			waits := await(t, watch, reading, blocked)
			execute(t, other, "COMMIT")
			<-reading
			if err := slow(err); err != nil {
				return err
			}
			if want := (revocations.Trust{Generation: before.Generation + 1}); !waits || got != want {
				return fmt.Errorf("%s waited: %v; it saw %+v, want %+v", name, waits, got, want)
			}
			return nil
		})
	}
}

func unconfirmed(t *testing.T, db *sqlstore.DB) []revocations.CutOff {
	t.Helper()
	cutOffs, _, err := db.Ledger().Unconfirmed(t.Context())
	if err != nil {
		t.Fatalf("Unconfirmed: %v", err)
	}
	if _, some := polled(t, db); some != (len(cutOffs) > 0) {
		t.Errorf("a poll says %v of %d unconfirmed cut-offs", some, len(cutOffs))
	}
	return cutOffs
}

func confirm(t *testing.T, db *sqlstore.DB, cutOffs []revocations.CutOff) {
	t.Helper()
	if err := db.Ledger().Confirm(t.Context(), cutOffs); err != nil {
		t.Errorf("Confirm: %v", err)
	}
}

func TestConfirm(t *testing.T) {
	t.Parallel()
	config := fresh(t, "postgres")
	db := migrated(t, config)
	same := func(name string, want ...revocations.CutOff) {
		t.Helper()
		ignore := cmpopts.IgnoreFields(revocations.CutOff{}, "ExpiresAt")
		if diff := cmp.Diff(want, unconfirmed(t, db), ignore, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: unconfirmed (-want +got):\n%s", name, diff)
		}
	}
	client := func(id string, generation int64) revocations.CutOff {
		return revocations.CutOff{Kind: revocations.ByClient, ID: id, Generation: generation}
	}
	key := revocations.CutOff{Kind: revocations.ByKey, ID: "client_1", Generation: revocations.Everything}
	same("at first")
	confirm(t, db, nil)
	cut(t, db, revocations.ByClient, "client_1", 2)
	cut(t, db, revocations.ByClient, "client_2", 2)
	cut(t, db, revocations.ByKey, "client_1", 0)
	same("three cut-offs", client("client_1", 2), client("client_2", 2), key)
	confirm(t, db, []revocations.CutOff{client("client_1", 1), client("client_2", 3), client("client_3", 2)})
	same("other generations and other clients", client("client_1", 2), client("client_2", 2), key)
	confirm(t, db, []revocations.CutOff{client("client_1", 2)})
	same("one of them", client("client_2", 2), key)

	all := unconfirmed(t, db)
	cut(t, db, revocations.ByClient, "client_2", 3)
	confirm(t, db, all)
	same("one that was raised since", client("client_2", 3))
	confirm(t, open(t, config), unconfirmed(t, db))
	same("confirmed by another replica")
	cut(t, db, revocations.ByClient, "client_1", 9)
	same("a confirmed one that was raised", client("client_1", 9))
	confirm(t, db, unconfirmed(t, db))
	if err := db.Exec(t.Context(), "UPDATE clients SET generation = 5"); err != nil {
		t.Fatal(err)
	}
	cut(t, db, revocations.ByClient, "client_1", 6)
	same("one that is there with a higher generation", client("client_1", 9))

	cutOffs, err := db.Revocations().CutOffs(t.Context())
	if err != nil || len(cutOffs) != 3 {
		t.Errorf("CutOffs = %v, %v", cutOffs, err)
	}
}

// TestConfirmMany confirms more than one transaction takes.
func TestConfirmMany(t *testing.T) {
	t.Parallel()
	db := migrated(t, fresh(t, "postgres"))
	many := 2*sqlstore.ConfirmBatch + 1
	err := db.Exec(t.Context(),
		"INSERT INTO cut_offs SELECT 'client', 'c' || i, 2, 4000000000000000, 0 FROM generate_series(1, ?) i", many)
	if err != nil {
		t.Fatal(err)
	}
	all := unconfirmed(t, db)
	if len(all) != many {
		t.Fatalf("%d are unconfirmed, want %d", len(all), many)
	}
	confirm(t, db, all)
	if left := unconfirmed(t, db); len(left) != 0 {
		t.Errorf("%d are left", len(left))
	}
}

// TestConfirmWaitsForNobody: a change that concerns every client may take a minute, and locks cut-offs in an order of its own.
func TestConfirmWaitsForNobody(t *testing.T) {
	t.Parallel()
	config := fresh(t, "postgres")
	db := migrated(t, config)
	cut(t, db, revocations.ByClient, "client_1", 2)
	cut(t, db, revocations.ByClient, "client_2", 2)
	all := unconfirmed(t, db)
	other := dial(t, config)
	execute(t, other, "BEGIN", "UPDATE cut_offs SET generation = 3 WHERE id = 'client_1'")
	confirm(t, db, all)
	execute(t, other, "COMMIT")
	if left := unconfirmed(t, db); len(left) != 1 || left[0].ID != "client_1" || left[0].Generation != 3 {
		t.Errorf("unconfirmed: %+v", left)
	}
}
