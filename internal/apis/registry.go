package apis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-1972b8eb/signet/internal/audit"
)

// Registry is the one way to change APIs and scopes: it holds the rules and names the audit events.
type Registry struct{ cfg RegistryConfig }

// RegistryConfig is what a Registry needs.
type RegistryConfig struct {
	Store Store
	// EnsureKeys makes sure that an algorithm has an active signing key before an API uses it.
	EnsureKeys func(ctx context.Context, by audit.Actor, alg Alg) error
	DefaultTTL time.Duration // lifetime of the tokens of an API that names none; 0 means DefaultTokenTTL
	MaxTTL     time.Duration // longest lifetime that may be set; 0 means MaxTokenTTL
}

// NewRegistry returns a Registry.
func NewRegistry(cfg RegistryConfig) *Registry {
	if cfg.DefaultTTL == 0 {
		cfg.DefaultTTL = DefaultTokenTTL
	}
	if cfg.MaxTTL == 0 {
		cfg.MaxTTL = MaxTokenTTL
	}
	return &Registry{cfg: cfg}
}

// Create registers an API with the scopes that it already lists. ErrTaken, ErrInvalid.
func (r *Registry) Create(ctx context.Context, by audit.Actor, a API) (*API, error) {
	now := time.Now().UTC()
	a.CreatedAt, a.UpdatedAt = now, now
	for i := range a.Scopes {
		a.Scopes[i].CreatedAt = now
	}
	if a.TokenTTL == 0 {
		a.TokenTTL = r.cfg.DefaultTTL
	}
	if err := a.validate(r.cfg.MaxTTL); err != nil {
		return nil, err
	}
	if strings.HasPrefix(a.Identifier, Reserved) {
		return nil, invalid("identifiers that begin with %s are Signet's own", Reserved)
	}
	if err := r.cfg.EnsureKeys(ctx, by, a.Alg); err != nil {
		return nil, fmt.Errorf("prepare signing keys for %s: %w", a.Alg, err)
	}
	event := audit.Event{Time: now, Actor: by, Action: "api.create", Subject: a.Identifier, Detail: map[string]any{
		"name": a.Name, "alg": string(a.Alg), "typ": string(a.Typ), "token_ttl": a.TokenTTL.String(), "scopes": a.ScopeNames(),
	}}
	if err := r.cfg.Store.CreateAPI(ctx, &a, event); err != nil {
		return nil, err
	}
	return &a, nil
}

// Change is what an Update sets; nil leaves a field as it is.
type Change struct {
	Name     *string
	Alg      *Alg
	Typ      *Typ
	TokenTTL *time.Duration
	Disabled *bool
}

// Update changes an API. The identifier never changes: it is in tokens and in other people's configuration.
func (r *Registry) Update(ctx context.Context, by audit.Actor, identifier string, c Change) (*API, error) {
	if c.Alg != nil && c.Alg.Valid() {
		_, err := r.cfg.Store.API(ctx, identifier)
		if err == nil { // or a typo would leave keys behind that nobody uses; the store says below that there is no such API
			err = r.cfg.EnsureKeys(ctx, by, *c.Alg)
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, fmt.Errorf("prepare signing keys for %s: %w", *c.Alg, err)
		}
	}
	return r.cfg.Store.UpdateAPI(ctx, identifier, func(a *API) (audit.Event, error) {
		detail := map[string]any{}
		set(&a.Name, c.Name, "name", detail)
		set(&a.Alg, c.Alg, "alg", detail)
		set(&a.Typ, c.Typ, "typ", detail)
		set(&a.Disabled, c.Disabled, "disabled", detail)
		ceiling := a.TokenTTL // what was set under an earlier, higher ceiling may stay
		if c.TokenTTL != nil {
			a.TokenTTL, ceiling = *c.TokenTTL, r.cfg.MaxTTL
			detail["token_ttl"] = a.TokenTTL.String()
		}
		return r.event(by, "api.update", a, detail), a.validate(ceiling)
	})
}

func set[T any](field, value *T, name string, detail map[string]any) {
	if value != nil {
		*field = *value
		detail[name] = *value
	}
}

func (r *Registry) event(by audit.Actor, action string, a *API, detail map[string]any) audit.Event {
	a.UpdatedAt = time.Now().UTC()
	return audit.Event{Time: a.UpdatedAt, Actor: by, Action: action, Subject: a.Identifier, Detail: detail}
}

// Delete removes an API with its scopes and every grant of it.
func (r *Registry) Delete(ctx context.Context, by audit.Actor, identifier string) error {
	event := audit.Event{Time: time.Now().UTC(), Actor: by, Action: "api.delete", Subject: identifier}
	return r.cfg.Store.DeleteAPI(ctx, identifier, event)
}

// Find returns one API, or ErrNotFound.
func (r *Registry) Find(ctx context.Context, identifier string) (*API, error) {
	return r.cfg.Store.API(ctx, identifier)
}

// List returns all APIs, ordered by identifier.
func (r *Registry) List(ctx context.Context) ([]*API, error) { return r.cfg.Store.APIs(ctx) }

// Holders counts the clients that a deletion of these scopes (none: of the whole API) would take something from.
func (r *Registry) Holders(ctx context.Context, identifier string, scopes ...string) (int, error) {
	return r.cfg.Store.Holders(ctx, identifier, scopes)
}

// CreateScope adds a scope. ErrScopeTaken, ErrNotFound, ErrInvalid.
func (r *Registry) CreateScope(ctx context.Context, by audit.Actor, identifier string, s Scope) (*API, error) {
	return r.cfg.Store.UpdateAPI(ctx, identifier, func(a *API) (audit.Event, error) {
		s.CreatedAt = time.Now().UTC()
		a.Scopes = append(a.Scopes, s)
		return r.event(by, "scope.create", a, map[string]any{"scope": s.Name}), a.validate(a.TokenTTL)
	})
}

// DeleteScope removes a scope, also from every grant; tokens of the clients that held it end at once.
func (r *Registry) DeleteScope(ctx context.Context, by audit.Actor, identifier, name string) (*API, error) {
	return r.cfg.Store.UpdateAPI(ctx, identifier, func(a *API) (audit.Event, error) {
		i := slices.IndexFunc(a.Scopes, func(s Scope) bool { return s.Name == name })
		if i < 0 {
			return audit.Event{}, fmt.Errorf("%w: %q of %s", ErrScopeNotFound, name, identifier)
		}
		a.Scopes = slices.Delete(a.Scopes, i, i+1)
		return r.event(by, "scope.delete", a, map[string]any{"scope": name}), nil
	})
}
