package sqlstore

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/registry"
	"github.com/seed-1972b8eb/signet/internal/revocations"
)

// keyRow is a row of signing_keys.
type keyRow struct {
	KID           string `gorm:"column:kid;primaryKey"`
	Alg           string
	State         string
	PublicJWK     string `gorm:"column:public_jwk"`
	Sealed        string
	MasterVersion int64
	Created       instant `gorm:"column:created_at"`
	PublishedAt   instant
	ActivatedAt   instant
	RetiringAt    instant
	EndedAt       instant
}

// TableName implements gorm's Tabler.
func (keyRow) TableName() string { return "signing_keys" }

func keyRowOf(r keys.Record) keyRow {
	return keyRow{
		KID: r.KID, Alg: string(r.Alg), State: string(r.State), PublicJWK: string(r.PublicJWK),
		Sealed: base64.RawURLEncoding.EncodeToString(r.Sealed), MasterVersion: int64(r.MasterVersion),
		Created: instantOf(r.CreatedAt), PublishedAt: instantOf(r.PublishedAt), ActivatedAt: instantOf(r.ActivatedAt),
		RetiringAt: instantOf(r.RetiringAt), EndedAt: instantOf(r.EndedAt),
	}
}

// record converts a row. A private part that is no base64 comes back empty: the Ring names such a key as one that it cannot
// unseal, and the other keys go on working.
func (r keyRow) record() keys.Record {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(r.Sealed)
	if err != nil || len(sealed) == 0 {
		sealed = nil
	}
	return keys.Record{
		KID: r.KID, Alg: apis.Alg(r.Alg), State: keys.State(r.State), PublicJWK: []byte(r.PublicJWK), Sealed: sealed,
		MasterVersion: int(r.MasterVersion), CreatedAt: r.Created.time(), PublishedAt: r.PublishedAt.time(),
		ActivatedAt: r.ActivatedAt.time(), RetiringAt: r.RetiringAt.time(), EndedAt: r.EndedAt.time(),
	}
}

// keyStore keeps the signing keys.
type keyStore struct{ db *DB }

// KeySet implements keys.Store.
func (s keyStore) KeySet(ctx context.Context) (*keys.Set, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	set := &keys.Set{}
	rows, err := s.db.readKeys(s.db.read.WithContext(ctx), set)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		set.Keys = append(set.Keys, row.record())
	}
	return set, nil
}

// readKeys reads every key, oldest first, and the set's version and time, in one statement.
func (db *DB) readKeys(tx *gorm.DB, set *keys.Set) ([]keyRow, error) {
	var rows []struct {
		KeysVersion int64
		ReadAt      int64
		Found       bool
		Key         keyRow `gorm:"embedded"`
	}
	err := tx.Raw("SELECT " + db.dialect.now + ` AS read_at, e.keys_version, k.kid IS NOT NULL AS found, k.kid, k.alg, k.state,
		k.public_jwk, k.sealed, k.master_version, k.created_at, k.published_at, k.activated_at, k.retiring_at, k.ended_at
		FROM registry_epoch e LEFT JOIN signing_keys k ON true ORDER BY k.created_at, k.kid`).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read signing keys: %w", err)
	}
	set.Now = time.Now().UTC().Truncate(time.Microsecond)
	var found []keyRow
	for _, row := range rows {
		set.Version = row.KeysVersion
		if row.ReadAt != 0 {
			set.Now = instant(row.ReadAt).time()
		}
		if row.Found {
			found = append(found, row.Key)
		}
	}
	return found, nil
}

// UpdateKeySet implements keys.Store.
func (s keyStore) UpdateKeySet(ctx context.Context, update func(*keys.Set) (audit.Event, error)) error {
	return s.db.change(ctx, changeTimeout, func(c *change) (audit.Event, error) {
		set := &keys.Set{}
		rows, err := s.db.readKeys(c.tx, set)
		if err != nil {
			return audit.Event{}, err
		}
		before := make(map[string]keyRow, len(rows))
		for _, row := range rows {
			record := row.record()
			before[row.KID] = keyRowOf(record)
			set.Keys = append(set.Keys, record)
		}
		event, err := update(set)
		if err != nil || event.Action == "" {
			return event, err
		}
		c.keysRaised = 1
		c.changed(registry.KeysChanged, "")
		return event, c.storeKeys(before, set.Keys)
	})
}

// storeKeys writes the rows that are new or differ, and deletes those that are gone. The keys that stop being active are
// written before those that become it, because never two are active for one algorithm.
func (c *change) storeKeys(before map[string]keyRow, records []keys.Record) error {
	gone := maps.Clone(before)
	var stopping, starting []keyRow
	for _, record := range records {
		row := keyRowOf(record)
		old, known := before[row.KID]
		delete(gone, row.KID)
		if known && old == row {
			continue
		}
		if record.State == keys.Compromised && old.State != string(keys.Compromised) {
			c.cut(revocations.ByKey, record.KID, revocations.Everything)
		}
		if record.State == keys.Active {
			starting = append(starting, row)
		} else {
			stopping = append(stopping, row)
		}
	}
	for _, kid := range slices.Sorted(maps.Keys(gone)) {
		if err := c.tx.Delete(&keyRow{KID: kid}).Error; err != nil {
			return fmt.Errorf("delete signing key %s: %w", kid, err)
		}
	}
	for _, row := range append(stopping, starting...) {
		if err := c.tx.Save(&row).Error; err != nil {
			return fmt.Errorf("store signing key %s: %w", row.KID, err)
		}
	}
	return nil
}
