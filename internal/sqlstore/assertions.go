package sqlstore

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/seed-1972b8eb/signet/internal/clients"
)

// Assertions remembers which client assertions were used (RFC 7523 §3, item 7: "jti").
type Assertions struct{ db *DB }

// Use remembers an assertion until it has expired. clients.ErrReplayed when it was used before, by any replica. Any other
// error means that it is unknown whether it was: do not let the caller in. Expired ones are kept for assertionSlack more,
// which covers clocks that differ; where they differ by more, it is unknown.
func (a *Assertions) Use(ctx context.Context, clientID, jti string, expires time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	hash := sha256.Sum256([]byte(jti))
	now, args := a.db.clock()
	args = append([]any{clientID, base64.RawURLEncoding.EncodeToString(hash[:]), expires.UnixMicro(), expires.UnixMicro()}, args...)
	var used int64
	err := a.db.acknowledged(func() error {
		result := a.db.write.WithContext(ctx).Exec("INSERT INTO assertion_uses (client_id, jti_hash, expires_at) "+
			"SELECT CAST(? AS text), CAST(? AS text), CAST(? AS bigint) WHERE CAST(? AS bigint) > "+now+" - ?",
			append(args, (assertionSlack/2).Microseconds())...)
		used = result.RowsAffected
		return result.Error
	})
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return clients.ErrReplayed
	}
	if err == nil && used == 0 {
		err = errors.New("it expired minutes ago by the database's clock, and lives by this one; set the clocks")
	}
	if err != nil {
		return fmt.Errorf("remember client assertion: %w", err)
	}
	return nil
}

// assertionSlack is how long an assertion is kept after its expiry.
const assertionSlack = 5 * time.Minute

// Sweep forgets at most limit assertions that expired assertionSlack ago, and says how many.
func (a *Assertions) Sweep(ctx context.Context, limit int) (int, error) {
	return a.db.sweep(ctx, "assertion_uses", "client_id, jti_hash", assertionSlack, limit)
}
