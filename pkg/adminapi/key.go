package adminapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// Key is a signing key, without its private part.
type Key struct {
	KID         string          `json:"kid"`
	Alg         string          `json:"alg" enum:"ES256,RS256,EdDSA"`
	State       string          `json:"state" enum:"pending,active,retiring,retired,compromised"`
	PublicJWK   json.RawMessage `json:"public_jwk"`
	CreatedAt   time.Time       `json:"created_at"`
	PublishedAt time.Time       `json:"published_at,omitzero" doc:"When it was first in the JWKS"`
	ActivatedAt time.Time       `json:"activated_at,omitzero"`
	RetiringAt  time.Time       `json:"retiring_at,omitzero" doc:"When it stopped signing"`
	EndedAt     time.Time       `json:"ended_at,omitzero" doc:"When it was retired or marked compromised"`
}

// RotateKey names the algorithm whose standby key is to sign.
type RotateKey struct {
	Alg string `json:"alg" enum:"ES256,RS256,EdDSA"`
}

// ImportKey is a private key to become the standby of its algorithm.
type ImportKey struct {
	Alg string `json:"alg,omitempty" enum:"ES256,RS256,EdDSA" doc:"Absent: what the key is for"`
	Key string `json:"key" minLength:"1" doc:"Private key, PEM or JWK"`
}

// Keys lists all signing keys, the ended ones too.
func (c *Client) Keys(ctx context.Context) ([]Key, error) {
	list, err := call[List[Key]](ctx, c, http.MethodGet, "/keys", nil, nil)
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// RotateKey lets the standby key of an algorithm sign.
func (c *Client) RotateKey(ctx context.Context, alg string) (*Key, error) {
	return call[Key](ctx, c, http.MethodPost, "/keys/rotate", nil, RotateKey{alg})
}

// ImportKey publishes a private key as the standby of its algorithm.
func (c *Client) ImportKey(ctx context.Context, k ImportKey) (*Key, error) {
	return call[Key](ctx, c, http.MethodPost, "/keys/import", nil, k)
}

// RevokeKey marks a key compromised: it leaves the JWKS, its tokens end, and the standby signs at once.
func (c *Client) RevokeKey(ctx context.Context, kid, reason string) (*Key, error) {
	return call[Key](ctx, c, http.MethodPost, "/keys/"+segment(kid)+"/revoke", nil, Reason{reason})
}

// KeyImpact says what revoking the key would take away.
func (c *Client) KeyImpact(ctx context.Context, kid string) (*Impact, error) {
	return call[Impact](ctx, c, http.MethodGet, "/keys/"+segment(kid)+"/impact", nil, nil)
}
