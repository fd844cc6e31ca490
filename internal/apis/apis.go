// Package apis owns the resource servers that tokens are made for: the API, its scopes and their routes, and the registry
// through which they are changed. Which client may use them is a grant and belongs to package clients.
package apis

import (
	"context"
	"errors"
	"time"

	"github.com/seed-1972b8eb/signet/internal/audit"
)

// Alg is a JWS algorithm that Signet signs with (RFC 7518 §3.1, RFC 8037 §3.1).
type Alg string

// The algorithms. ES256 is the default; RS256 is there for consumers that know nothing else (RFC 9068 §2.1).
const (
	ES256 Alg = "ES256"
	RS256 Alg = "RS256"
	EdDSA Alg = "EdDSA"
)

// Typ is the "typ" header of an API's tokens.
type Typ string

// The types: RFC 9068 §2.1, and the plain one for consumers that refuse it.
const (
	TypAccessToken Typ = "at+jwt"
	TypJWT         Typ = "JWT"
)

// MaxTokenTTL is the ceiling of every access token's lifetime, MinTokenTTL the floor.
const (
	MaxTokenTTL     = 24 * time.Hour
	MinTokenTTL     = time.Second
	DefaultTokenTTL = 5 * time.Minute
)

// API is a resource server.
type API struct {
	Identifier string // absolute URI without fragment, the "aud" of its tokens; compared byte for byte; never changes
	Name       string
	Alg        Alg
	Typ        Typ
	TokenTTL   time.Duration // longest lifetime of its tokens, MinTokenTTL to MaxTokenTTL
	Disabled   bool          // no new tokens for it
	Scopes     []Scope       // ordered by name
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// ScopeKind tells a permission to do from a feature that is switched on.
type ScopeKind string

// The kinds of scope.
const (
	Action  ScopeKind = "action"
	Feature ScopeKind = "feature"
)

// Scope is a named permission of one API.
type Scope struct {
	Name        string // RFC 6749 §3.3 scope-token without "*"
	Description string
	Group       string // for the picker: "Applications", "Reports"
	Kind        ScopeKind
	Routes      []Route
	CreatedAt   time.Time
}

// Route is an HTTP method and path pattern that a scope opens; either may be "*".
type Route struct {
	Method string // upper case, or "*"
	Path   string // starts with "/"; "*" matches one segment, a trailing "**" the rest
}

// Errors that callers tell apart.
var (
	ErrNotFound      = errors.New("API not found")
	ErrScopeNotFound = errors.New("scope not found")
	ErrTaken         = errors.New("API identifier or name is taken")
	ErrScopeTaken    = errors.New("scope exists")
	ErrInvalid       = errors.New("invalid API")
)

// Store keeps APIs and their scopes. Every method that changes does so in one transaction that also writes the event and
// raises the registry epoch; a change whose outcome is unknown is an error. Implementations are safe for concurrent use.
type Store interface {
	// CreateAPI stores a new API with its scopes. ErrTaken when the identifier or the name exists.
	CreateAPI(ctx context.Context, a *API, e audit.Event) error
	// API returns one API, or ErrNotFound.
	API(ctx context.Context, identifier string) (*API, error)
	// APIs returns all, ordered by identifier.
	APIs(ctx context.Context) ([]*API, error)
	// UpdateAPI calls change with the current record inside the transaction and stores what it leaves. Scopes that change
	// removes also vanish from every client's grants, and the generation of those clients rises.
	UpdateAPI(ctx context.Context, identifier string, change func(*API) (audit.Event, error)) (*API, error)
	// DeleteAPI removes the API, its scopes and every grant of it; the generation of clients that held one rises.
	DeleteAPI(ctx context.Context, identifier string, e audit.Event) error
	// Holders counts the clients that are granted any of the scopes of the API; no scopes means any scope of it.
	Holders(ctx context.Context, identifier string, scopes []string) (int, error)
}
