package admin

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// APIPath names one API (exported, or huma would not see what it holds). The identifier is a URI and stands percent-encoded in the path.
type APIPath struct {
	Identifier string `path:"identifier" doc:"Identifier of the API, percent-encoded"`
}

func (a *api) apiRoutes() {
	handle(a, created(operation("create-api", http.MethodPost, "/apis", "Register an API")), a.createAPI)
	handle(a, operation("list-apis", http.MethodGet, "/apis", "List APIs"), a.listAPIs)
	handle(a, operation("show-api", http.MethodGet, "/apis/{identifier}", "Show an API"), a.showAPI)
	handle(a, operation("update-api", http.MethodPatch, "/apis/{identifier}", "Change an API"), a.updateAPI)
	handle(a, operation("delete-api", http.MethodDelete, "/apis/{identifier}", "Delete an API, its scopes and every grant of it"), a.deleteAPI)
	handle(a, operation("api-impact", http.MethodGet, "/apis/{identifier}/impact", "What deleting an API or one of its scopes would take away"), a.apiImpact)
}

func (a *api) createAPI(ctx context.Context, in *struct{ Body adminapi.NewAPI }) (*reply[adminapi.API], error) {
	ttl, err := seconds(in.Body.TokenTTL)
	if err != nil {
		return nil, err
	}
	n := apis.API{
		Identifier: in.Body.Identifier, Name: in.Body.Name, Alg: apis.Alg(in.Body.Alg), Typ: apis.Typ(in.Body.Typ), TokenTTL: ttl,
	}
	for _, s := range in.Body.Scopes {
		scope, err := newScope(s)
		if err != nil {
			return nil, err
		}
		n.Scopes = append(n.Scopes, scope)
	}
	made, err := a.APIs.Create(ctx, actor(ctx), n)
	if err != nil {
		return nil, err
	}
	return &reply[adminapi.API]{wireAPI(made)}, nil
}

func (a *api) listAPIs(ctx context.Context, _ *struct{}) (*reply[adminapi.List[adminapi.API]], error) {
	all, err := a.APIs.List(ctx)
	if err != nil {
		return nil, err
	}
	out := &reply[adminapi.List[adminapi.API]]{}
	out.Body.Items = make([]adminapi.API, 0, len(all))
	for _, one := range all {
		out.Body.Items = append(out.Body.Items, wireAPI(one))
	}
	return out, nil
}

func (a *api) showAPI(ctx context.Context, in *APIPath) (*reply[adminapi.API], error) {
	found, err := a.APIs.Find(ctx, in.Identifier)
	if err != nil {
		return nil, err
	}
	return &reply[adminapi.API]{wireAPI(found)}, nil
}

func (a *api) updateAPI(ctx context.Context, in *struct {
	APIPath

	Body adminapi.APIChange
},
) (*reply[adminapi.API], error) {
	change := apis.Change{Name: in.Body.Name, Disabled: in.Body.Disabled}
	if in.Body.Alg != nil {
		change.Alg = new(apis.Alg(*in.Body.Alg))
	}
	if in.Body.Typ != nil {
		change.Typ = new(apis.Typ(*in.Body.Typ))
	}
	if in.Body.TokenTTL != nil {
		ttl, err := seconds(*in.Body.TokenTTL)
		if err != nil {
			return nil, err
		}
		change.TokenTTL = &ttl
	}
	changed, err := a.APIs.Update(ctx, actor(ctx), in.Identifier, change)
	if err != nil {
		return nil, err
	}
	return &reply[adminapi.API]{wireAPI(changed)}, nil
}

func (a *api) deleteAPI(ctx context.Context, in *APIPath) (*none, error) {
	return &none{}, a.APIs.Delete(ctx, actor(ctx), in.Identifier)
}

func (a *api) apiImpact(ctx context.Context, in *struct {
	APIPath

	Scope string `query:"scope" doc:"One scope of it; empty: the API with all of them"`
},
) (*reply[adminapi.Impact], error) {
	found, err := a.APIs.Find(ctx, in.Identifier)
	if err != nil {
		return nil, err
	}
	if in.Scope != "" && !found.HasScope(in.Scope) {
		return nil, fmt.Errorf("%w: %q of %s", apis.ErrScopeNotFound, in.Scope, in.Identifier)
	}
	what, scopes := "the API with "+count(len(found.Scopes), "scope"), []string(nil)
	if in.Scope != "" {
		what, scopes = "the scope", []string{in.Scope}
	}
	holders, err := a.APIs.Holders(ctx, in.Identifier, scopes...)
	if err != nil {
		return nil, err
	}
	return &reply[adminapi.Impact]{adminapi.Impact{
		Clients: holders, APIs: 1,
		Summary: fmt.Sprintf("%s is granted to %s; their grant goes, and their tokens end at once", what, count(holders, "client")),
	}}, nil
}

func wireAPI(a *apis.API) adminapi.API {
	out := adminapi.API{
		Identifier: a.Identifier, Name: a.Name, Alg: string(a.Alg), Typ: string(a.Typ), TokenTTL: int64(a.TokenTTL / time.Second),
		Disabled: a.Disabled, Scopes: make([]adminapi.Scope, 0, len(a.Scopes)), CreatedAt: a.CreatedAt, UpdatedAt: a.UpdatedAt,
	}
	for _, s := range a.Scopes {
		out.Scopes = append(out.Scopes, wireScope(a.Identifier, s))
	}
	return out
}

// seconds turns a lifetime on the wire into one of the domain, which bounds it further.
func seconds(n int64) (time.Duration, error) {
	if n < 0 || n > math.MaxInt32 {
		return 0, fmt.Errorf("%w: a lifetime of %d seconds", errInvalid, n)
	}
	return time.Duration(n) * time.Second, nil
}

// count writes "1 client" and "2 clients".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
