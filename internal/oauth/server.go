package oauth

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/ory/fosite"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/credential"
	"github.com/seed-1972b8eb/signet/internal/limits"
	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/tokens"
	"github.com/seed-1972b8eb/signet/internal/usage"
)

// Registry is where clients and APIs are looked up. What it returns is shared and only read. An error that is neither
// clients.ErrNotFound nor apis.ErrNotFound means that the answer cannot be known now.
type Registry interface {
	// Client returns a client, from memory where possible; a client that is not in memory is read from the database, so
	// clients.ErrNotFound is as fresh as what Reread says.
	Client(ctx context.Context, id string) (*clients.Client, error)
	// Reread returns a client as the database has it now.
	Reread(ctx context.Context, id string) (*clients.Client, error)
	// API returns an API from memory.
	API(ctx context.Context, identifier string) (*apis.API, error)
}

// Assertions guards against the replay of client assertions.
type Assertions interface {
	// Use notes that this client used this "jti", until expires. It is atomic over all replicas: of any number of calls
	// with the same client and jti one returns nil, the others clients.ErrReplayed. Any other error means that the
	// outcome is unknown.
	Use(ctx context.Context, clientID, jti string, expires time.Time) error
}

// Usage counts issued tokens. It must not block.
type Usage interface {
	Count(u usage.Use)
}

// Throttle counts failed authentications by client and source network.
type Throttle interface {
	// Limited says whether this pair has failed too often, and after what time it may fail again.
	Limited(clientID string, ip netip.Addr) (retryAfter time.Duration, limited bool)
	// Failed notes one failure.
	Failed(clientID string, ip netip.Addr)
}

// Config is what a Server needs. Every field but TokenEndpoint, Rate and Outbound is required.
type Config struct {
	Issuer        string // exactly as configured: "iss" of tokens, "aud" of assertions, prefix of all endpoints
	TokenEndpoint string // as clients see it; empty means Issuer + "/oauth2/token"
	Registry      Registry
	Tokens        *tokens.Issuer
	Algorithms    func() []apis.Alg // those that sign now, for the metadata: keys.Ring's method
	Pepper        *credential.Pepper
	Revocations   revocations.Store
	Assertions    Assertions
	Usage         Usage
	Throttle      Throttle
	Rate          *limits.Rate // of tokens per client; nil: as many as they ask for
	Outbound      OutboundConfig
	Log           *slog.Logger
}

// OutboundConfig limits where the server connects to on behalf of clients (jwks_uri).
type OutboundConfig struct {
	AllowCIDRs []netip.Prefix // networks that may be reached though they are not public, over http too
}

// Server decides requests. Safe for concurrent use.
type Server struct {
	cfg         Config
	flow        *fosite.Fosite
	flowRequest *http.Request // what fosite reads
	keys        *clientKeys
	decoy       credential.Digest // what the secrets of unknown clients are compared with
	decoyKey    decoyKeys         // what the assertions of unknown clients are verified with
	repeats     *repeats
}

// New returns a Server, or an error that names what is missing.
func New(cfg Config) (*Server, error) {
	if cfg.Issuer == "" || cfg.Registry == nil || cfg.Tokens == nil || cfg.Algorithms == nil || cfg.Pepper == nil ||
		cfg.Revocations == nil || cfg.Assertions == nil || cfg.Usage == nil || cfg.Throttle == nil || cfg.Log == nil {
		return nil, errors.New("oauth: every field of Config but TokenEndpoint, Rate and Outbound must be set")
	}
	if cfg.TokenEndpoint == "" {
		cfg.TokenEndpoint = cfg.Issuer + tokenPath
	}
	decoy, err := newDecoyKeys()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:      cfg,
		keys:     newClientKeys(cfg.Outbound, cfg.Log),
		decoy:    cfg.Pepper.Digest("", credential.New(credential.ClientSecret)),
		decoyKey: decoy,
		repeats:  newRepeats(),
	}
	s.flow, s.flowRequest = newFlow(s), newFlowRequest()
	return s, nil
}
