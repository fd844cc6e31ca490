package sqlstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/seed-1972b8eb/signet/internal/usage"
)

// usageStore keeps usage counts and last uses.
type usageStore struct{ db *DB }

type usedRow struct {
	Subject string  `json:"subject"`
	UsedAt  instant `json:"used_at"`
}

type countRow struct {
	Day      string `json:"day"`
	ClientID string `json:"client_id"`
	API      string `json:"api"`
	Tokens   int64  `json:"tokens"`
}

// AddUsage implements usage.Store: one transaction of two statements, however large the batch is. Both write their rows in
// rising order of the key, so that two replicas' flushes wait for each other and never deadlock. Clients and secrets that
// are gone leave no last use behind; their counts stay.
func (s usageStore) AddUsage(ctx context.Context, b usage.Batch) error {
	ctx, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	err := s.db.write.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if _, err := s.db.durable(tx, bulkTimeout); err != nil {
			return err
		}
		if err := s.addCounts(tx, b); err != nil {
			return err
		}
		return s.addUses(tx, b)
	})
	if err != nil {
		return fmt.Errorf("add usage: %w", err)
	}
	return nil
}

func (s usageStore) addCounts(tx *gorm.DB, b usage.Batch) error {
	if len(b.Tokens) == 0 {
		return nil
	}
	rows := make([]countRow, 0, len(b.Tokens))
	for key, tokens := range b.Tokens {
		rows = append(rows, countRow{key.Day, key.ClientID, key.API, tokens})
	}
	slices.SortFunc(rows, func(a, b countRow) int {
		return cmp.Or(cmp.Compare(a.ClientID, b.ClientID), cmp.Compare(a.Day, b.Day), cmp.Compare(a.API, b.API))
	})
	list, err := encodeList(rows)
	if err != nil {
		return err
	}
	return tx.Exec(`INSERT INTO usage_daily (day, client_id, api, tokens) SELECT day, client_id, api, tokens FROM `+
		s.db.dialect.given("day text", "client_id text", "api text", "tokens bigint")+` WHERE true
		ON CONFLICT (client_id, day, api) DO UPDATE SET tokens = usage_daily.tokens + excluded.tokens`, list).Error
}

func (s usageStore) addUses(tx *gorm.DB, b usage.Batch) error {
	if len(b.Clients)+len(b.Secrets) == 0 {
		return nil
	}
	rows := make([]usedRow, 0, len(b.Clients)+len(b.Secrets))
	for _, uses := range []map[string]time.Time{b.Clients, b.Secrets} {
		for subject, at := range uses {
			rows = append(rows, usedRow{subject, instantOf(at)})
		}
	}
	slices.SortFunc(rows, func(a, b usedRow) int { return cmp.Compare(a.Subject, b.Subject) })
	list, err := encodeList(rows)
	if err != nil {
		return err
	}
	return tx.Exec(`INSERT INTO last_used (subject, used_at) SELECT subject, used_at FROM `+
		s.db.dialect.given("subject text", "used_at bigint")+`
		WHERE EXISTS (SELECT 1 FROM clients WHERE id = subject) OR EXISTS (SELECT 1 FROM client_secrets WHERE id = subject)
		ON CONFLICT (subject) DO UPDATE SET used_at = `+s.db.dialect.greatest+`(last_used.used_at, excluded.used_at)`, list).Error
}
