package adminapi

import (
	"context"
	"net/http"
	"time"
)

// Secret is one of a client's secrets, without its text.
type Secret struct {
	SecretID   string    `json:"secret_id"`
	Hint       string    `json:"hint" doc:"Last four characters of the text"`
	Expired    bool      `json:"expired"`
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at,omitzero"`
	LastUsedAt time.Time `json:"last_used_at,omitzero" doc:"Up to 10 s late"`
}

// NewSecret is what a secret is created with.
type NewSecret struct {
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// CreatedSecret is a new secret, which is shown here and never again.
type CreatedSecret struct {
	ClientID     string    `json:"client_id"`
	ClientSecret string    `json:"client_secret"`
	SecretID     string    `json:"secret_id"`
	ExpiresAt    time.Time `json:"expires_at,omitzero"`
}

// Rotate says how long the secrets before a new one go on working.
type Rotate struct {
	Overlap int64 `json:"overlap,omitempty" minimum:"1" doc:"Seconds; absent means 24 h"`
	Now     bool  `json:"now,omitempty" doc:"End them, and every token issued so far, at once"`
}

// Rotation is the outcome of a rotation, or of taking one back: then it has no new secret.
type Rotation struct {
	ClientID          string    `json:"client_id"`
	ClientSecret      string    `json:"client_secret,omitempty"`
	SecretID          string    `json:"secret_id,omitempty"`
	PreviousExpiresAt time.Time `json:"previous_expires_at,omitzero" doc:"When the secrets before it stop working"`
}

// CreateSecret adds a secret beside those that the client has.
func (c *Client) CreateSecret(ctx context.Context, client string, n NewSecret) (*CreatedSecret, error) {
	return call[CreatedSecret](ctx, c, http.MethodPost, "/clients/"+segment(client)+"/secrets", nil, n)
}

// Secrets lists a client's secrets, oldest first.
func (c *Client) Secrets(ctx context.Context, client string) ([]Secret, error) {
	list, err := call[List[Secret]](ctx, c, http.MethodGet, "/clients/"+segment(client)+"/secrets", nil, nil)
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// RotateSecret makes a new secret and lets those before it expire.
func (c *Client) RotateSecret(ctx context.Context, client string, r Rotate) (*Rotation, error) {
	return call[Rotation](ctx, c, http.MethodPost, "/clients/"+segment(client)+"/secrets/rotate", nil, r)
}

// CancelRotation takes the newest rotation back while the secrets before it still work.
func (c *Client) CancelRotation(ctx context.Context, client string) (*Rotation, error) {
	return call[Rotation](ctx, c, http.MethodPost, "/clients/"+segment(client)+"/secrets/cancel-rotation", nil, struct{}{})
}

// RevokeSecret ends one secret at once.
func (c *Client) RevokeSecret(ctx context.Context, client, secretID string) error {
	return c.do(ctx, http.MethodDelete, "/clients/"+segment(client)+"/secrets/"+segment(secretID), nil, nil, nil)
}
