// Package clients owns the machines that may ask for tokens: what a client is, its secrets and keys, its grants, the rules
// that hold between them, and the registry through which they are changed. Proving that a request comes from a client is
// the work of package oauth; rows and SQL are the work of package sqlstore.
package clients

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/credential"
)

// AuthMethod is how a client proves who it is (RFC 7591 §2, token_endpoint_auth_method).
type AuthMethod string

// The methods that Signet knows. There is no "none": every client is confidential.
const (
	SecretBasic   AuthMethod = "client_secret_basic"
	SecretPost    AuthMethod = "client_secret_post"
	PrivateKeyJWT AuthMethod = "private_key_jwt"
)

// Client is a machine with an OAuth client ID.
type Client struct {
	ID          string            // "client_" and 20 Base62 characters, made by the server, never reused
	Name        string            // unique, 1 to 100 characters
	Owner       string            // who answers for it; free text until accounts exist, may be empty
	Labels      map[string]string // for the admin's own filters
	AuthMethod  AuthMethod        // never empty once stored; a request without one means client_secret_basic (RFC 7591 §2)
	Secrets     []Secret          // oldest first; empty for private_key_jwt
	JWKS        []byte            // inline JWK set of private_key_jwt, public keys only
	JWKSURI     string            // or the https URL where it is published; never both
	Grants      []Grant           // at most one per API, ordered by API
	Introspects []string          // identifiers of the APIs whose tokens it may introspect, sorted
	AllowCIDRs  []netip.Prefix    // source networks it may ask from; empty means any
	TokenTTL    time.Duration     // longest lifetime of its tokens; 0 leaves it to the API
	Claims      map[string]any    // static claims copied into its tokens; never a reserved name
	ExpiresAt   time.Time         // zero: never
	Disabled    bool
	Generation  int64 // starts at 1; a cut-off raises it (claim "gen")
	CreatedAt   time.Time
	UpdatedAt   time.Time
	LastUsedAt  time.Time // when it last got a token; late by up to one flush (10 s)
}

// Secret is one of a client's secrets. The secret's text is not kept.
type Secret struct {
	ID         string            // "cs_" and the 12 Base62 characters that are also part of the secret's text
	Hint       string            // the last four characters of the text, to tell secrets apart
	Digest     credential.Digest // never the zero Digest
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: never
	LastUsedAt time.Time
	ReplacedBy string    // ID of the secret that a rotation made in its place; empty while none has
	OldExpiry  time.Time // what ExpiresAt was before that rotation, so that it can be cancelled
}

// Grant is what a client may ask of one API.
type Grant struct {
	API      string   // the API's identifier
	Scopes   []string // sorted, not empty
	Defaults []string // granted when a request names no scope, sorted; nil: all of Scopes; empty: none, name the scopes
}

// Errors that callers tell apart. ErrInvalid is wrapped with a text that the admin may read.
var (
	ErrNotFound       = errors.New("client not found")
	ErrSecretNotFound = errors.New("secret not found")
	ErrNameTaken      = errors.New("client name is taken")
	ErrInvalid        = errors.New("invalid client")

	// ErrReplayed means that a client assertion was presented before (RFC 7523 §3, item 7).
	ErrReplayed = errors.New("client assertion was used before")
)

// Filter narrows a listing; the zero value lists the first 100 clients by ID.
type Filter struct {
	After  string // only clients whose ID is greater
	Limit  int    // at most this many; 0 means 100, the most is 1000
	Name   string // prefix of the name
	Labels map[string]string
}

// Store keeps clients with their secrets and grants. Every method that changes does so in one transaction that also writes
// the event, raises the registry epoch and, where the generation rose or the client went, writes the cut-off; a change
// whose outcome is unknown is an error. Returned values belong to the caller. Safe for concurrent use.
type Store interface {
	// CreateClient stores a new client. ErrNameTaken when the name exists.
	CreateClient(ctx context.Context, c *Client, e audit.Event) error
	// Client returns the client with this ID, or ErrNotFound.
	Client(ctx context.Context, id string) (*Client, error)
	// FindClient returns the client with this ID or name, or ErrNotFound.
	FindClient(ctx context.Context, idOrName string) (*Client, error)
	// Clients lists by rising ID.
	Clients(ctx context.Context, f Filter) ([]*Client, error)
	// UpdateClient calls change with the current record inside the transaction, its row locked, and stores what it leaves;
	// nothing is stored when change fails. Of two at once, the second sees what the first left.
	UpdateClient(ctx context.Context, id string, change func(*Client) (audit.Event, error)) (*Client, error)
	// DeleteClient removes the client and leaves a cut-off that no generation passes.
	DeleteClient(ctx context.Context, id string, e audit.Event) error
}
