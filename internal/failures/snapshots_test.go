package failures

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest/redistest"
)

// TestRedisWithoutSpace takes the space for its snapshots from a Redis with the stock settings: it refuses every write for
// that, until there is space again, or somebody tells it to write none.
func TestRedisWithoutSpace(t *testing.T) {
	t.Parallel()
	long(t)
	redis := redistest.Start(t)
	redisAway(t, redis, []redisFault{
		{"without space", func() { refuseSnapshots(t, redis) }, func() { allowSnapshots(t, redis) }},
		{"without space, and told to do without", func() { refuseSnapshots(t, redis) }, func() { redis.Do("CONFIG", "SET", "save", "") }},
	})
}

// refuseSnapshots gives a Redis the stock settings, with which it writes snapshots, and takes the right to its directory
// away, as a full disk does. It returns when Redis refuses to write for that (MISCONF).
func refuseSnapshots(t *testing.T, redis *redistest.Server) {
	t.Helper()
	// Whoever runs Redis, it is not root.
	if err := os.Chmod(redisDir(redis), 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(redisDir(redis), 0o700) }) // or it could not be removed
	redis.Do("CONFIG", "SET", "stop-writes-on-bgsave-error", "yes")
	redis.Do("CONFIG", "SET", "save", "1 1")
	eventually(t, 15*time.Second, "refuse to write", func() bool {
		_, err := redis.Try("SET", "one", "change")
		return err != nil && strings.Contains(err.Error(), "MISCONF")
	})
}

// allowSnapshots gives the directory back, and returns when a snapshot was written.
func allowSnapshots(t *testing.T, redis *redistest.Server) {
	t.Helper()
	if err := os.Chmod(redisDir(redis), 0o700); err != nil {
		t.Fatal(err)
	}
	eventually(t, 15*time.Second, "write a snapshot", func() bool {
		_, _ = redis.Try("BGSAVE") // refused while one is under way
		return redis.Info("persistence", "rdb_last_bgsave_status") == "ok"
	})
}

// redisDir is where Redis writes.
func redisDir(redis *redistest.Server) string {
	_, dir, _ := strings.Cut(redis.Do("CONFIG", "GET", "dir"), "\n")
	return dir
}
