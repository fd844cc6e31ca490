package sqlstore

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/revocations"
)

// revocationRow is a row of revocations.
type revocationRow struct {
	JTI       string `gorm:"column:jti"`
	ClientID  string
	ExpiresAt instant
	RevokedAt instant
	Reason    string
}

func (r revocationRow) revocation() revocations.Revocation {
	return revocations.Revocation{
		JTI: r.JTI, ClientID: r.ClientID, ExpiresAt: r.ExpiresAt.time(), RevokedAt: r.RevokedAt.time(), Reason: r.Reason,
	}
}

// cutOffRow is a row of cut_offs.
type cutOffRow struct {
	Kind       string  `json:"kind"`
	ID         string  `json:"id"`
	Generation int64   `json:"generation"`
	ExpiresAt  instant `json:"expires_at"`
}

func (r cutOffRow) cutOff() revocations.CutOff {
	return revocations.CutOff{
		Kind: revocations.CutOffKind(r.Kind), ID: r.ID, Generation: r.Generation, ExpiresAt: r.ExpiresAt.time(),
	}
}

// writeCutOffs writes cut-offs in the transaction of their change. Generations and times only ever rise.
func writeCutOffs(d dialect, tx *gorm.DB, cutOffs []revocations.CutOff) error {
	if len(cutOffs) == 0 {
		return nil
	}
	rows := make([]cutOffRow, len(cutOffs))
	for i, c := range cutOffs {
		rows[i] = cutOffRow{string(c.Kind), c.ID, c.Generation, instantOf(c.ExpiresAt)}
	}
	list, err := encodeList(rows)
	if err != nil {
		return err
	}
	err = tx.Exec(`INSERT INTO cut_offs (kind, id, generation, expires_at)
		SELECT kind, id, generation, expires_at FROM `+d.given("kind text", "id text", "generation bigint", "expires_at bigint")+`
		WHERE true ON CONFLICT (kind, id) DO UPDATE SET
		generation = `+d.greatest+`(cut_offs.generation, excluded.generation),
		expires_at = `+d.greatest+`(cut_offs.expires_at, excluded.expires_at)`, list).Error
	if err != nil {
		return fmt.Errorf("write cut-offs: %w", err)
	}
	return nil
}

// revocationStore keeps revocations and cut-offs.
type revocationStore struct{ db *DB }

// Revoke implements revocations.Store. A JTI that is there already is written again, and the event too: a row that somebody
// else wrote is no acknowledgement, the flush of this transaction's own commit is.
func (s revocationStore) Revoke(ctx context.Context, r revocations.Revocation, e audit.Event) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	d := s.db.dialect
	err := s.db.write.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		now, err := s.db.durable(tx, answerTimeout)
		if err != nil {
			return err
		}
		if r.RevokedAt.IsZero() {
			r.RevokedAt = now
		}
		err = tx.Exec(`INSERT INTO revocations (jti, client_id, expires_at, revoked_at, reason) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (jti) DO UPDATE SET expires_at = `+d.greatest+`(revocations.expires_at, excluded.expires_at)`,
			r.JTI, r.ClientID, r.ExpiresAt.UnixMicro(), instantOf(r.RevokedAt), r.Reason).Error
		if err != nil {
			return err
		}
		return writeEvent(tx, e, now)
	})
	if err != nil {
		return fmt.Errorf("revoke token: %w", err)
	}
	return nil
}

// Check implements revocations.Store: one statement of three look-ups by primary key.
func (s revocationStore) Check(ctx context.Context, t revocations.Token) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var revoked int
	err := s.db.read.WithContext(ctx).Raw(`SELECT CASE WHEN EXISTS (SELECT 1 FROM revocations WHERE jti = ?)
		OR EXISTS (SELECT 1 FROM cut_offs WHERE kind = 'client' AND id = ? AND generation > ?)
		OR EXISTS (SELECT 1 FROM cut_offs WHERE kind = 'key' AND id = ? AND generation > ?) THEN 1 ELSE 0 END`,
		t.JTI, t.ClientID, t.Generation, t.KID, t.Generation).Row().Scan(&revoked)
	if err != nil {
		return false, fmt.Errorf("check revocation: %w", err)
	}
	return revoked == 1, nil
}

// Revocations implements revocations.Store.
func (s revocationStore) Revocations(ctx context.Context, limit int) ([]revocations.Revocation, error) {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	now, args := s.db.clock()
	rows, err := readRows(s.db.read.WithContext(ctx).Raw(`SELECT jti, client_id, expires_at, revoked_at, reason FROM revocations
		WHERE expires_at > `+now+` ORDER BY revoked_at DESC, jti LIMIT ?`, append(args, limit)...), revocationRow.revocation)
	if err != nil {
		return nil, fmt.Errorf("list revocations: %w", err)
	}
	return rows, nil
}

// CutOffs implements revocations.Store.
func (s revocationStore) CutOffs(ctx context.Context) ([]revocations.CutOff, error) {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	now, args := s.db.clock()
	rows, err := readRows(s.db.read.WithContext(ctx).Raw(`SELECT kind, id, generation, expires_at FROM cut_offs
		WHERE expires_at > `+now+` ORDER BY kind, id`, args...), cutOffRow.cutOff)
	if err != nil {
		return nil, fmt.Errorf("list cut-offs: %w", err)
	}
	return rows, nil
}

// Live implements revocations.Truth: everything that Sweep has not yet to delete, read in one snapshot.
func (s revocationStore) Live(ctx context.Context) ([]revocations.Revocation, []revocations.CutOff, error) {
	var revoked []revocations.Revocation
	var cutOffs []revocations.CutOff
	now, args := s.db.clock()
	ended := append(args, revocations.Retention.Microseconds())
	err := s.db.snapshot(ctx, func(tx *gorm.DB) error {
		var err error
		revoked, err = readRows(tx.Raw(`SELECT jti, client_id, expires_at, revoked_at, reason FROM revocations
			WHERE expires_at >= `+now+` - ?`, ended...), revocationRow.revocation)
		if err != nil {
			return err
		}
		cutOffs, err = readRows(tx.Raw("SELECT kind, id, generation, expires_at FROM cut_offs WHERE expires_at >= "+now+" - ?",
			ended...), cutOffRow.cutOff)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read revocations: %w", err)
	}
	return revoked, cutOffs, nil
}

// Sweep implements revocations.Store.
func (s revocationStore) Sweep(ctx context.Context, limit int) (int, error) {
	deleted, err := s.db.sweep(ctx, "revocations", "jti", revocations.Retention, limit)
	if err != nil {
		return deleted, err
	}
	more, err := s.db.sweep(ctx, "cut_offs", "kind, id", revocations.Retention, limit)
	return deleted + more, err
}
