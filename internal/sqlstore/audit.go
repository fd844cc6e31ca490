package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/seed-1972b8eb/signet/internal/audit"
)

// eventRow is a row of audit_events.
type eventRow struct {
	ID        int64 `gorm:"primaryKey"`
	At        instant
	Actor     string
	RequestID string
	Source    string
	Action    string
	Subject   string
	ClientID  string
	Detail    string
}

// TableName implements gorm's Tabler.
func (eventRow) TableName() string { return "audit_events" }

func (r eventRow) event() (audit.Event, error) {
	e := audit.Event{
		ID: r.ID, Time: r.At.time(), Action: r.Action, Subject: r.Subject, ClientID: r.ClientID,
		Actor: audit.Actor{ID: r.Actor, RequestID: r.RequestID, Source: r.Source},
	}
	if err := json.Unmarshal([]byte(r.Detail), &e.Detail); err != nil {
		return audit.Event{}, fmt.Errorf("read audit event %d: %w", r.ID, err)
	}
	if len(e.Detail) == 0 {
		e.Detail = nil
	}
	return e, nil
}

// writeEvent writes an event in the transaction of its change.
func writeEvent(tx *gorm.DB, e audit.Event, now time.Time) error {
	if e.Time.IsZero() {
		e.Time = now
	}
	detail, err := encodeMap(e.Detail)
	if err != nil {
		return err
	}
	row := eventRow{
		At: instantOf(e.Time), Actor: e.Actor.ID, RequestID: e.Actor.RequestID, Source: e.Actor.Source,
		Action: e.Action, Subject: e.Subject, ClientID: e.ClientID, Detail: detail,
	}
	if err := tx.Create(&row).Error; err != nil {
		return fmt.Errorf("write audit event: %w", err)
	}
	return nil
}

// trail reads the events.
type trail struct{ db *DB }

// Events implements audit.Trail.
func (t trail) Events(ctx context.Context, f audit.Filter) ([]audit.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	query := t.db.read.WithContext(ctx).Order("id DESC").Limit(pageSize(f.Limit))
	if f.Subject != "" {
		query = query.Where("subject = ?", f.Subject)
	}
	if f.Action != "" {
		query = query.Where("action = ?", f.Action)
	}
	if f.Before > 0 {
		query = query.Where("id < ?", f.Before)
	}
	if !storable(f.Subject) || !storable(f.Action) {
		return nil, nil
	}
	var rows []eventRow
	if err := query.Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("list audit events: %w", err)
	}
	events := make([]audit.Event, len(rows))
	for i, row := range rows {
		var err error
		if events[i], err = row.event(); err != nil {
			return nil, err
		}
	}
	return events, nil
}

// pageSize is how many rows a listing returns: limit, 100 when it is 0, never more than 1000.
func pageSize(limit int) int {
	if limit <= 0 {
		return 100
	}
	return min(limit, 1000)
}
