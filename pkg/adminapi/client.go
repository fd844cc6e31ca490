package adminapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// OAuthClient is a machine that may ask for tokens.
type OAuthClient struct {
	ClientID    string            `json:"client_id"`
	Name        string            `json:"name"`
	Owner       string            `json:"owner,omitempty" doc:"Who answers for it"`
	Labels      map[string]string `json:"labels,omitempty"`
	AuthMethod  string            `json:"auth_method" enum:"client_secret_basic,client_secret_post,private_key_jwt"`
	JWKS        json.RawMessage   `json:"jwks,omitempty" doc:"Public keys of private_key_jwt"`
	JWKSURI     string            `json:"jwks_uri,omitempty"`
	Grants      []Grant           `json:"grants" nullable:"false"`
	Introspects []string          `json:"introspects" nullable:"false" doc:"APIs whose tokens it may introspect"`
	AllowCIDRs  []string          `json:"allow_cidrs" nullable:"false" doc:"Networks it may ask from; empty means any"`
	TokenTTL    int64             `json:"token_ttl,omitempty" doc:"Longest lifetime of its tokens in seconds; absent leaves it to the API"`
	Claims      map[string]any    `json:"claims,omitempty" doc:"Static claims of its tokens"`
	ExpiresAt   time.Time         `json:"expires_at,omitzero"`
	Disabled    bool              `json:"disabled"`
	Generation  int64             `json:"generation" doc:"Rises with every cut-off"`
	Secrets     []Secret          `json:"secrets" nullable:"false"`
	CreatedAt   time.Time         `json:"created_at"`
	UpdatedAt   time.Time         `json:"updated_at"`
	LastUsedAt  time.Time         `json:"last_used_at,omitzero" doc:"When it last got a token; up to 10 s late"`
}

// Grant is what a client may ask of one API.
type Grant struct {
	API           string   `json:"api" minLength:"1" doc:"Identifier of the API"`
	Scopes        []string `json:"scopes" minItems:"1" nullable:"false"`
	DefaultScopes []string `json:"default_scopes,omitempty" nullable:"false" doc:"Granted when a request names no scope; absent means all"`
}

// NewClient is what a client is created with.
type NewClient struct {
	Name            string            `json:"name" minLength:"1"`
	Owner           string            `json:"owner,omitempty"`
	Labels          map[string]string `json:"labels,omitempty"`
	AuthMethod      string            `json:"auth_method,omitempty" enum:"client_secret_basic,client_secret_post,private_key_jwt"`
	JWKS            json.RawMessage   `json:"jwks,omitempty"`
	JWKSURI         string            `json:"jwks_uri,omitempty"`
	Grants          []Grant           `json:"grants,omitempty" nullable:"false"`
	Introspects     []string          `json:"introspects,omitempty" nullable:"false"`
	AllowCIDRs      []string          `json:"allow_cidrs,omitempty" nullable:"false"`
	TokenTTL        int64             `json:"token_ttl,omitempty" minimum:"1" doc:"Seconds"`
	Claims          map[string]any    `json:"claims,omitempty"`
	ExpiresAt       time.Time         `json:"expires_at,omitzero"`
	SecretExpiresAt time.Time         `json:"secret_expires_at,omitzero" doc:"Expiry of its first secret"`
}

// CreatedClient is a client with its first secret, which is shown here and never again. A client that authenticates by key
// has none.
type CreatedClient struct {
	OAuthClient

	ClientSecret string `json:"client_secret,omitempty"`
	SecretID     string `json:"secret_id,omitempty"`
}

// ClientChange is what an update sets; what is nil stays.
type ClientChange struct {
	Name        *string            `json:"name,omitempty"`
	Owner       *string            `json:"owner,omitempty"`
	Labels      *map[string]string `json:"labels,omitempty"`
	JWKS        *json.RawMessage   `json:"jwks,omitempty"`
	JWKSURI     *string            `json:"jwks_uri,omitempty"`
	Grants      *[]Grant           `json:"grants,omitempty"`
	Introspects *[]string          `json:"introspects,omitempty"`
	AllowCIDRs  *[]string          `json:"allow_cidrs,omitempty"`
	TokenTTL    *int64             `json:"token_ttl,omitempty" minimum:"0" doc:"Seconds; 0 leaves it to the API"`
	Claims      *map[string]any    `json:"claims,omitempty"`
	ExpiresAt   *time.Time         `json:"expires_at,omitempty"`
	NeverExpire bool               `json:"never_expire,omitempty" doc:"Takes the expiry away"`
}

// ClientFilter narrows a listing of clients.
type ClientFilter struct {
	After  string // cursor of the page before
	Limit  int    // 0 means 100, the most is 1000
	Name   string // prefix of the name
	Labels map[string]string
}

// Reason says why, for the audit trail.
type Reason struct {
	Reason string `json:"reason,omitempty" maxLength:"500"`
}

// CreateClient registers a client and returns it with its first secret.
func (c *Client) CreateClient(ctx context.Context, n NewClient) (*CreatedClient, error) {
	return call[CreatedClient](ctx, c, http.MethodPost, "/clients", nil, n)
}

// Clients returns one page of clients, ordered by ID.
func (c *Client) Clients(ctx context.Context, f ClientFilter) (*List[OAuthClient], error) {
	query := url.Values{}
	if f.After != "" {
		query.Set("after", f.After)
	}
	if f.Limit != 0 {
		query.Set("limit", strconv.Itoa(f.Limit))
	}
	if f.Name != "" {
		query.Set("name", f.Name)
	}
	for k, v := range f.Labels {
		query.Add("label", k+"="+v)
	}
	return call[List[OAuthClient]](ctx, c, http.MethodGet, "/clients", query, nil)
}

// Client returns the client with this ID or name.
func (c *Client) Client(ctx context.Context, idOrName string) (*OAuthClient, error) {
	return call[OAuthClient](ctx, c, http.MethodGet, "/clients/"+segment(idOrName), nil, nil)
}

// UpdateClient changes a client.
func (c *Client) UpdateClient(ctx context.Context, idOrName string, change ClientChange) (*OAuthClient, error) {
	return call[OAuthClient](ctx, c, http.MethodPatch, "/clients/"+segment(idOrName), nil, change)
}

// DeleteClient removes a client; its tokens end at once.
func (c *Client) DeleteClient(ctx context.Context, idOrName string) error {
	return c.do(ctx, http.MethodDelete, "/clients/"+segment(idOrName), nil, nil, nil)
}

// DisableClient stops a client; its tokens end at once.
func (c *Client) DisableClient(ctx context.Context, idOrName, reason string) (*OAuthClient, error) {
	return call[OAuthClient](ctx, c, http.MethodPost, "/clients/"+segment(idOrName)+"/disable", nil, Reason{reason})
}

// EnableClient lets a client ask for tokens again.
func (c *Client) EnableClient(ctx context.Context, idOrName string) (*OAuthClient, error) {
	return call[OAuthClient](ctx, c, http.MethodPost, "/clients/"+segment(idOrName)+"/enable", nil, struct{}{})
}

// ClientImpact says what disabling or deleting the client would take away.
func (c *Client) ClientImpact(ctx context.Context, idOrName string) (*Impact, error) {
	return call[Impact](ctx, c, http.MethodGet, "/clients/"+segment(idOrName)+"/impact", nil, nil)
}
