package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"gorm.io/gorm"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/registry"
	"github.com/seed-1972b8eb/signet/internal/revocations"
)

// clientStore keeps clients with their secrets and grants.
type clientStore struct{ db *DB }

// clientQuery is the one statement that reads a client whole: what a miss of the cache costs. Every look-up in it is by an
// index, so it costs the same among a hundred clients and among a million.
func clientQuery(d dialect) string {
	secrets := d.listOf([]string{
		"id s.id", "position", "hint", "digest", "created_at", "expires_at", "replaced_by", "old_expiry", "used_at u.used_at",
	}, "position", "client_secrets s LEFT JOIN last_used u ON u.subject = s.id WHERE s.client_id = c.id")
	grants := d.listOf([]string{"api", "scope", "is_default"}, "api, scope", "client_grants g WHERE g.client_id = c.id")
	introspects := d.listOf([]string{"api"}, "api", "client_introspects i WHERE i.client_id = c.id")
	return "SELECT c.id, c.name, c.owner, c.labels, c.auth_method, c.jwks, c.jwks_uri, c.allow_cidrs, c.token_ttl_ns, c.claims, " +
		"c.expires_at, c.disabled, c.generation, c.created_at, c.updated_at, " +
		"(SELECT used_at FROM last_used WHERE subject = c.id) AS used_at, " +
		secrets + " AS secrets, " + grants + " AS grants, " + introspects + " AS introspects FROM clients c "
}

// Client implements clients.Store.
func (s clientStore) Client(ctx context.Context, id string) (*clients.Client, error) {
	return s.find(ctx, id, "WHERE c.id = ?", id)
}

// FindClient implements clients.Store. Where one client's name is another's ID, the ID wins.
func (s clientStore) FindClient(ctx context.Context, idOrName string) (*clients.Client, error) {
	return s.find(ctx, idOrName, "WHERE c.id = ? OR c.name = ? ORDER BY CASE WHEN c.id = ? THEN 0 ELSE 1 END LIMIT 1",
		idOrName, idOrName, idOrName)
}

func (s clientStore) find(ctx context.Context, text, where string, args ...any) (*clients.Client, error) {
	if !storable(text) {
		return nil, clients.ErrNotFound
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return readClient(s.db.dialect, s.db.read.WithContext(ctx), where, args...)
}

func readClient(d dialect, tx *gorm.DB, where string, args ...any) (*clients.Client, error) {
	var records []clientRecord
	if err := tx.Raw(clientQuery(d)+where, args...).Scan(&records).Error; err != nil {
		return nil, fmt.Errorf("read client: %w", err)
	}
	if len(records) == 0 {
		return nil, clients.ErrNotFound
	}
	return records[0].client()
}

// Clients implements clients.Store.
func (s clientStore) Clients(ctx context.Context, f clients.Filter) ([]*clients.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	where := "WHERE c.id > ?"
	args := []any{f.After}
	storables := storable(f.After) && storable(f.Name)
	if f.Name != "" {
		// A range instead of LIKE: it needs no escaping, and the index on the name serves it in both databases.
		where += " AND c.name >= ? AND c.name < ?"
		args = append(args, f.Name, f.Name+"\U0010FFFF")
	}
	for _, key := range slices.Sorted(maps.Keys(f.Labels)) {
		where += " AND " + s.db.dialect.label //nolint:modernize // a handful at most
		args = append(args, key, f.Labels[key])
		storables = storables && storable(key) && storable(f.Labels[key])
	}
	if !storables {
		return nil, nil
	}
	var records []clientRecord
	err := s.db.read.WithContext(ctx).Raw(clientQuery(s.db.dialect)+where+" ORDER BY c.id LIMIT ?",
		append(args, pageSize(f.Limit))...).Scan(&records).Error
	if err != nil {
		return nil, fmt.Errorf("list clients: %w", err)
	}
	out := make([]*clients.Client, len(records))
	for i := range records {
		if out[i], err = records[i].client(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// CreateClient implements clients.Store.
func (s clientStore) CreateClient(ctx context.Context, client *clients.Client, e audit.Event) error {
	return s.db.change(ctx, changeTimeout, func(c *change) (audit.Event, error) {
		row, err := clientRowOf(client)
		if err != nil {
			return e, err
		}
		if err := c.tx.Create(&row).Error; err != nil {
			return e, clientError("create client", err)
		}
		c.changed(registry.ClientChanged, client.ID)
		return e, c.storeParts(&clients.Client{}, client)
	})
}

// UpdateClient implements clients.Store.
func (s clientStore) UpdateClient(ctx context.Context, id string, update func(*clients.Client) (audit.Event, error)) (*clients.Client, error) {
	if !storable(id) {
		return nil, clients.ErrNotFound
	}
	var after *clients.Client
	err := s.db.change(ctx, changeTimeout, func(c *change) (audit.Event, error) {
		before, err := readClient(c.db.dialect, c.tx, "WHERE c.id = ?", id)
		if err != nil {
			return audit.Event{}, err
		}
		edited := before.Clone()
		event, err := update(edited)
		if err != nil || event.Action == "" {
			after = before
			return event, err
		}
		if err := c.storeClient(before, edited); err != nil {
			return event, err
		}
		after, err = readClient(c.db.dialect, c.tx, "WHERE c.id = ?", id)
		return event, err
	})
	if err != nil {
		return nil, err
	}
	return after, nil
}

// storeClient writes what differs, and the cut-off where the generation rose.
func (c *change) storeClient(before, after *clients.Client) error {
	if after.ID != before.ID {
		return fmt.Errorf("%w: its ID never changes", clients.ErrInvalid)
	}
	if after.Generation < before.Generation {
		return fmt.Errorf("%w: generation %d would sink to %d", clients.ErrInvalid, before.Generation, after.Generation)
	}
	row, err := clientRowOf(after)
	if err != nil {
		return err
	}
	if err := c.tx.Select("*").Updates(&row).Error; err != nil {
		return clientError("store client", err)
	}
	c.changed(registry.ClientChanged, after.ID)
	if after.Generation > before.Generation {
		c.cut(revocations.ByClient, after.ID, after.Generation)
	}
	return c.storeParts(before, after)
}

// DeleteClient implements clients.Store.
func (s clientStore) DeleteClient(ctx context.Context, id string, e audit.Event) error {
	if !storable(id) {
		return clients.ErrNotFound
	}
	return s.db.change(ctx, changeTimeout, func(c *change) (audit.Event, error) {
		if err := c.forgetUses("subject = ? OR subject IN (SELECT id FROM client_secrets WHERE client_id = ?)", id, id); err != nil {
			return e, err
		}
		for _, table := range []string{"client_secrets", "client_grants", "client_introspects"} {
			if err := c.tx.Exec("DELETE FROM "+table+" WHERE client_id = ?", id).Error; err != nil {
				return e, fmt.Errorf("delete %s: %w", table, err)
			}
		}
		result := c.tx.Exec("DELETE FROM clients WHERE id = ?", id)
		if result.Error != nil {
			return e, fmt.Errorf("delete client: %w", result.Error)
		}
		if result.RowsAffected == 0 {
			return e, clients.ErrNotFound
		}
		c.changed(registry.ClientChanged, id)
		c.cut(revocations.ByClient, id, revocations.Everything)
		return e, nil
	})
}

// clientError names what the domain knows. The name is the only thing of a client that an admin chooses and that is unique;
// what a client refers to are scopes and APIs.
func clientError(doing string, err error) error {
	switch {
	case errors.Is(err, gorm.ErrDuplicatedKey):
		return clients.ErrNameTaken
	case errors.Is(err, gorm.ErrForeignKeyViolated):
		return fmt.Errorf("%w: an API or scope that it names does not exist", clients.ErrInvalid)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
