// Package admin is the admin REST API: /admin/v1/…, one file per noun, described by OpenAPI 3.1 at /admin/openapi.json. It
// translates between wire shapes (pkg/adminapi) and the domain, maps errors to problem+json in one place, and decides
// nothing: every rule of change lives in the registries that it calls.
//
// New serves the Unix socket, whose file mode is the authorization: whoever may open it owns the machine. TCP serves the
// admin listener.
package admin

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/tokens"
	"github.com/seed-1972b8eb/signet/internal/web"
)

// maxBody bounds a request body, in bytes: a client with a hundred grants and an inline JWK set is well below.
const maxBody = 256 << 10

// Config is what the admin API works with. All but Log and Ready is needed.
type Config struct {
	Issuer   string // for status
	Version  string // for status
	Database string // for status: "sqlite" or "postgres"
	JWKSURI  string // for status

	Clients     *clients.Registry
	APIs        *apis.Registry
	Keys        *keys.Manager
	Revocations revocations.Store
	Tokens      *tokens.Issuer
	Trail       audit.Trail
	Refusals    *audit.Refusals

	Ready func(ctx context.Context) []Check // nil: always ready
	Log   *slog.Logger                      // nil discards
}

// Check is one part of readiness.
type Check struct {
	Name  string
	State string // "ok", or what is wrong in words that an admin may read
}

// api is one instance of the REST API.
type api struct {
	Config

	started time.Time
	rest    huma.API
}

// New returns the handler of the Unix socket. It expects to be wrapped by web.Handler, which gives requests their IDs.
func New(c Config) http.Handler {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	mux := http.NewServeMux()
	a := &api{Config: c, started: time.Now().UTC(), rest: humago.New(mux, restConfig(c.Version))}
	for _, noun := range []func(){
		a.apiRoutes, a.scopeRoutes, a.clientRoutes, a.secretRoutes, a.keyRoutes, a.tokenRoutes, a.revocationRoutes,
		a.refusalRoutes, a.auditRoutes, a.statusRoutes,
	} {
		noun()
	}
	describeProblem(a.rest.OpenAPI())
	return orProblem(mux)
}

func restConfig(version string) huma.Config {
	c := huma.DefaultConfig("Signet admin API", version)
	c.Info.Description = "What the signet command line and the console are made of. Errors are problem+json (RFC 9457)."
	c.OpenAPIPath = "/admin/openapi"
	c.DocsPath = "" // loads scripts of a third party
	c.SchemasPath = "/admin/schemas"
	c.CreateHooks = nil // no $schema member in answers
	c.RejectUnknownQueryParameters = true
	c.Transformers = []huma.Transformer{finishProblem}
	return c
}

// operation describes one route. id is the operationId, which generated clients take their names from.
func operation(id, method, path, summary string) huma.Operation {
	op := huma.Operation{
		OperationID:  id,
		Method:       method,
		Path:         "/admin/v1" + path,
		Summary:      summary,
		MaxBodyBytes: maxBody,
	}
	switch method {
	case http.MethodDelete:
		op.DefaultStatus = http.StatusNoContent
	default:
		op.DefaultStatus = http.StatusOK
	}
	return op
}

// created is op with the status of a request that made something.
func created(op huma.Operation) huma.Operation {
	op.DefaultStatus = http.StatusCreated
	return op
}

// reply is an answer with a body.
type reply[T any] struct{ Body T }

// handle registers a route and maps its errors.
func handle[I, O any](a *api, op huma.Operation, handler func(ctx context.Context, in *I) (*O, error)) {
	huma.Register(a.rest, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handler(ctx, in)
		if err != nil {
			return nil, a.problem(ctx, op.OperationID, err)
		}
		return out, nil
	})
}

// actor is who makes a change over the socket.
func actor(ctx context.Context) audit.Actor {
	return audit.Actor{ID: "local", Source: "unix", RequestID: web.From(ctx).RequestID}
}

// none is the answer without a body.
type none struct{}
