package oauth

import (
	"context"
	"net/netip"
	"time"

	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/credential"
)

// bySecret authenticates by client secret, in the header or in the body (RFC 6749 §2.3.1).
func (s *Server) bySecret(ctx context.Context, ip netip.Addr, p presented) (*caller, error) {
	secret, err := credential.Parse(credential.ClientSecret, p.secret)
	if err != nil {
		// No client is looked up for a text that is nobody's secret, known or unknown alike: a typo costs no read.
		return nil, s.malformed(ip, p)
	}
	c := &caller{method: p.method, secretID: secret.ID()}
	now := time.Now()
	c.client, err = s.identify(ctx, ip, p, func(client *clients.Client) verdict {
		return s.judgeSecret(client, secret, p.method, now)
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// malformed refuses what does not even have the form of a secret.
func (s *Server) malformed(ip netip.Addr, p presented) error {
	if retryAfter, limited := s.cfg.Throttle.Limited(bucket(p.clientID), ip); limited {
		return throttled(retryAfter)
	}
	return s.denied(ip, p, verdict{reason: ReasonSecretMalformed})
}

// judgeSecret computes exactly one HMAC, whatever it is given: for an unknown client, or a secret ID that the client has
// not got, against a decoy that nothing matches.
func (s *Server) judgeSecret(c *clients.Client, secret credential.Secret, method clients.AuthMethod, now time.Time) verdict {
	owner, digest := "", s.decoy
	var record *clients.Secret
	if c != nil {
		owner = c.ID
		for i := range c.Secrets {
			// A zero digest is no secret, and comparing with it would cost no HMAC.
			if c.Secrets[i].ID == secret.ID() && c.Secrets[i].Digest != (credential.Digest{}) {
				record, digest = &c.Secrets[i], c.Secrets[i].Digest
			}
		}
	}
	match, err := s.cfg.Pepper.Matches(owner, secret, digest)
	switch {
	case err != nil:
		return verdict{trouble: unavailable(err)}
	case c == nil:
		return verdict{reason: ReasonClientUnknown}
	case record == nil || !match:
		return verdict{reason: ReasonSecretMismatch}
	case !record.Live(now):
		return verdict{reason: ReasonSecretExpired}
	default:
		return standing(c, method, now)
	}
}
