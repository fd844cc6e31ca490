package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// ClientPath names one client.
type ClientPath struct {
	Client string `path:"client" doc:"ID or name of the client"`
}

func (a *api) clientRoutes() {
	const one = "/clients/{client}"
	handle(a, created(operation("create-client", http.MethodPost, "/clients", "Register a client; its secret is in the answer and nowhere else")), a.createClient)
	handle(a, operation("list-clients", http.MethodGet, "/clients", "List clients by ID"), a.listClients)
	handle(a, operation("show-client", http.MethodGet, one, "Show a client"), a.showClient)
	handle(a, operation("update-client", http.MethodPatch, one, "Change a client"), a.updateClient)
	handle(a, operation("delete-client", http.MethodDelete, one, "Delete a client; its tokens end at once"), a.deleteClient)
	handle(a, operation("disable-client", http.MethodPost, one+"/disable", "Stop a client; its tokens end at once"), a.disableClient)
	handle(a, operation("enable-client", http.MethodPost, one+"/enable", "Let a client ask for tokens again"), a.enableClient)
	handle(a, operation("client-impact", http.MethodGet, one+"/impact", "What disabling or deleting a client would take away"), a.clientImpact)
}

func (a *api) createClient(ctx context.Context, in *struct{ Body adminapi.NewClient }) (*reply[adminapi.CreatedClient], error) {
	b := in.Body
	ttl, err := seconds(b.TokenTTL)
	if err != nil {
		return nil, err
	}
	networks, err := parseNetworks(b.AllowCIDRs)
	if err != nil {
		return nil, err
	}
	made, secret, err := a.Clients.Create(ctx, actor(ctx), clients.New{
		Name: b.Name, Owner: b.Owner, Labels: b.Labels, AuthMethod: clients.AuthMethod(b.AuthMethod), JWKS: keySet(b.JWKS),
		JWKSURI: b.JWKSURI, Grants: grants(b.Grants), Introspects: b.Introspects, AllowCIDRs: networks, TokenTTL: ttl,
		Claims: b.Claims, ExpiresAt: b.ExpiresAt.UTC(), SecretExpiresAt: b.SecretExpiresAt.UTC(),
	})
	if err != nil {
		return nil, err
	}
	out := &reply[adminapi.CreatedClient]{adminapi.CreatedClient{OAuthClient: wireClient(made)}}
	if len(made.Secrets) > 0 {
		out.Body.ClientSecret, out.Body.SecretID = secret.Reveal(), secret.ID()
	}
	return out, nil
}

func (a *api) listClients(ctx context.Context, in *struct {
	After string   `query:"after" doc:"Cursor of the page before"`
	Limit int      `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Name  string   `query:"name" doc:"Prefix of the name"`
	Label []string `query:"label,explode" doc:"key=value, repeatable; all must match"`
},
) (*reply[adminapi.List[adminapi.OAuthClient]], error) {
	labels := make(map[string]string)
	for _, pair := range in.Label {
		k, v, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("%w: label %q is not key=value", errInvalid, pair)
		}
		labels[k] = v
	}
	page, err := a.Clients.List(ctx, clients.Filter{After: in.After, Limit: in.Limit, Name: in.Name, Labels: labels})
	if err != nil {
		return nil, err
	}
	out := &reply[adminapi.List[adminapi.OAuthClient]]{}
	out.Body.Items = make([]adminapi.OAuthClient, 0, len(page))
	for _, c := range page {
		out.Body.Items = append(out.Body.Items, wireClient(c))
	}
	if n := len(page); n == in.Limit {
		out.Body.Next = page[n-1].ID
	}
	return out, nil
}

func (a *api) showClient(ctx context.Context, in *ClientPath) (*reply[adminapi.OAuthClient], error) {
	return a.oneClient(a.Clients.Find(ctx, in.Client))
}

func (a *api) oneClient(c *clients.Client, err error) (*reply[adminapi.OAuthClient], error) {
	if err != nil {
		return nil, err
	}
	return &reply[adminapi.OAuthClient]{wireClient(c)}, nil
}

func (a *api) updateClient(ctx context.Context, in *struct {
	ClientPath

	Body adminapi.ClientChange
},
) (*reply[adminapi.OAuthClient], error) {
	b := in.Body
	change := clients.Change{Name: b.Name, Owner: b.Owner, Labels: b.Labels, JWKSURI: b.JWKSURI, Introspects: b.Introspects, Claims: b.Claims}
	if b.JWKS != nil {
		change.JWKS = new(keySet(*b.JWKS))
	}
	if b.Grants != nil {
		change.Grants = new(grants(*b.Grants))
	}
	if b.AllowCIDRs != nil {
		networks, err := parseNetworks(*b.AllowCIDRs)
		if err != nil {
			return nil, err
		}
		change.AllowCIDRs = &networks
	}
	if b.TokenTTL != nil {
		ttl, err := seconds(*b.TokenTTL)
		if err != nil {
			return nil, err
		}
		change.TokenTTL = &ttl
	}
	switch {
	case b.NeverExpire && b.ExpiresAt != nil:
		return nil, fmt.Errorf("%w: expires_at and never_expire exclude each other", errInvalid)
	case b.NeverExpire:
		change.ExpiresAt = new(time.Time{})
	case b.ExpiresAt != nil:
		change.ExpiresAt = new(b.ExpiresAt.UTC())
	}
	return a.oneClient(a.Clients.Update(ctx, actor(ctx), in.Client, change))
}

func (a *api) deleteClient(ctx context.Context, in *ClientPath) (*none, error) {
	return &none{}, a.Clients.Delete(ctx, actor(ctx), in.Client)
}

func (a *api) disableClient(ctx context.Context, in *struct {
	ClientPath

	Body adminapi.Reason
},
) (*reply[adminapi.OAuthClient], error) {
	return a.oneClient(a.Clients.Disable(ctx, actor(ctx), in.Client, in.Body.Reason))
}

func (a *api) enableClient(ctx context.Context, in *ClientPath) (*reply[adminapi.OAuthClient], error) {
	return a.oneClient(a.Clients.Enable(ctx, actor(ctx), in.Client))
}

func (a *api) clientImpact(ctx context.Context, in *ClientPath) (*reply[adminapi.Impact], error) {
	c, err := a.Clients.Find(ctx, in.Client)
	if err != nil {
		return nil, err
	}
	used := "had got no token 10 seconds ago" // usage is flushed that often
	if !c.LastUsedAt.IsZero() {
		used = "last got a token " + c.LastUsedAt.UTC().Format(time.RFC3339)
	}
	now, live := time.Now(), 0
	for i := range c.Secrets {
		if c.Secrets[i].Live(now) {
			live++
		}
	}
	return &reply[adminapi.Impact]{adminapi.Impact{
		Clients: 1, Secrets: live, APIs: len(c.Grants),
		Summary: fmt.Sprintf("client %s (%s) has %s and grants of %s, and %s; all its tokens end at once",
			c.Name, c.ID, count(live, "working secret"), count(len(c.Grants), "API"), used),
	}}, nil
}

func wireClient(c *clients.Client) adminapi.OAuthClient {
	out := adminapi.OAuthClient{
		ClientID: c.ID, Name: c.Name, Owner: c.Owner, Labels: c.Labels, AuthMethod: string(c.AuthMethod), JWKS: json.RawMessage(c.JWKS),
		JWKSURI: c.JWKSURI, Grants: make([]adminapi.Grant, 0, len(c.Grants)), Introspects: append([]string{}, c.Introspects...),
		AllowCIDRs: make([]string, 0, len(c.AllowCIDRs)), TokenTTL: int64(c.TokenTTL / time.Second), Claims: c.Claims,
		ExpiresAt: c.ExpiresAt, Disabled: c.Disabled, Generation: c.Generation, Secrets: wireSecrets(c.Secrets),
		CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt, LastUsedAt: c.LastUsedAt,
	}
	for _, g := range c.Grants {
		out.Grants = append(out.Grants, adminapi.Grant{API: g.API, Scopes: g.Scopes, DefaultScopes: g.Defaults})
	}
	for _, p := range c.AllowCIDRs {
		out.AllowCIDRs = append(out.AllowCIDRs, p.String())
	}
	return out
}

func grants(in []adminapi.Grant) []clients.Grant {
	out := make([]clients.Grant, 0, len(in))
	for _, g := range in {
		out = append(out, clients.Grant{API: g.API, Scopes: g.Scopes, Defaults: g.DefaultScopes})
	}
	return out
}

// parseNetworks reads CIDRs; an address alone is the network of that address.
func parseNetworks(in []string) ([]netip.Prefix, error) {
	out := make([]netip.Prefix, 0, len(in))
	for _, text := range in {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			addr, aerr := netip.ParseAddr(text)
			if aerr != nil || addr.Zone() != "" {
				return nil, fmt.Errorf("%w: %q is not a network such as 10.0.0.0/8", errInvalid, text)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		out = append(out, prefix)
	}
	return out, nil
}

// keySet is the JWK set of a request; JSON null is none.
func keySet(raw json.RawMessage) []byte {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	return raw
}
