package revocationstest

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/internal/revocations"
)

// ago returns a revocation of a token that expired that long ago.
func ago(jti string, expired time.Duration) revocations.Revocation {
	r := revocation(jti)
	r.ExpiresAt = r.RevokedAt.Add(-expired)
	return r
}

func testList(t *testing.T, f Fixture) {
	var want []revocations.Revocation
	for i := range 5 {
		r := revocation(fmt.Sprint("listed-", i))
		r.RevokedAt = r.RevokedAt.Add(time.Duration(-i) * time.Minute)
		want = append(want, r)
		revoke(t, f.Store, r)
	}
	revoke(t, f.Store, ago("expired", time.Second))
	for limit, n := range map[int]int{1: 1, 3: 3, 100: 5} {
		got, err := f.Store.Revocations(t.Context(), limit)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want[:n], got); diff != "" {
			t.Errorf("Revocations(%d): newest first, unexpired only (-want +got):\n%s", limit, diff)
		}
	}
}

func testSweep(t *testing.T, f Fixture) {
	revoke(t, f.Store, revocation("live"))
	revoke(t, f.Store, ago("just expired", revocations.Retention-time.Minute))
	revoke(t, f.Store, ago("long expired", revocations.Retention+time.Minute))
	f.Cut(t, revocations.ByClient, "client_1", 2)
	swept, err := f.Store.Sweep(t.Context(), 100)
	if err != nil || swept != 1 {
		t.Errorf("Sweep = %d, %v; want 1", swept, err)
	}
	f.Store = f.Restart(t)
	f.expect(t, revocations.Token{JTI: "live"}, true)
	f.expect(t, revocations.Token{JTI: "just expired"}, true)
	f.expect(t, revocations.Token{JTI: "long expired"}, false)
	f.expect(t, revocations.Token{ClientID: "client_1", Generation: 1}, true)
	if swept, err := f.Store.Sweep(t.Context(), 100); err != nil || swept != 0 {
		t.Errorf("second Sweep = %d, %v; want 0", swept, err)
	}
}

func testSweepLimit(t *testing.T, f Fixture) {
	for i := range 7 {
		revoke(t, f.Store, ago(fmt.Sprint("old-", i), revocations.Retention+time.Hour))
	}
	for round, want := range []int{3, 3, 1, 0} {
		if swept, err := f.Store.Sweep(t.Context(), 3); err != nil || swept != want {
			t.Errorf("Sweep %d = %d, %v; want %d", round, swept, err, want)
		}
	}
}

// testRetention makes sure that nothing is forgotten because a clock says so: until the sweep, Retention after the expiry.
func testRetention(t *testing.T, f Fixture) {
	revoke(t, f.Store, ago("expired", time.Minute))
	f.expect(t, revocations.Token{JTI: "expired"}, true)
	f.Store = f.Restart(t)
	f.expect(t, revocations.Token{JTI: "expired"}, true)
}
