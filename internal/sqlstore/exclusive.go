package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"gorm.io/gorm"
)

// frozenTimeout is how long a process that is frozen in the middle of a rebuild keeps others from theirs, and old rows from
// being cleared away. It is longer than a rebuild may take.
const frozenTimeout = 90 * time.Second

// errOneConnection is of a pool whose only connection would hold the lock, so that what it is held for could do nothing.
var errOneConnection = errors.New("it takes two connections to the database, and max_conns allows one")

// Exclusive runs do while no other process runs something under that name, and says whether it did: false, and nothing done,
// while another process is at it. The lock is held by a transaction of its own, which works behind a pooler, too, and ends
// with it: with do, with this process, when its connection breaks, or after a minute and a half. What do has come to counts
// then all the same; it must not rely on being alone for what must never go wrong. SQLite has one process, and do runs.
func (db *DB) Exclusive(ctx context.Context, name string, do func(ctx context.Context) error) (bool, error) {
	if db.dialect.name != "postgres" {
		return true, do(ctx)
	}
	var ran bool
	var done error
	err := db.alone(ctx, name, func() {
		ran, done = true, do(ctx)
	})
	if ran {
		return true, done
	}
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", name, err)
	}
	return false, nil
}

func (db *DB) alone(ctx context.Context, name string, do func()) error {
	if db.maxConns == 1 {
		return errOneConnection
	}
	return db.write.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var mine bool
		var ignored string
		err := tx.Raw("SELECT pg_try_advisory_xact_lock(?), set_config('idle_in_transaction_session_timeout', ?, true)",
			lockKey(name), milliseconds(db.frozen)).Row().Scan(&mine, &ignored)
		if err != nil || !mine {
			return err
		}
		do()
		return nil
	})
}

// lockKey is the number that PostgreSQL knows a lock by.
func lockKey(name string) int64 {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte("signet." + name))
	return int64(hash.Sum64()) //nolint:gosec // all 64 bits, whatever the sign
}
