package apis_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

const orders = "https://api.test/orders"

var local = audit.Actor{ID: "local", Source: "unix"}

// registry returns a Registry over a fresh SQLite database, with the trail that it writes.
func registry(t *testing.T) (*apis.Registry, audit.Trail, *[]apis.Alg) {
	t.Helper()
	cfg := sqlstore.Config{Driver: "sqlite", Path: filepath.Join(t.TempDir(), "signet.db")}
	if err := sqlstore.Create(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	db, err := sqlstore.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	var ensured []apis.Alg
	return apis.NewRegistry(apis.RegistryConfig{
		Store: db.APIs(), DefaultTTL: 7 * time.Minute, MaxTTL: time.Hour,
		EnsureKeys: func(_ context.Context, _ audit.Actor, alg apis.Alg) error {
			ensured = append(ensured, alg)
			return nil
		},
	}), db.Trail(), &ensured
}

// TestUpdateOfNoAPIMakesNoKeys: a typo in the identifier must not leave signing keys of another algorithm behind.
func TestUpdateOfNoAPIMakesNoKeys(t *testing.T) {
	t.Parallel()
	r, _, ensured := registry(t)
	alg := apis.RS256
	if _, err := r.Update(t.Context(), local, orders, apis.Change{Alg: &alg}); !errors.Is(err, apis.ErrNotFound) {
		t.Errorf("Update = %v, want ErrNotFound", err)
	}
	if len(*ensured) != 0 {
		t.Errorf("keys were made for %v", *ensured)
	}
}

func TestCreateFillsTheDefaults(t *testing.T) {
	t.Parallel()
	r, trail, ensured := registry(t)
	a, err := r.Create(t.Context(), local, apis.API{
		Identifier: orders, Name: "Orders", Scopes: []apis.Scope{{Name: "orders:write"}, {Name: "orders:read"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if a.Alg != apis.ES256 || a.Typ != apis.TypAccessToken || a.TokenTTL != 7*time.Minute {
		t.Errorf("alg %s, typ %s, lifetime %s", a.Alg, a.Typ, a.TokenTTL)
	}
	if strings.Join(a.ScopeNames(), " ") != "orders:read orders:write" || a.Scopes[0].Kind != apis.Action {
		t.Errorf("scopes %+v", a.Scopes)
	}
	if len(*ensured) != 1 || (*ensured)[0] != apis.ES256 {
		t.Errorf("keys made sure of: %v", *ensured)
	}
	events, err := trail.Events(t.Context(), audit.Filter{Subject: orders})
	if err != nil || len(events) != 1 || events[0].Action != "api.create" || events[0].Actor.ID != "local" {
		t.Errorf("audit trail: %+v (%v)", events, err)
	}
}

func TestCreateRefuses(t *testing.T) { //nolint:tparallel // what is left is looked at after the last
	t.Parallel()
	r, trail, _ := registry(t)
	if _, err := r.Create(t.Context(), local, apis.API{Identifier: orders, Name: "Orders"}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		api  apis.API
		want error
		says string
	}{
		"identifier taken":        {apis.API{Identifier: orders, Name: "Other"}, apis.ErrTaken, ""},
		"name taken":              {apis.API{Identifier: "urn:x", Name: "Orders"}, apis.ErrTaken, ""},
		"relative identifier":     {apis.API{Identifier: "/orders", Name: "A"}, apis.ErrInvalid, "absolute URI"},
		"no identifier":           {apis.API{Name: "A"}, apis.ErrInvalid, "identifier"},
		"fragment":                {apis.API{Identifier: "https://a.test/#x", Name: "A"}, apis.ErrInvalid, "fragment"},
		"empty fragment":          {apis.API{Identifier: "https://a.test/#", Name: "A"}, apis.ErrInvalid, "fragment"},
		"user information":        {apis.API{Identifier: "https://u@a.test/", Name: "A"}, apis.ErrInvalid, "user information"},
		"wildcard identifier":     {apis.API{Identifier: "https://*.test/", Name: "A"}, apis.ErrInvalid, "*"},
		"space":                   {apis.API{Identifier: "urn:a b", Name: "A"}, apis.ErrInvalid, "space"},
		"javascript":              {apis.API{Identifier: "JaVaScRiPt:alert(1)", Name: "A"}, apis.ErrInvalid, "scheme"},
		"reserved":                {apis.API{Identifier: "urn:signet:admin", Name: "A"}, apis.ErrInvalid, "Signet's own"},
		"no name":                 {apis.API{Identifier: "urn:x"}, apis.ErrInvalid, "name"},
		"control in name":         {apis.API{Identifier: "urn:x", Name: "a\nb"}, apis.ErrInvalid, "name"},
		"alg":                     {apis.API{Identifier: "urn:x", Name: "A", Alg: "HS256"}, apis.ErrInvalid, "HS256"},
		"typ":                     {apis.API{Identifier: "urn:x", Name: "A", Typ: "jwt"}, apis.ErrInvalid, "typ"},
		"lifetime above":          {apis.API{Identifier: "urn:x", Name: "A", TokenTTL: time.Hour + time.Second}, apis.ErrInvalid, "lifetime"},
		"lifetime below":          {apis.API{Identifier: "urn:x", Name: "A", TokenTTL: time.Millisecond}, apis.ErrInvalid, "lifetime"},
		"lifetime not whole":      {apis.API{Identifier: "urn:x", Name: "A", TokenTTL: 1500 * time.Millisecond}, apis.ErrInvalid, "whole seconds"},
		"scope wildcard":          {scoped("orders:*"), apis.ErrInvalid, "*"},
		"scope with a quote":      {scoped(`a"b`), apis.ErrInvalid, "RFC 6749"},
		"scope with a backslash":  {scoped(`a\b`), apis.ErrInvalid, "RFC 6749"},
		"scope with a space":      {scoped("a b"), apis.ErrInvalid, "RFC 6749"},
		"scope beyond ASCII":      {scoped("é"), apis.ErrInvalid, "RFC 6749"},
		"empty scope":             {scoped(""), apis.ErrInvalid, "scope name"},
		"scope twice":             {apis.API{Identifier: "urn:x", Name: "A", Scopes: []apis.Scope{{Name: "a"}, {Name: "a"}}}, apis.ErrScopeTaken, ""},
		"scope kind":              {apis.API{Identifier: "urn:x", Name: "A", Scopes: []apis.Scope{{Name: "a", Kind: "verb"}}}, apis.ErrInvalid, "kind"},
		"route method lower case": {routed("get", "/a"), apis.ErrInvalid, "method"},
		"route path relative":     {routed("GET", "a"), apis.ErrInvalid, "path"},
		"route with query":        {routed("GET", "/a?b"), apis.ErrInvalid, "path"},
		"route climbing":          {routed("GET", "/a/../b"), apis.ErrInvalid, "path"},
		"route star in a segment": {routed("GET", "/a*/b"), apis.ErrInvalid, "segment"},
		"route ** not at the end": {routed("GET", "/**/b"), apis.ErrInvalid, "segment"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.Create(t.Context(), local, c.api)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want %v saying %q", err, c.want, c.says)
			}
		})
	}
	list, err := r.List(t.Context())
	if err != nil || len(list) != 1 {
		t.Errorf("%d APIs after the refusals (%v), want 1", len(list), err)
	}
	if events, err := trail.Events(t.Context(), audit.Filter{}); err != nil || len(events) != 1 {
		t.Errorf("%d events after the refusals (%v), want 1", len(events), err)
	}
}

func scoped(name string) apis.API {
	return apis.API{Identifier: "urn:x", Name: "A", Scopes: []apis.Scope{{Name: name}}}
}

func routed(method, path string) apis.API {
	a := scoped("a")
	a.Scopes[0].Routes = []apis.Route{{Method: method, Path: path}}
	return a
}

func TestUpdateAndScopes(t *testing.T) {
	t.Parallel()
	r, _, ensured := registry(t)
	if _, err := r.Create(t.Context(), local, apis.API{Identifier: orders, Name: "Orders"}); err != nil {
		t.Fatal(err)
	}
	alg, ttl, disabled := apis.RS256, 10*time.Minute, true
	a, err := r.Update(t.Context(), local, orders, apis.Change{Alg: &alg, TokenTTL: &ttl, Disabled: &disabled})
	if err != nil || a.Alg != apis.RS256 || a.TokenTTL != ttl || !a.Disabled || a.Name != "Orders" {
		t.Fatalf("updated to %+v (%v)", a, err)
	}
	if len(*ensured) != 2 || (*ensured)[1] != apis.RS256 {
		t.Errorf("keys made sure of: %v", *ensured)
	}
	zero := time.Duration(0)
	if _, err := r.Update(t.Context(), local, orders, apis.Change{TokenTTL: &zero}); !errors.Is(err, apis.ErrInvalid) {
		t.Errorf("lifetime 0: %v", err)
	}
	route, err := apis.ParseRoute("GET /v1/users/*")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.CreateScope(t.Context(), local, orders, apis.Scope{Name: "users:read", Group: "Users", Routes: []apis.Route{route}}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.CreateScope(t.Context(), local, orders, apis.Scope{Name: "users:read"}); !errors.Is(err, apis.ErrScopeTaken) {
		t.Errorf("the same scope again: %v", err)
	}
	if _, err := r.DeleteScope(t.Context(), local, orders, "users:write"); !errors.Is(err, apis.ErrScopeNotFound) {
		t.Errorf("deleting a scope that is not there: %v", err)
	}
	found, err := r.Find(t.Context(), orders)
	if err != nil || !found.HasScope("users:read") || found.HasScope("USERS:READ") || found.Scopes[0].Routes[0].String() != "GET /v1/users/*" {
		t.Errorf("found %+v (%v)", found, err)
	}
	if err := r.Delete(t.Context(), local, orders); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Find(t.Context(), orders); !errors.Is(err, apis.ErrNotFound) {
		t.Errorf("after the deletion: %v", err)
	}
	if err := r.Delete(t.Context(), local, orders); !errors.Is(err, apis.ErrNotFound) {
		t.Errorf("second deletion: %v", err)
	}
}

func FuzzParseRoute(f *testing.F) {
	for _, seed := range []string{"GET /v1/users/*", "* *", "GET /**", "get /", "", "GET  /a", "GET /a b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := apis.ParseRoute(text)
		if err != nil {
			return
		}
		again, err := apis.ParseRoute(r.String())
		if err != nil || again != r {
			t.Errorf("%q reads as %v, which reads as %v (%v)", text, r, again, err)
		}
	})
}
