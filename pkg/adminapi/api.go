package adminapi

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// API is a resource server: what tokens are made for.
type API struct {
	Identifier string    `json:"identifier" doc:"Absolute URI without fragment; the aud of its tokens. Never changes."`
	Name       string    `json:"name"`
	Alg        string    `json:"alg" enum:"ES256,RS256,EdDSA" doc:"Algorithm that signs its tokens"`
	Typ        string    `json:"typ" enum:"at+jwt,JWT" doc:"typ header of its tokens"`
	TokenTTL   int64     `json:"token_ttl" doc:"Longest lifetime of its tokens, in seconds"`
	Disabled   bool      `json:"disabled" doc:"No new tokens are made for it"`
	Scopes     []Scope   `json:"scopes" nullable:"false"`
	CreatedAt  time.Time `json:"created_at"`
	UpdatedAt  time.Time `json:"updated_at"`
}

// NewAPI is what an API is created with. What is left out gets the server's default.
type NewAPI struct {
	Identifier string     `json:"identifier" minLength:"1" doc:"Absolute URI without fragment (RFC 8707 §2)"`
	Name       string     `json:"name" minLength:"1"`
	Alg        string     `json:"alg,omitempty" enum:"ES256,RS256,EdDSA"`
	Typ        string     `json:"typ,omitempty" enum:"at+jwt,JWT"`
	TokenTTL   int64      `json:"token_ttl,omitempty" minimum:"1" doc:"Seconds"`
	Scopes     []NewScope `json:"scopes,omitempty" nullable:"false"`
}

// APIChange is what an update sets; what is nil stays.
type APIChange struct {
	Name     *string `json:"name,omitempty"`
	Alg      *string `json:"alg,omitempty" enum:"ES256,RS256,EdDSA"`
	Typ      *string `json:"typ,omitempty" enum:"at+jwt,JWT"`
	TokenTTL *int64  `json:"token_ttl,omitempty" minimum:"1" doc:"Seconds"`
	Disabled *bool   `json:"disabled,omitempty"`
}

// Scope is a named permission of one API.
type Scope struct {
	API         string    `json:"api" doc:"Identifier of its API"`
	Name        string    `json:"name"`
	Description string    `json:"description"`
	Group       string    `json:"group" doc:"Heading in pickers"`
	Kind        string    `json:"kind" enum:"action,feature"`
	Routes      []string  `json:"routes" nullable:"false" doc:"Method and path pattern that it opens, such as 'GET /v1/users/*'"`
	CreatedAt   time.Time `json:"created_at"`
}

// NewScope is what a scope is created with.
type NewScope struct {
	Name        string   `json:"name" minLength:"1"`
	Description string   `json:"description,omitempty"`
	Group       string   `json:"group,omitempty"`
	Kind        string   `json:"kind,omitempty" enum:"action,feature"`
	Routes      []string `json:"routes,omitempty" nullable:"false"`
}

// Impact says what a destructive change would take away, before it is made.
type Impact struct {
	Clients int    `json:"clients" doc:"Clients that would lose something"`
	Secrets int    `json:"secrets,omitempty" doc:"Secrets that would stop working"`
	APIs    int    `json:"apis,omitempty" doc:"APIs that would be touched"`
	Summary string `json:"summary" doc:"The same in words"`
}

// List is one page of a listing.
type List[T any] struct {
	Items []T    `json:"items" nullable:"false"`
	Next  string `json:"next,omitempty" doc:"Cursor of the next page (query parameter after or before), which may be empty; absent when there is none"`
}

// CreateAPI registers an API.
func (c *Client) CreateAPI(ctx context.Context, n NewAPI) (*API, error) {
	return call[API](ctx, c, http.MethodPost, "/apis", nil, n)
}

// APIs lists all APIs, ordered by identifier.
func (c *Client) APIs(ctx context.Context) ([]API, error) {
	list, err := call[List[API]](ctx, c, http.MethodGet, "/apis", nil, nil)
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// API returns one API.
func (c *Client) API(ctx context.Context, identifier string) (*API, error) {
	return call[API](ctx, c, http.MethodGet, "/apis/"+segment(identifier), nil, nil)
}

// UpdateAPI changes an API.
func (c *Client) UpdateAPI(ctx context.Context, identifier string, change APIChange) (*API, error) {
	return call[API](ctx, c, http.MethodPatch, "/apis/"+segment(identifier), nil, change)
}

// DeleteAPI removes an API with its scopes and every grant of it.
func (c *Client) DeleteAPI(ctx context.Context, identifier string) error {
	return c.do(ctx, http.MethodDelete, "/apis/"+segment(identifier), nil, nil, nil)
}

// APIImpact says what deleting the API, or one scope of it where scope is not empty, would take away.
func (c *Client) APIImpact(ctx context.Context, identifier, scope string) (*Impact, error) {
	query := url.Values{}
	if scope != "" {
		query.Set("scope", scope)
	}
	return call[Impact](ctx, c, http.MethodGet, "/apis/"+segment(identifier)+"/impact", query, nil)
}

// CreateScope adds a scope to an API.
func (c *Client) CreateScope(ctx context.Context, api string, n NewScope) (*Scope, error) {
	return call[Scope](ctx, c, http.MethodPost, "/apis/"+segment(api)+"/scopes", nil, n)
}

// Scopes lists the scopes of an API, ordered by name.
func (c *Client) Scopes(ctx context.Context, api string) ([]Scope, error) {
	list, err := call[List[Scope]](ctx, c, http.MethodGet, "/apis/"+segment(api)+"/scopes", nil, nil)
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// DeleteScope removes a scope, also from every grant.
func (c *Client) DeleteScope(ctx context.Context, api, name string) error {
	return c.do(ctx, http.MethodDelete, "/apis/"+segment(api)+"/scopes/"+segment(name), nil, nil, nil)
}
