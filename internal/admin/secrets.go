package admin

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func (a *api) secretRoutes() {
	const all = "/clients/{client}/secrets"
	handle(a, created(operation("create-secret", http.MethodPost, all, "Add a secret beside those that the client has")), a.createSecret)
	handle(a, operation("list-secrets", http.MethodGet, all, "List a client's secrets, oldest first"), a.listSecrets)
	handle(a, created(operation("rotate-secret", http.MethodPost, all+"/rotate", "Make a new secret and let those before it expire")), a.rotateSecret)
	handle(a, operation("cancel-rotation", http.MethodPost, all+"/cancel-rotation", "Take the newest rotation back"), a.cancelRotation)
	handle(a, operation("revoke-secret", http.MethodDelete, all+"/{secret_id}", "End one secret at once"), a.revokeSecret)
}

func (a *api) createSecret(ctx context.Context, in *struct {
	ClientPath

	Body adminapi.NewSecret
},
) (*reply[adminapi.CreatedSecret], error) {
	c, secret, err := a.Clients.CreateSecret(ctx, actor(ctx), in.Client, in.Body.ExpiresAt.UTC())
	if err != nil {
		return nil, err
	}
	return &reply[adminapi.CreatedSecret]{adminapi.CreatedSecret{
		ClientID: c.ID, ClientSecret: secret.Reveal(), SecretID: secret.ID(), ExpiresAt: in.Body.ExpiresAt,
	}}, nil
}

func (a *api) listSecrets(ctx context.Context, in *ClientPath) (*reply[adminapi.List[adminapi.Secret]], error) {
	c, err := a.Clients.Find(ctx, in.Client)
	if err != nil {
		return nil, err
	}
	return &reply[adminapi.List[adminapi.Secret]]{adminapi.List[adminapi.Secret]{Items: wireSecrets(c.Secrets)}}, nil
}

func (a *api) rotateSecret(ctx context.Context, in *struct {
	ClientPath

	Body adminapi.Rotate
},
) (*reply[adminapi.Rotation], error) {
	overlap := clients.DefaultOverlap
	switch {
	case in.Body.Now && in.Body.Overlap != 0:
		return nil, fmt.Errorf("%w: now and overlap exclude each other", errInvalid)
	case in.Body.Now:
		overlap = 0
	case in.Body.Overlap != 0:
		var err error
		if overlap, err = seconds(in.Body.Overlap); err != nil {
			return nil, err
		}
	}
	done, err := a.Clients.RotateSecret(ctx, actor(ctx), in.Client, overlap)
	if err != nil {
		return nil, err
	}
	return &reply[adminapi.Rotation]{adminapi.Rotation{
		ClientID: done.Client.ID, ClientSecret: done.Secret.Reveal(), SecretID: done.SecretID, PreviousExpiresAt: done.PreviousExpiresAt,
	}}, nil
}

func (a *api) cancelRotation(ctx context.Context, in *ClientPath) (*reply[adminapi.Rotation], error) {
	done, err := a.Clients.CancelRotation(ctx, actor(ctx), in.Client)
	if err != nil {
		return nil, err
	}
	return &reply[adminapi.Rotation]{adminapi.Rotation{ClientID: done.Client.ID, PreviousExpiresAt: done.PreviousExpiresAt}}, nil
}

func (a *api) revokeSecret(ctx context.Context, in *struct {
	ClientPath

	SecretID string `path:"secret_id"`
},
) (*none, error) {
	_, err := a.Clients.RevokeSecret(ctx, actor(ctx), in.Client, in.SecretID)
	return &none{}, err
}

// wireSecrets shows what is known of secrets; their digests are nobody's business.
func wireSecrets(in []clients.Secret) []adminapi.Secret {
	now := time.Now()
	out := make([]adminapi.Secret, 0, len(in))
	for i := range in {
		s := &in[i]
		out = append(out, adminapi.Secret{
			SecretID: s.ID, Hint: s.Hint, Expired: !s.Live(now), CreatedAt: s.CreatedAt, ExpiresAt: s.ExpiresAt, LastUsedAt: s.LastUsedAt,
		})
	}
	return out
}
