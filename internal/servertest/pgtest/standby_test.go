package pgtest_test

import (
	"testing"

	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
)

// TestStandby: a synchronous standby has what was committed before it is promoted, and one that was cut off lacks the rest.
func TestStandby(t *testing.T) {
	t.Parallel()
	primary := pgtest.Start(t)
	standby := pgtest.StartStandby(t, primary)
	primary.Synchronous()
	pgtest.Exec(t, primary.URL(), "CREATE TABLE followed (id int)")
	pgtest.Exec(t, primary.URL(), "ALTER SYSTEM RESET synchronous_standby_names")
	pgtest.Exec(t, primary.URL(), "SELECT pg_reload_conf()")
	standby.Lag(primary)
	pgtest.Exec(t, primary.URL(), "SET synchronous_commit = local; CREATE TABLE lost (id int)")
	primary.Kill()
	standby.Promote()
	pgtest.Exec(t, standby.URL(), "INSERT INTO followed VALUES (1)")
	var lost bool
	if err := connect(t, standby.URL()).QueryRow(t.Context(), "SELECT to_regclass('lost') IS NULL").Scan(&lost); err != nil || !lost {
		t.Errorf("a standby that lags has what was committed later: %v", err)
	}
}
