package sqlstore

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/registry"
	"github.com/seed-1972b8eb/signet/internal/revocations"
)

// dropScopes removes scopes and their grants, and cuts off every client that held one.
func (c *change) dropScopes(api string, scopes map[string]scopeRow) error {
	names := slices.Sorted(maps.Keys(scopes))
	if err := c.cutHolders("api = ? AND scope IN ?", api, names); err != nil {
		return err
	}
	if err := c.tx.Exec("DELETE FROM client_grants WHERE api = ? AND scope IN ?", api, names).Error; err != nil {
		return fmt.Errorf("delete grants of scopes: %w", err)
	}
	if err := c.tx.Exec("DELETE FROM api_scopes WHERE api = ? AND name IN ?", api, names).Error; err != nil {
		return fmt.Errorf("delete scopes: %w", err)
	}
	return nil
}

// cutHolders raises the generation of the clients that hold a grant, and cuts their tokens off.
func (c *change) cutHolders(grants string, args ...any) error {
	var rows []struct {
		ID         string
		Generation int64
	}
	err := c.tx.Raw("UPDATE clients SET generation = generation + 1, updated_at = ? WHERE id IN "+
		"(SELECT client_id FROM client_grants WHERE "+grants+") RETURNING id, generation",
		append([]any{instantOf(c.now)}, args...)...).Scan(&rows).Error
	if err != nil {
		return fmt.Errorf("raise generations of holders: %w", err)
	}
	for _, row := range rows {
		c.changed(registry.ClientChanged, row.ID)
		c.cut(revocations.ByClient, row.ID, row.Generation)
	}
	return nil
}

// DeleteAPI implements apis.Store. Clients that could introspect its tokens no longer can; an API that is made later under
// the same identifier does not give it back to them.
func (s apiStore) DeleteAPI(ctx context.Context, identifier string, e audit.Event) error {
	return s.db.change(ctx, bulkTimeout, func(c *change) (audit.Event, error) {
		if _, err := readAPI(c.db.dialect, c.tx, identifier); err != nil {
			return e, err
		}
		if err := c.cutHolders("api = ?", identifier); err != nil {
			return e, err
		}
		var introspecting []string
		err := c.tx.Raw("DELETE FROM client_introspects WHERE api = ? RETURNING client_id", identifier).Scan(&introspecting).Error
		if err != nil {
			return e, fmt.Errorf("delete introspection rights: %w", err)
		}
		for _, id := range introspecting {
			c.changed(registry.ClientChanged, id)
		}
		for _, statement := range []string{
			"DELETE FROM client_grants WHERE api = ?", "DELETE FROM api_scopes WHERE api = ?", "DELETE FROM apis WHERE identifier = ?",
		} {
			if err := c.tx.Exec(statement, identifier).Error; err != nil {
				return e, fmt.Errorf("delete API: %w", err)
			}
		}
		c.changed(registry.APIChanged, identifier)
		return e, nil
	})
}

// Holders implements apis.Store.
func (s apiStore) Holders(ctx context.Context, identifier string, scopes []string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	if _, err := readAPI(s.db.dialect, s.db.read.WithContext(ctx), identifier); err != nil {
		return 0, err
	}
	query := s.db.read.WithContext(ctx).Table("client_grants").Where("api = ?", identifier)
	if len(scopes) > 0 {
		query = query.Where("scope IN ?", scopes)
	}
	var holders int64
	if err := query.Distinct("client_id").Count(&holders).Error; err != nil {
		return 0, fmt.Errorf("count holders: %w", err)
	}
	return int(holders), nil
}

var _ apis.Store = apiStore{}
