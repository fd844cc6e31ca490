package sqlstore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/seed-1972b8eb/signet/internal/revocations"
)

// trustRow is the row of redis_trust.
type trustRow struct {
	WriteID    string
	ReadID     string
	Generation int64
	Settled    int64
}

// trustColumns are its columns in the order of columns.
const trustColumns = "write_id, read_id, generation, settled"

func (r *trustRow) columns() []any { return []any{&r.WriteID, &r.ReadID, &r.Generation, &r.Settled} }

func (r *trustRow) trust() revocations.Trust {
	return revocations.Trust{
		WriteID: revocations.Identity(r.WriteID), ReadID: revocations.Identity(r.ReadID),
		Generation: r.Generation, Settled: r.Settled == 1,
	}
}

// holdTrust reads the trust row, which stays as it is until the transaction ends: what the transaction has written before is
// in the snapshot of every rebuild that is published after it. It comes last, because a change of the row waits for a moment
// in which nobody holds it.
func holdTrust(tx *gorm.DB) (revocations.Trust, error) {
	var row trustRow
	if err := tx.Raw("SELECT " + trustColumns + " FROM redis_trust FOR SHARE").Row().Scan(row.columns()...); err != nil {
		return revocations.Trust{}, fmt.Errorf("read trust in Redis: %w", err)
	}
	return row.trust(), nil
}

// entrust runs one durable transaction that has to do with the trust row.
func (s revocationStore) entrust(ctx context.Context, doing string, timeout time.Duration, do func(tx *gorm.DB) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := s.db.transact(ctx, func(tx *gorm.DB) error {
		if _, err := s.db.durable(tx, timeout); err != nil {
			return err
		}
		return do(tx)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

// update changes the trust row where a condition holds, and says whether it did.
func (s revocationStore) update(ctx context.Context, doing, statement string, args ...any) (bool, error) {
	var changed bool
	err := s.entrust(ctx, doing, answerTimeout, func(tx *gorm.DB) error {
		result := tx.Exec("UPDATE redis_trust SET "+statement, args...)
		changed = result.RowsAffected == 1
		return result.Error
	})
	return changed && err == nil, err
}

// Withdraw implements revocations.Ledger. Where somebody else was faster, the row is not only read but held: what it says is
// then as durable as this transaction's own commit.
func (s revocationStore) Withdraw(ctx context.Context, generation int64) (revocations.Trust, error) {
	var trust revocations.Trust
	err := s.entrust(ctx, "withdraw trust in Redis", answerTimeout, func(tx *gorm.DB) error {
		err := tx.Exec(`UPDATE redis_trust SET write_id = '', read_id = '', generation = generation + 1, settled = 0
			WHERE generation = ?`, generation).Error
		if err != nil {
			return err
		}
		trust, err = holdTrust(tx)
		return err
	})
	if err != nil {
		return revocations.Trust{}, err
	}
	return trust, nil
}

// Publish implements revocations.Ledger.
func (s revocationStore) Publish(ctx context.Context, id revocations.Identity, generation int64) (int64, error) {
	var leap [4]byte          // there is room for two thousand million of the longest
	_, _ = rand.Read(leap[:]) // never fails
	next := generation + 1 + int64(binary.BigEndian.Uint32(leap[:]))
	published, err := s.update(ctx, "publish trust in Redis",
		"write_id = ?, read_id = '', generation = ?, settled = 0 WHERE generation = ?", string(id), next, generation)
	if !published {
		return 0, err
	}
	return next, nil
}

// Complete implements revocations.Ledger.
func (s revocationStore) Complete(ctx context.Context, id revocations.Identity, generation int64) (bool, error) {
	return s.update(ctx, "complete trust in Redis",
		"read_id = ? WHERE generation = ? AND write_id = ?", string(id), generation, string(id))
}

// Settle implements revocations.Ledger.
func (s revocationStore) Settle(ctx context.Context, generation int64) error {
	_, err := s.update(ctx, "settle trust in Redis", "settled = 1 WHERE generation = ? AND settled = 0", generation)
	return err
}

// Unconfirmed implements revocations.Ledger. It may have more time than an answer, as the change before it had: there are as
// many cut-offs as one change concerned clients.
func (s revocationStore) Unconfirmed(ctx context.Context) ([]revocations.CutOff, revocations.Trust, error) {
	var cutOffs []revocations.CutOff
	var trust revocations.Trust
	err := s.entrust(ctx, "read unconfirmed cut-offs", changeTimeout, func(tx *gorm.DB) error {
		var err error
		cutOffs, err = readRows(tx.Raw("SELECT kind, id, generation, expires_at FROM cut_offs WHERE confirmed = 0 ORDER BY kind, id"),
			cutOffRow.cutOff)
		if err != nil {
			return err
		}
		trust, err = holdTrust(tx)
		return err
	})
	if err != nil {
		return nil, revocations.Trust{}, err
	}
	return cutOffs, trust, nil
}

// confirmBatch is how many cut-offs one transaction confirms. However many there are, each attempt gets on.
const confirmBatch = 1000

// Confirm implements revocations.Ledger. A row that somebody has locked is left to them: they confirm it too, delete it, or
// raise it, and then it is not confirmed. So this waits for nobody, and no two wait for each other.
func (s revocationStore) Confirm(ctx context.Context, cutOffs []revocations.CutOff) error {
	for batch := range slices.Chunk(cutOffs, confirmBatch) {
		list, err := encodeCutOffs(batch)
		if err != nil {
			return err
		}
		err = s.entrust(ctx, "confirm cut-offs", answerTimeout, func(tx *gorm.DB) error {
			return tx.Exec(`UPDATE cut_offs SET confirmed = 1 FROM (SELECT c.kind, c.id FROM `+
				s.db.dialect.given("kind text", "id text", "generation bigint")+` JOIN cut_offs c
				ON c.kind = given.kind AND c.id = given.id AND c.generation = given.generation AND c.confirmed = 0
				FOR UPDATE OF c SKIP LOCKED) AS mine WHERE cut_offs.kind = mine.kind AND cut_offs.id = mine.id`, list).Error
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Exclusive implements revocations.Ledger.
func (s revocationStore) Exclusive(ctx context.Context, name string, do func(ctx context.Context) error) (bool, error) {
	return s.db.Exclusive(ctx, name, do)
}
