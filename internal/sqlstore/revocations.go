package sqlstore

import (
	"context"
	"database/sql"
	"errors"
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

// encodeCutOffs returns them as rows for given.
func encodeCutOffs(cutOffs []revocations.CutOff) (string, error) {
	rows := make([]cutOffRow, len(cutOffs))
	for i, c := range cutOffs {
		rows[i] = cutOffRow{string(c.Kind), c.ID, c.Generation, instantOf(c.ExpiresAt)}
	}
	return encodeList(rows)
}

// writeCutOffs writes cut-offs in the transaction of their change. Generations and times only ever rise. What Redis has of
// an earlier one is not this one: each is unconfirmed anew.
func writeCutOffs(d dialect, tx *gorm.DB, cutOffs []revocations.CutOff) error {
	if len(cutOffs) == 0 {
		return nil
	}
	list, err := encodeCutOffs(cutOffs)
	if err != nil {
		return err
	}
	err = tx.Exec(`INSERT INTO cut_offs (kind, id, generation, expires_at, confirmed)
		SELECT kind, id, generation, expires_at, `+d.fresh+`
		FROM `+d.given("kind text", "id text", "generation bigint", "expires_at bigint")+`
		WHERE true ON CONFLICT (kind, id) DO UPDATE SET
		generation = `+d.greatest+`(cut_offs.generation, excluded.generation),
		expires_at = `+d.greatest+`(cut_offs.expires_at, excluded.expires_at),
		confirmed = excluded.confirmed`, list).Error
	if err != nil {
		return fmt.Errorf("write cut-offs: %w", err)
	}
	return nil
}

// revocationStore keeps revocations and cut-offs.
type revocationStore struct{ db *DB }

// Record implements revocations.Truth. A JTI that is there already is written again: a row that somebody else wrote is no
// acknowledgement, the flush of this transaction's own commit is. There is no event for it, or a client with one token
// could fill the audit trail.
func (s revocationStore) Record(ctx context.Context, r revocations.Revocation, e audit.Event) (revocations.Trust, error) {
	if !storable(r.JTI) {
		return revocations.Trust{}, fmt.Errorf("revoke token: %w", errNotStorable)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	d := s.db.dialect
	var trust revocations.Trust
	err := s.db.transact(ctx, func(tx *gorm.DB) error {
		now, err := s.db.durable(tx, answerTimeout)
		if err != nil {
			return err
		}
		if r.RevokedAt.IsZero() {
			r.RevokedAt = now
		}
		inserted := tx.Exec(`INSERT INTO revocations (jti, client_id, expires_at, revoked_at, reason) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (jti) DO NOTHING`, r.JTI, r.ClientID, r.ExpiresAt.UnixMicro(), instantOf(r.RevokedAt), r.Reason)
		if err = inserted.Error; err != nil {
			return err
		}
		if inserted.RowsAffected == 1 {
			err = writeEvent(tx, e, now)
		} else {
			err = again(tx, d, r)
		}
		if err != nil {
			return err
		}
		if d.name == "postgres" {
			trust, err = holdTrust(tx)
		}
		return err
	})
	if err != nil {
		return revocations.Trust{}, fmt.Errorf("revoke token: %w", err)
	}
	return trust, nil
}

// again writes a row that was there.
func again(tx *gorm.DB, d dialect, r revocations.Revocation) error {
	result := tx.Exec("UPDATE revocations SET expires_at = "+d.greatest+"(expires_at, ?) WHERE jti = ?", r.ExpiresAt.UnixMicro(), r.JTI)
	if result.Error == nil && result.RowsAffected == 0 {
		return errors.New("it was swept a moment ago")
	}
	return result.Error
}

// errNotStorable is of texts that neither Record writes nor Revoked looks for.
var errNotStorable = errors.New("its ID is no text that a database can hold")

// Revoked implements revocations.Truth: one statement of three look-ups by primary key for each token. They are scalar
// queries, because PostgreSQL may answer an EXISTS from a hash of the whole table.
func (s revocationStore) Revoked(ctx context.Context, tokens []revocations.Token) ([]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	list, err := encodeTokens(tokens)
	if err != nil {
		return nil, fmt.Errorf("check revocations: %w", err)
	}
	rows, err := s.db.read.WithContext(ctx).Raw(`SELECT place, CASE WHEN (SELECT 1 FROM revocations r WHERE r.jti = given.jti) = 1
		OR (SELECT c.generation FROM cut_offs c WHERE c.kind = 'client' AND c.id = given.client_id) > given.generation
		OR (SELECT c.generation FROM cut_offs c WHERE c.kind = 'key' AND c.id = given.kid) > given.generation
		THEN 1 ELSE 0 END FROM `+s.db.dialect.given("place bigint", "jti text", "client_id text", "kid text", "generation bigint"),
		list).Rows()
	if err != nil {
		return nil, fmt.Errorf("check revocations: %w", err)
	}
	defer func() { _ = rows.Close() }()
	revoked, answers := make([]bool, len(tokens)), 0
	for rows.Next() {
		var place, answer int
		if err := rows.Scan(&place, &answer); err != nil {
			return nil, fmt.Errorf("check revocations: %w", err)
		}
		revoked[place] = answer == 1
		answers++
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("check revocations: %w", err)
	}
	if answers != len(tokens) {
		return nil, fmt.Errorf("check revocations: %d answers for %d tokens", answers, len(tokens))
	}
	return revoked, nil
}

// encodeTokens returns them as rows for given. A text that no database can hold is in no table: NULL finds nothing.
func encodeTokens(tokens []revocations.Token) (string, error) {
	type row struct {
		Place      int     `json:"place"`
		JTI        *string `json:"jti"`
		ClientID   *string `json:"client_id"`
		KID        *string `json:"kid"`
		Generation int64   `json:"generation"`
	}
	known := func(text string) *string {
		if !storable(text) {
			return nil
		}
		return &text
	}
	rows := make([]row, len(tokens))
	for i, t := range tokens {
		rows[i] = row{i, known(t.JTI), known(t.ClientID), known(t.KID), t.Generation}
	}
	return encodeList(rows)
}

// Revocations implements revocations.Truth.
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

// CutOffs implements revocations.Truth.
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

// liveBatch is how many entries Live hands over at a time.
const liveBatch = 1000

// Live implements revocations.Truth: everything that Sweep has not yet to delete, read in one snapshot. Rows are handed over
// while the database still sends: there may be more than fit in memory.
func (s revocationStore) Live(ctx context.Context, batch func([]revocations.Revocation, []revocations.CutOff) error) error {
	now, args := s.db.clock()
	ended := append(args, revocations.Retention.Microseconds())
	return s.db.snapshot(ctx, func(tx *gorm.DB) error {
		if err := s.db.endFrozen(tx); err != nil {
			return err
		}
		err := inBatches(tx.Raw(`SELECT jti, client_id, expires_at, revoked_at, reason FROM revocations
			WHERE expires_at >= `+now+` - ?`, ended...), func(rows *sql.Rows) (revocations.Revocation, error) {
			var r revocationRow
			err := rows.Scan(&r.JTI, &r.ClientID, &r.ExpiresAt, &r.RevokedAt, &r.Reason)
			return r.revocation(), err
		}, func(read []revocations.Revocation) error { return batch(read, nil) })
		if err != nil {
			return err
		}
		return inBatches(tx.Raw("SELECT kind, id, generation, expires_at FROM cut_offs WHERE expires_at >= "+now+" - ?",
			ended...), func(rows *sql.Rows) (revocations.CutOff, error) {
			var r cutOffRow
			err := rows.Scan(&r.Kind, &r.ID, &r.Generation, &r.ExpiresAt)
			return r.cutOff(), err
		}, func(read []revocations.CutOff) error { return batch(nil, read) })
	})
}

// inBatches hands the rows of a query over as they come, at most liveBatch at a time.
func inBatches[D any](query *gorm.DB, scan func(*sql.Rows) (D, error), batch func([]D) error) error {
	rows, err := query.Rows()
	if err != nil {
		return fmt.Errorf("read revocations: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var read []D
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return fmt.Errorf("read revocations: %w", err)
		}
		if read = append(read, one); len(read) < liveBatch {
			continue
		}
		if err := batch(read); err != nil {
			return err
		}
		read = nil // batch may keep what it was given
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read revocations: %w", err)
	}
	if len(read) == 0 {
		return nil
	}
	return batch(read)
}

// Sweep implements revocations.Truth. The time limit is asked about twice: a row that is raised while this waits for it is
// looked at again, but not the list that it was found in.
func (s revocationStore) Sweep(ctx context.Context, limit int) (revocations.Swept, error) {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	var swept revocations.Swept
	err := s.db.transact(ctx, func(tx *gorm.DB) error {
		now, err := s.db.durable(tx, changeTimeout)
		if err != nil {
			return err
		}
		swept.Before = s.db.patient(now).Add(-revocations.Retention)
		before := swept.Before.UnixMicro()
		result := tx.Exec(`DELETE FROM revocations WHERE expires_at < ?
			AND jti IN (SELECT jti FROM revocations WHERE expires_at < ? ORDER BY expires_at LIMIT ?)`, before, before, limit)
		if result.Error != nil {
			return result.Error
		}
		swept.Revocations = int(result.RowsAffected)
		swept.CutOffs, err = readRows(tx.Raw(`DELETE FROM cut_offs WHERE expires_at < ?
			AND (kind, id) IN (SELECT kind, id FROM cut_offs WHERE expires_at < ? ORDER BY expires_at LIMIT ?)
			RETURNING kind, id, generation, expires_at`, before, before, limit), cutOffRow.cutOff)
		return err
	})
	if err != nil {
		return revocations.Swept{}, fmt.Errorf("sweep revocations: %w", err)
	}
	return swept, nil
}
