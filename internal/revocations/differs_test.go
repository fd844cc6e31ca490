package revocations_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/revocations"
)

// TestReplicaWithoutRedisSaysSo: one that has no Redis says once that others have one, at the first sight of it and not only
// when a revocation has taken it from them.
func TestReplicaWithoutRedisSaysSo(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	r := revocations.NewReplicated(revocations.ReplicatedConfig{
		Ledger: ledger{w: newWorld(1, 1)}, Log: slog.New(slog.NewTextHandler(&said, nil)),
	})
	r.Polled(time.Now(), time.Now(), revocations.Trust{}, false)
	if said.Len() > 0 {
		t.Errorf("nobody has Redis, and it says %s", said.String())
	}
	for range 3 {
		r.Polled(time.Now(), time.Now(), revocations.Trust{WriteID: "of another replica"}, false)
	}
	if n := strings.Count(said.String(), "configure the same for all"); n != 1 {
		t.Errorf("it says %d times that replicas differ, want once: %s", n, said.String())
	}
}
