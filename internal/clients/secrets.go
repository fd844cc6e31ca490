package clients

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/credential"
)

// DefaultOverlap is how long the previous secret goes on working after a rotation.
const DefaultOverlap = 24 * time.Hour

// MaxOverlap bounds it: a rotation that never ends is none.
const MaxOverlap = 90 * 24 * time.Hour

// maxLive bounds the secrets that work at once; keepExpired is how many expired ones stay on record, the newest, so that
// "why was this refused?" can be answered.
const (
	maxLive     = 10
	keepExpired = 5
)

// Rotation is the outcome of RotateSecret.
type Rotation struct {
	Client            *Client
	Secret            credential.Secret // the new one; the zero Secret after a cancel
	SecretID          string
	PreviousExpiresAt time.Time // when the last of the previous secrets stops working; after a cancel, what it is again (zero: never)
}

// CreateSecret adds a secret beside those that the client has. expires zero: never.
func (r *Registry) CreateSecret(ctx context.Context, by audit.Actor, idOrName string, expires time.Time) (*Client, credential.Secret, error) {
	var secret credential.Secret
	c, err := r.update(ctx, by, idOrName, "secret.create", func(c *Client) (map[string]any, error) {
		var err error
		if secret, err = r.addSecret(c, expires, time.Now().UTC()); err != nil {
			return nil, err
		}
		return map[string]any{"secret_id": secret.ID()}, c.validate(r.cfg.AllowCIDRs)
	})
	return c, secret, err
}

// RotateSecret makes a new secret and lets those before it expire after overlap, or at once when overlap is 0. At once is for
// emergencies: it also ends every token that was issued so far, and the secrets before it go, because for a replica whose clock
// is behind they would not have expired yet. With an overlap, a secret that expires sooner anyway keeps its expiry.
func (r *Registry) RotateSecret(ctx context.Context, by audit.Actor, idOrName string, overlap time.Duration) (Rotation, error) {
	if overlap < 0 || overlap > MaxOverlap {
		return Rotation{}, invalid("overlap %s is not from 0 to %s", overlap, MaxOverlap)
	}
	var out Rotation
	c, err := r.update(ctx, by, idOrName, "secret.rotate", func(c *Client) (map[string]any, error) {
		now := time.Now().UTC()
		secret, err := r.addSecret(c, time.Time{}, now)
		if err != nil {
			return nil, err
		}
		out = Rotation{Secret: secret, SecretID: secret.ID(), PreviousExpiresAt: now}
		end := now.Add(overlap)
		for i := range c.Secrets[:len(c.Secrets)-1] {
			old := &c.Secrets[i]
			if !old.Live(now) {
				continue
			}
			old.ReplacedBy, old.OldExpiry = secret.ID(), old.ExpiresAt
			if old.ExpiresAt.IsZero() || old.ExpiresAt.After(end) {
				old.ExpiresAt = end
			}
			if old.ExpiresAt.After(out.PreviousExpiresAt) {
				out.PreviousExpiresAt = old.ExpiresAt
			}
		}
		detail := map[string]any{"secret_id": secret.ID(), "overlap": overlap.String()}
		if overlap == 0 {
			c.Secrets = c.Secrets[len(c.Secrets)-1:]
			c.Generation++
			detail["generation"] = c.Generation
		}
		return detail, c.validate(r.cfg.AllowCIDRs)
	})
	out.Client = c
	return out, err
}

// CancelRotation takes the newest rotation back while the secrets before it still work: the secret that it made goes, and
// those before it get the expiry that they had.
func (r *Registry) CancelRotation(ctx context.Context, by audit.Actor, idOrName string) (Rotation, error) {
	var out Rotation
	c, err := r.update(ctx, by, idOrName, "secret.rotate-cancel", func(c *Client) (map[string]any, error) {
		now := time.Now().UTC()
		if len(c.Secrets) == 0 {
			return nil, invalid("client has no secrets")
		}
		newest := c.Secrets[len(c.Secrets)-1]
		restored := 0
		for i := range c.Secrets {
			old := &c.Secrets[i]
			if old.ReplacedBy != newest.ID || !old.Live(now) {
				continue
			}
			old.ExpiresAt, old.ReplacedBy, old.OldExpiry = old.OldExpiry, "", time.Time{}
			out.PreviousExpiresAt = old.ExpiresAt
			restored++
		}
		if restored == 0 {
			return nil, invalid("there is no rotation to cancel: no earlier secret still works")
		}
		c.Secrets = c.Secrets[:len(c.Secrets)-1]
		return map[string]any{"secret_id": newest.ID}, nil
	})
	out.Client = c
	return out, err
}

// RevokeSecret removes one secret at once. Tokens that were got with it live on; use CutOff where it leaked.
func (r *Registry) RevokeSecret(ctx context.Context, by audit.Actor, idOrName, secretID string) (*Client, error) {
	return r.update(ctx, by, idOrName, "secret.revoke", func(c *Client) (map[string]any, error) {
		i := slices.IndexFunc(c.Secrets, func(s Secret) bool { return s.ID == secretID })
		if i < 0 {
			return nil, fmt.Errorf("%w: %s of %s", ErrSecretNotFound, secretID, c.Name)
		}
		c.Secrets = slices.Delete(c.Secrets, i, i+1)
		return map[string]any{"secret_id": secretID}, nil
	})
}

// addSecret makes a secret, appends its record to c and drops the records of those that expired long ago.
func (r *Registry) addSecret(c *Client, expires, now time.Time) (credential.Secret, error) {
	if c.AuthMethod == PrivateKeyJWT {
		return credential.Secret{}, invalid("private_key_jwt goes without a secret")
	}
	if err := inFuture("secret", expires, now); err != nil {
		return credential.Secret{}, err
	}
	c.dropExpired(now)
	secret := credential.New(credential.ClientSecret)
	c.Secrets = append(c.Secrets, Secret{
		ID: secret.ID(), Hint: secret.Hint(), Digest: r.cfg.Pepper.Digest(c.ID, secret), CreatedAt: now, ExpiresAt: expires,
	})
	return secret, nil
}

// dropExpired forgets the oldest expired secrets beyond keepExpired.
func (c *Client) dropExpired(now time.Time) {
	expired := 0
	for i := range c.Secrets {
		if !c.Secrets[i].Live(now) {
			expired++
		}
	}
	c.Secrets = slices.DeleteFunc(c.Secrets, func(s Secret) bool {
		drop := !s.Live(now) && expired > keepExpired
		if drop {
			expired--
		}
		return drop
	})
}
