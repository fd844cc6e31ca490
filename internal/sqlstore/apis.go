package sqlstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/registry"
)

// apiRow is a row of apis.
type apiRow struct {
	Identifier string `gorm:"primaryKey"`
	Name       string
	Alg        string
	Typ        string
	TokenTTL   int64 `gorm:"column:token_ttl_ns"`
	Disabled   int64
	Created    instant `gorm:"column:created_at"`
	Updated    instant `gorm:"column:updated_at"`
}

// TableName implements gorm's Tabler.
func (apiRow) TableName() string { return "apis" }

// scopeRow is a row of api_scopes; its JSON form is how the database lists them beside their API.
type scopeRow struct {
	API         string  `gorm:"column:api;primaryKey" json:"-"`
	Name        string  `gorm:"primaryKey" json:"name"`
	Description string  `json:"description"`
	ScopeGroup  string  `json:"scope_group"`
	Kind        string  `json:"kind"`
	Routes      string  `json:"routes"`
	Created     instant `gorm:"column:created_at" json:"created_at"`
}

// TableName implements gorm's Tabler.
func (scopeRow) TableName() string { return "api_scopes" }

// routeText is a route as it is stored.
type routeText struct {
	Method string `json:"method"`
	Path   string `json:"path"`
}

func apiRowOf(a *apis.API) apiRow {
	return apiRow{
		Identifier: a.Identifier, Name: a.Name, Alg: string(a.Alg), Typ: string(a.Typ), TokenTTL: int64(a.TokenTTL),
		Disabled: flag(a.Disabled), Created: instantOf(a.CreatedAt), Updated: instantOf(a.UpdatedAt),
	}
}

func scopeRowOf(api string, s apis.Scope) (scopeRow, error) {
	routes := make([]routeText, len(s.Routes))
	for i, r := range s.Routes {
		routes[i] = routeText(r)
	}
	text, err := encodeList(routes)
	return scopeRow{
		API: api, Name: s.Name, Description: s.Description, ScopeGroup: s.Group, Kind: string(s.Kind), Routes: text,
		Created: instantOf(s.CreatedAt),
	}, err
}

func (r scopeRow) scope() (apis.Scope, error) {
	s := apis.Scope{
		Name: r.Name, Description: r.Description, Group: r.ScopeGroup, Kind: apis.ScopeKind(r.Kind), CreatedAt: r.Created.time(),
	}
	var routes []routeText
	if err := json.Unmarshal([]byte(r.Routes), &routes); err != nil {
		return s, fmt.Errorf("read routes of scope %q: %w", r.Name, err)
	}
	for _, route := range routes {
		s.Routes = append(s.Routes, apis.Route(route))
	}
	return s, nil
}

// apiStore keeps APIs and their scopes.
type apiStore struct{ db *DB }

// API implements apis.Store.
func (s apiStore) API(ctx context.Context, identifier string) (*apis.API, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return readAPI(s.db.dialect, s.db.read.WithContext(ctx), identifier)
}

func readAPI(d dialect, tx *gorm.DB, identifier string) (*apis.API, error) {
	if !storable(identifier) {
		return nil, apis.ErrNotFound
	}
	found, err := readAPIs(d, tx, "WHERE a.identifier = ?", identifier)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, apis.ErrNotFound
	}
	return found[0], nil
}

// APIs implements apis.Store.
func (s apiStore) APIs(ctx context.Context) ([]*apis.API, error) {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	return readAPIs(s.db.dialect, s.db.read.WithContext(ctx), "ORDER BY a.identifier")
}

// readAPIs reads APIs with their scopes in one statement.
func readAPIs(d dialect, tx *gorm.DB, rest string, args ...any) ([]*apis.API, error) {
	scopes := d.listOf([]string{"name", "description", "scope_group", "kind", "routes", "created_at"}, "name",
		"api_scopes s WHERE s.api = a.identifier")
	var rows []struct {
		API    apiRow `gorm:"embedded"`
		Scopes string
	}
	err := tx.Raw("SELECT a.identifier, a.name, a.alg, a.typ, a.token_ttl_ns, a.disabled, a.created_at, a.updated_at, "+scopes+
		" AS scopes FROM apis a "+rest, args...).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read APIs: %w", err)
	}
	out := make([]*apis.API, len(rows))
	for i, row := range rows {
		if out[i], err = row.API.api(row.Scopes); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (r apiRow) api(scopes string) (*apis.API, error) {
	a := &apis.API{
		Identifier: r.Identifier, Name: r.Name, Alg: apis.Alg(r.Alg), Typ: apis.Typ(r.Typ), TokenTTL: time.Duration(r.TokenTTL),
		Disabled: r.Disabled != 0, CreatedAt: r.Created.time(), UpdatedAt: r.Updated.time(),
	}
	var rows []scopeRow
	if err := json.Unmarshal([]byte(scopes), &rows); err != nil {
		return nil, fmt.Errorf("read scopes of %q: %w", r.Identifier, err)
	}
	for _, row := range rows {
		scope, err := row.scope()
		if err != nil {
			return nil, err
		}
		a.Scopes = append(a.Scopes, scope)
	}
	return a, nil
}

// CreateAPI implements apis.Store.
func (s apiStore) CreateAPI(ctx context.Context, a *apis.API, e audit.Event) error {
	return s.db.change(ctx, changeTimeout, func(c *change) (audit.Event, error) {
		row := apiRowOf(a)
		if err := c.tx.Create(&row).Error; err != nil {
			return e, apiError("create API", err)
		}
		c.changed(registry.APIChanged, a.Identifier)
		return e, c.addScopes(a.Identifier, a.Scopes)
	})
}

func (c *change) addScopes(api string, scopes []apis.Scope) error {
	for _, scope := range scopes {
		row, err := scopeRowOf(api, scope)
		if err != nil {
			return err
		}
		err = c.tx.Create(&row).Error
		if errors.Is(err, gorm.ErrDuplicatedKey) {
			return fmt.Errorf("%w: %s", apis.ErrScopeTaken, scope.Name)
		}
		if err != nil {
			return fmt.Errorf("store scope %q: %w", scope.Name, err)
		}
	}
	return nil
}

// UpdateAPI implements apis.Store.
func (s apiStore) UpdateAPI(ctx context.Context, identifier string, update func(*apis.API) (audit.Event, error)) (*apis.API, error) {
	var after *apis.API
	err := s.db.change(ctx, bulkTimeout, func(c *change) (audit.Event, error) {
		before, err := readAPI(c.db.dialect, c.tx, identifier)
		if err != nil {
			return audit.Event{}, err
		}
		if after, err = readAPI(c.db.dialect, c.tx, identifier); err != nil {
			return audit.Event{}, err
		}
		event, err := update(after)
		if err != nil {
			return event, err
		}
		if after.Identifier != identifier {
			return event, fmt.Errorf("%w: its identifier never changes", apis.ErrInvalid)
		}
		row := apiRowOf(after)
		if err := c.tx.Select("*").Updates(&row).Error; err != nil {
			return event, apiError("store API", err)
		}
		c.changed(registry.APIChanged, identifier)
		if err := c.storeScopes(identifier, before.Scopes, after.Scopes); err != nil {
			return event, err
		}
		after, err = readAPI(c.db.dialect, c.tx, identifier)
		return event, err
	})
	if err != nil {
		return nil, err
	}
	return after, nil
}

// storeScopes makes the stored scopes of an API equal to after. A scope that goes takes its grants with it.
func (c *change) storeScopes(api string, before, after []apis.Scope) error {
	old := make(map[string]scopeRow, len(before))
	for _, scope := range before {
		row, err := scopeRowOf(api, scope)
		if err != nil {
			return err
		}
		old[scope.Name] = row
	}
	var added []apis.Scope
	for _, scope := range after {
		row, err := scopeRowOf(api, scope)
		if err != nil {
			return err
		}
		known, found := old[scope.Name]
		delete(old, scope.Name)
		switch {
		case !found:
			added = append(added, scope)
		case known != row:
			if err := c.tx.Select("*").Updates(&row).Error; err != nil {
				return fmt.Errorf("store scope %q: %w", scope.Name, err)
			}
		}
	}
	if len(old) > 0 {
		if err := c.dropScopes(api, old); err != nil {
			return err
		}
	}
	return c.addScopes(api, added)
}

// apiError names what the domain knows.
func apiError(doing string, err error) error {
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return apis.ErrTaken
	}
	return fmt.Errorf("%s: %w", doing, err)
}
