package sqlstore_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

func TestAssertions(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		db := migrated(t, config)
		other := open(t, config).Assertions()
		soon := time.Now().Add(time.Minute)
		odd := []string{"", "j", "J", "a\x00b", "\xff", strings.Repeat("x", 100_000), "'; --"}
		for _, jti := range odd {
			if err := db.Assertions().Use(t.Context(), "client_1", jti, soon); err != nil {
				t.Fatalf("Use(%.10q): %v", jti, err)
			}
		}
		for _, jti := range odd {
			if err := other.Use(t.Context(), "client_1", jti, soon.Add(time.Hour)); !errors.Is(err, clients.ErrReplayed) {
				t.Errorf("second Use(%.10q) = %v, want ErrReplayed", jti, err)
			}
		}
		if err := other.Use(t.Context(), "client_2", "j", soon); err != nil {
			t.Errorf("another client's: %v", err)
		}
	})
}

func TestAssertionsAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		db := migrated(t, config)
		var used atomic.Int32
		var group sync.WaitGroup
		for range 10 {
			group.Go(func() {
				switch err := db.Assertions().Use(t.Context(), "client_1", "j", time.Now().Add(time.Minute)); {
				case err == nil:
					used.Add(1)
				case !errors.Is(err, clients.ErrReplayed):
					t.Errorf("Use: %v", err)
				}
			})
		}
		group.Wait()
		if used.Load() != 1 {
			t.Errorf("one assertion was used %d times", used.Load())
		}
	})
}

func TestAssertionsSweep(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		db := migrated(t, config)
		for jti, expired := range map[string]time.Duration{"a": time.Hour, "b": 6 * time.Minute, "c": 4 * time.Minute, "d": -time.Minute} {
			if err := db.Assertions().Use(t.Context(), "client_1", jti, time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			age := "UPDATE assertion_uses SET expires_at = ? WHERE expires_at > ?"
			if err := db.Exec(t.Context(), age, time.Now().Add(-expired).UnixMicro(), time.Now().Add(30*time.Minute).UnixMicro()); err != nil {
				t.Fatal(err)
			}
		}
		for i, want := range []int{1, 1, 0} {
			if swept, err := db.Assertions().Sweep(t.Context(), 1); err != nil || swept != want {
				t.Errorf("Sweep %d = %d, %v; want %d", i, swept, err, want)
			}
		}
		for _, jti := range []string{"c", "d"} { // just expired, by clocks that may differ: still remembered
			if err := db.Assertions().Use(t.Context(), "client_1", jti, time.Now()); !errors.Is(err, clients.ErrReplayed) {
				t.Errorf("Use(%s) = %v, want ErrReplayed", jti, err)
			}
		}
	})
}

// TestAssertionsExpiredByTheDatabase: an assertion that lives by the clock of a replica and expired minutes ago by the database's
// may have been used and forgotten.
func TestAssertionsExpiredByTheDatabase(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		uses := migrated(t, config).Assertions()
		for name, expired := range map[string]time.Duration{"a minute ago": time.Minute, "minutes ago": 3 * time.Minute, "long ago": time.Hour} {
			err := uses.Use(t.Context(), "client_1", name, time.Now().Add(-expired))
			if (err == nil) != (expired == time.Minute) || errors.Is(err, clients.ErrReplayed) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
