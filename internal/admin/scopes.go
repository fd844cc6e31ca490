package admin

import (
	"context"
	"fmt"
	"net/http"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func (a *api) scopeRoutes() {
	handle(a, created(operation("create-scope", http.MethodPost, "/apis/{identifier}/scopes", "Add a scope to an API")), a.createScope)
	handle(a, operation("list-scopes", http.MethodGet, "/apis/{identifier}/scopes", "List the scopes of an API"), a.listScopes)
	handle(a, operation("delete-scope", http.MethodDelete, "/apis/{identifier}/scopes/{name}", "Delete a scope, also from every grant"), a.deleteScope)
}

func (a *api) createScope(ctx context.Context, in *struct {
	APIPath

	Body adminapi.NewScope
},
) (*reply[adminapi.Scope], error) {
	scope, err := newScope(in.Body)
	if err != nil {
		return nil, err
	}
	changed, err := a.APIs.CreateScope(ctx, actor(ctx), in.Identifier, scope)
	if err != nil {
		return nil, err
	}
	for _, s := range changed.Scopes {
		if s.Name == scope.Name {
			return &reply[adminapi.Scope]{wireScope(changed.Identifier, s)}, nil
		}
	}
	return nil, fmt.Errorf("%w: %q vanished", apis.ErrScopeNotFound, scope.Name)
}

func (a *api) listScopes(ctx context.Context, in *APIPath) (*reply[adminapi.List[adminapi.Scope]], error) {
	found, err := a.APIs.Find(ctx, in.Identifier)
	if err != nil {
		return nil, err
	}
	return &reply[adminapi.List[adminapi.Scope]]{adminapi.List[adminapi.Scope]{Items: wireAPI(found).Scopes}}, nil
}

func (a *api) deleteScope(ctx context.Context, in *struct {
	APIPath

	Name string `path:"name"`
},
) (*none, error) {
	_, err := a.APIs.DeleteScope(ctx, actor(ctx), in.Identifier, in.Name)
	return &none{}, err
}

func newScope(n adminapi.NewScope) (apis.Scope, error) {
	s := apis.Scope{Name: n.Name, Description: n.Description, Group: n.Group, Kind: apis.ScopeKind(n.Kind)}
	for _, text := range n.Routes {
		route, err := apis.ParseRoute(text)
		if err != nil {
			return apis.Scope{}, err
		}
		s.Routes = append(s.Routes, route)
	}
	return s, nil
}

func wireScope(identifier string, s apis.Scope) adminapi.Scope {
	out := adminapi.Scope{
		API: identifier, Name: s.Name, Description: s.Description, Group: s.Group, Kind: string(s.Kind),
		Routes: make([]string, 0, len(s.Routes)), CreatedAt: s.CreatedAt,
	}
	for _, r := range s.Routes {
		out.Routes = append(out.Routes, r.String())
	}
	return out
}
