package clients

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/credential"
)

// APIs looks APIs up for the rules that grants must hold. apis.ErrNotFound when there is none.
type APIs interface {
	API(ctx context.Context, identifier string) (*apis.API, error)
}

// Registry is the one way to change clients and their secrets: it holds the rules and names the audit events.
type Registry struct{ cfg RegistryConfig }

// RegistryConfig is what a Registry needs.
type RegistryConfig struct {
	Store  Store
	APIs   APIs
	Pepper *credential.Pepper
	MaxTTL time.Duration // longest token lifetime that may be set; 0 means apis.MaxTokenTTL
	// AllowCIDRs are the networks that a jwks_uri may lead to although they are not public.
	AllowCIDRs []netip.Prefix
}

// NewRegistry returns a Registry.
func NewRegistry(cfg RegistryConfig) *Registry {
	if cfg.MaxTTL == 0 {
		cfg.MaxTTL = apis.MaxTokenTTL
	}
	return &Registry{cfg: cfg}
}

// New is what a client is created with; see Client for the meaning of each field.
type New struct {
	Name            string
	Owner           string
	Labels          map[string]string
	AuthMethod      AuthMethod
	JWKS            []byte
	JWKSURI         string
	Grants          []Grant
	Introspects     []string
	AllowCIDRs      []netip.Prefix
	TokenTTL        time.Duration
	Claims          map[string]any
	ExpiresAt       time.Time // of the client; zero: never
	SecretExpiresAt time.Time // of its first secret; zero: never
}

// Create registers a client and, unless it authenticates by key, makes its first secret. The secret is returned here and
// never again. ErrNameTaken, ErrInvalid.
func (r *Registry) Create(ctx context.Context, by audit.Actor, n New) (*Client, credential.Secret, error) {
	now := time.Now().UTC()
	c := &Client{
		ID: "client_" + credential.Base62(20), Name: n.Name, Owner: n.Owner, Labels: n.Labels, AuthMethod: n.AuthMethod,
		JWKS: n.JWKS, JWKSURI: n.JWKSURI, Grants: n.Grants, Introspects: n.Introspects, AllowCIDRs: n.AllowCIDRs,
		TokenTTL: n.TokenTTL, Claims: n.Claims, ExpiresAt: n.ExpiresAt, Generation: 1, CreatedAt: now, UpdatedAt: now,
	}
	if err := r.checkTTL(n.TokenTTL); err != nil {
		return nil, credential.Secret{}, err
	}
	if err := inFuture("client", n.ExpiresAt, now); err != nil {
		return nil, credential.Secret{}, err
	}
	var secret credential.Secret
	if c.AuthMethod != PrivateKeyJWT {
		var err error
		if secret, err = r.addSecret(c, n.SecretExpiresAt, now); err != nil {
			return nil, credential.Secret{}, err
		}
	}
	if err := c.validate(r.cfg.AllowCIDRs); err != nil {
		return nil, credential.Secret{}, err
	}
	if err := r.checkGrants(ctx, c); err != nil {
		return nil, credential.Secret{}, err
	}
	event := audit.Event{Time: now, Actor: by, Action: "client.create", Subject: c.ID, ClientID: c.ID, Detail: describe(c)}
	if err := r.cfg.Store.CreateClient(ctx, c, event); err != nil {
		return nil, credential.Secret{}, err
	}
	return c, secret, nil
}

func describe(c *Client) map[string]any {
	grants := map[string]any{}
	for _, g := range c.Grants {
		grants[g.API] = g.Scopes
	}
	return map[string]any{"name": c.Name, "auth_method": string(c.AuthMethod), "grants": grants, "introspects": c.Introspects}
}

// checkGrants makes sure that what is granted exists, so that a typo is found now and not at the first token.
func (r *Registry) checkGrants(ctx context.Context, c *Client) error {
	for _, g := range c.Grants {
		a, err := r.knownAPI(ctx, g.API)
		if err != nil {
			return err
		}
		for _, scope := range g.Scopes {
			if !a.HasScope(scope) {
				return invalid("%s has no scope %q; it has %q", g.API, scope, a.ScopeNames())
			}
		}
	}
	for _, identifier := range c.Introspects {
		if _, err := r.knownAPI(ctx, identifier); err != nil {
			return err
		}
	}
	return nil
}

func (r *Registry) knownAPI(ctx context.Context, identifier string) (*apis.API, error) {
	a, err := r.cfg.APIs.API(ctx, identifier)
	if errors.Is(err, apis.ErrNotFound) {
		return nil, invalid("there is no API %q", identifier)
	}
	return a, err
}

// Change is what an Update sets; nil leaves a field as it is.
type Change struct {
	Name        *string
	Owner       *string
	Labels      *map[string]string
	JWKS        *[]byte
	JWKSURI     *string
	Grants      *[]Grant
	Introspects *[]string
	AllowCIDRs  *[]netip.Prefix
	TokenTTL    *time.Duration
	Claims      *map[string]any
	ExpiresAt   *time.Time // the zero time: never
}

// Update changes a client. Taking a granted scope away raises the generation: tokens that carry it end at once.
func (r *Registry) Update(ctx context.Context, by audit.Actor, idOrName string, change Change) (*Client, error) {
	return r.update(ctx, by, idOrName, "client.update", func(c *Client) (map[string]any, error) {
		before := c.Clone()
		detail := change.apply(c)
		if change.TokenTTL != nil {
			if err := r.checkTTL(c.TokenTTL); err != nil {
				return nil, err
			}
		}
		if change.ExpiresAt != nil {
			if err := inFuture("client", c.ExpiresAt, time.Now()); err != nil {
				return nil, err
			}
		}
		if err := c.validate(r.cfg.AllowCIDRs); err != nil {
			return nil, err
		}
		if change.Grants != nil || change.Introspects != nil {
			if err := r.checkGrants(ctx, c); err != nil {
				return nil, err
			}
		}
		if reduced(before, c) {
			c.Generation++
			detail["generation"] = c.Generation
		}
		return detail, nil
	})
}

// apply sets what the change sets, and returns what the audit trail says of it: no keys and no values of claims.
func (change Change) apply(c *Client) map[string]any {
	detail := map[string]any{}
	set(&c.Name, change.Name, "name", detail)
	set(&c.Owner, change.Owner, "owner", detail)
	set(&c.Labels, change.Labels, "labels", detail)
	set(&c.JWKS, change.JWKS, "", detail)
	set(&c.JWKSURI, change.JWKSURI, "jwks_uri", detail)
	set(&c.Grants, change.Grants, "", detail)
	set(&c.Introspects, change.Introspects, "introspects", detail)
	set(&c.AllowCIDRs, change.AllowCIDRs, "", detail)
	set(&c.TokenTTL, change.TokenTTL, "token_ttl", detail)
	set(&c.Claims, change.Claims, "", detail)
	set(&c.ExpiresAt, change.ExpiresAt, "expires_at", detail)
	if change.JWKS != nil {
		detail["jwks"] = "replaced"
	}
	if change.Grants != nil {
		detail["grants"] = describe(c)["grants"]
	}
	if change.Claims != nil {
		detail["claims"] = slices.Sorted(maps.Keys(c.Claims))
	}
	if change.AllowCIDRs != nil {
		detail["allow_cidrs"] = fmt.Sprint(c.AllowCIDRs)
	}
	return detail
}

func set[T any](field, value *T, name string, detail map[string]any) {
	if value == nil {
		return
	}
	*field = *value
	if name != "" {
		detail[name] = *value
	}
}

// reduced reports whether after lacks a scope that before was granted.
func reduced(before, after *Client) bool {
	for _, g := range before.Grants {
		now, _ := after.Grant(g.API)
		for _, scope := range g.Scopes {
			if !now.Has(scope) {
				return true
			}
		}
	}
	return false
}

// Disable stops a client: no new tokens, and the ones that live end at once. Disabling twice is no error.
func (r *Registry) Disable(ctx context.Context, by audit.Actor, idOrName, reason string) (*Client, error) {
	return r.update(ctx, by, idOrName, "client.disable", func(c *Client) (map[string]any, error) {
		c.Disabled = true
		c.Generation++
		return map[string]any{"generation": c.Generation, "reason": reason}, nil
	})
}

// Enable lets a client ask for tokens again. Tokens from before stay dead.
func (r *Registry) Enable(ctx context.Context, by audit.Actor, idOrName string) (*Client, error) {
	return r.update(ctx, by, idOrName, "client.enable", func(c *Client) (map[string]any, error) {
		c.Disabled = false
		return nil, nil
	})
}

// CutOff ends every token issued to the client so far. The client goes on.
func (r *Registry) CutOff(ctx context.Context, by audit.Actor, idOrName, reason string) (*Client, error) {
	return r.update(ctx, by, idOrName, "revocation.cut-off", func(c *Client) (map[string]any, error) {
		c.Generation++
		return map[string]any{"generation": c.Generation, "reason": reason}, nil
	})
}

// Delete removes a client for ever: its ID is not used again, its tokens end at once.
func (r *Registry) Delete(ctx context.Context, by audit.Actor, idOrName string) error {
	c, err := r.find(ctx, idOrName)
	if err != nil {
		return err
	}
	event := audit.Event{
		Time: time.Now().UTC(), Actor: by, Action: "client.delete", Subject: c.ID, ClientID: c.ID, Detail: map[string]any{"name": c.Name},
	}
	return r.cfg.Store.DeleteClient(ctx, c.ID, event)
}

// find looks a client up that is to be changed. Where there is none, the store says so when it is asked for the change: an
// attempt before this one may have deleted it and died before the end of its tokens was known everywhere, and the store makes
// sure of that before it answers.
func (r *Registry) find(ctx context.Context, idOrName string) (*Client, error) {
	c, err := r.cfg.Store.FindClient(ctx, idOrName)
	if errors.Is(err, ErrNotFound) {
		return &Client{ID: idOrName}, nil
	}
	return c, err
}

// Find returns the client with this ID or name.
func (r *Registry) Find(ctx context.Context, idOrName string) (*Client, error) {
	return r.cfg.Store.FindClient(ctx, idOrName)
}

// List lists by rising ID.
func (r *Registry) List(ctx context.Context, f Filter) ([]*Client, error) {
	return r.cfg.Store.Clients(ctx, f)
}

// update runs change on the record inside the store's transaction and names the event.
func (r *Registry) update(ctx context.Context, by audit.Actor, idOrName, action string, change func(*Client) (map[string]any, error)) (*Client, error) {
	found, err := r.find(ctx, idOrName)
	if err != nil {
		return nil, err
	}
	return r.cfg.Store.UpdateClient(ctx, found.ID, func(c *Client) (audit.Event, error) {
		detail, err := change(c)
		if err != nil {
			return audit.Event{}, err
		}
		c.UpdatedAt = time.Now().UTC()
		return audit.Event{Time: c.UpdatedAt, Actor: by, Action: action, Subject: c.ID, ClientID: c.ID, Detail: detail}, nil
	})
}

// checkTTL holds the ceiling of new lifetimes; what was set under an earlier, higher ceiling may stay.
func (r *Registry) checkTTL(ttl time.Duration) error {
	if ttl > r.cfg.MaxTTL {
		return invalid("token lifetime %s is above the ceiling of %s", ttl, r.cfg.MaxTTL)
	}
	return nil
}

func inFuture(what string, expires, now time.Time) error {
	if !expires.IsZero() && !expires.After(now) {
		return invalid("expiry of the %s is in the past", what)
	}
	return nil
}
