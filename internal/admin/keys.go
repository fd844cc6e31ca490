package admin

import (
	"context"
	"fmt"
	"net/http"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// KeyPath names one signing key.
type KeyPath struct {
	KID string `path:"kid"`
}

func (a *api) keyRoutes() {
	handle(a, operation("list-keys", http.MethodGet, "/keys", "List signing keys, the ended ones too"), a.listKeys)
	handle(a, operation("rotate-key", http.MethodPost, "/keys/rotate", "Let the standby key of an algorithm sign"), a.rotateKey)
	handle(a, created(operation("import-key", http.MethodPost, "/keys/import", "Publish a private key as the standby of its algorithm")), a.importKey)
	handle(a, operation("revoke-key", http.MethodPost, "/keys/{kid}/revoke", "Mark a key compromised: its tokens end, the standby signs at once"), a.revokeKey)
	handle(a, operation("key-impact", http.MethodGet, "/keys/{kid}/impact", "What revoking a key would take away"), a.keyImpact)
}

func (a *api) listKeys(ctx context.Context, _ *struct{}) (*reply[adminapi.List[adminapi.Key]], error) {
	all, err := a.Keys.List(ctx)
	if err != nil {
		return nil, err
	}
	out := &reply[adminapi.List[adminapi.Key]]{}
	out.Body.Items = make([]adminapi.Key, 0, len(all))
	for i := range all {
		out.Body.Items = append(out.Body.Items, wireKey(&all[i]))
	}
	return out, nil
}

func (a *api) rotateKey(ctx context.Context, in *struct{ Body adminapi.RotateKey }) (*reply[adminapi.Key], error) {
	return oneKey(a.Keys.Rotate(ctx, actor(ctx), apis.Alg(in.Body.Alg)))
}

func (a *api) importKey(ctx context.Context, in *struct{ Body adminapi.ImportKey }) (*reply[adminapi.Key], error) {
	alg := apis.Alg(in.Body.Alg)
	if alg == "" {
		alg = algOf([]byte(in.Body.Key))
	}
	return oneKey(a.Keys.Import(ctx, actor(ctx), []byte(in.Body.Key), alg))
}

func (a *api) revokeKey(ctx context.Context, in *struct {
	KeyPath

	Body adminapi.Reason
},
) (*reply[adminapi.Key], error) {
	return oneKey(a.Keys.Compromise(ctx, actor(ctx), in.KID, in.Body.Reason))
}

func (a *api) keyImpact(ctx context.Context, in *KeyPath) (*reply[adminapi.Impact], error) {
	key, err := a.findKey(ctx, in.KID)
	if err != nil {
		return nil, err
	}
	all, err := a.APIs.List(ctx)
	if err != nil {
		return nil, err
	}
	var out adminapi.Impact
	for _, one := range all {
		if one.Alg != key.Alg {
			continue
		}
		out.APIs++
		holders, err := a.APIs.Holders(ctx, one.Identifier)
		if err != nil {
			return nil, err
		}
		out.Clients += holders
	}
	what := fmt.Sprintf("%s key %s is %s", key.Alg, key.KID, key.State)
	switch key.State {
	case keys.Active:
		out.Summary = what + ": the standby signs at once, however short it has been published, and all its tokens end"
	case keys.Retiring:
		out.Summary = what + ": all tokens that it signed end"
	case keys.Pending, keys.Retired, keys.Compromised:
		out.APIs, out.Clients = 0, 0
		out.Summary = what + ": no live token was signed with it"
	}
	if out.APIs > 0 {
		out.Summary += fmt.Sprintf("; it signs for %s with %s", count(out.APIs, "API"), count(out.Clients, "grant"))
	}
	return &reply[adminapi.Impact]{out}, nil
}

func (a *api) findKey(ctx context.Context, kid string) (*keys.Record, error) {
	all, err := a.Keys.List(ctx)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].KID == kid {
			return &all[i], nil
		}
	}
	return nil, fmt.Errorf("%w: %s", keys.ErrNotFound, kid)
}

func oneKey(k keys.Record, err error) (*reply[adminapi.Key], error) {
	if err != nil {
		return nil, err
	}
	return &reply[adminapi.Key]{wireKey(&k)}, nil
}

// wireKey shows the public half.
func wireKey(k *keys.Record) adminapi.Key {
	return adminapi.Key{
		KID: k.KID, Alg: string(k.Alg), State: string(k.State), PublicJWK: k.PublicJWK, CreatedAt: k.CreatedAt,
		PublishedAt: k.PublishedAt, ActivatedAt: k.ActivatedAt, RetiringAt: k.RetiringAt, EndedAt: k.EndedAt,
	}
}
