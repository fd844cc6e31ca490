package keys

import (
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
)

// leeway is how far clocks may differ, ours among themselves and those of verifiers.
const leeway = time.Minute

// Plan says when keys change. Start from DefaultPlan.
type Plan struct {
	JWKSMaxAge   time.Duration // how long a JWKS may be cached: its Cache-Control max-age
	RotateEvery  time.Duration // age at which an active key is replaced by the schedule
	TokenCeiling time.Duration // longest lifetime of an access token
	MaxStale     time.Duration // how long a replica goes on with the keys it last read while the database is away
	RSABits      int           // of RSA keys made here
}

// DefaultPlan rotates monthly.
func DefaultPlan() Plan {
	return Plan{
		JWKSMaxAge:   5 * time.Minute,
		RotateEvery:  30 * 24 * time.Hour,
		TokenCeiling: apis.MaxTokenTTL,
		MaxStale:     time.Minute,
		RSABits:      3072,
	}
}

// visible is how long a standby is published before it may sign: two cache lifetimes, so that every verifier has fetched it
// even when its last fetch just missed it. A replica cut off from the database may serve the JWKS before it for MaxStale.
func (p Plan) visible() time.Duration {
	return max(2*p.JWKSMaxAge, p.JWKSMaxAge+p.MaxStale)
}

// activates is the time from which a standby may sign.
func (p Plan) activates(r Record) time.Time { return r.PublishedAt.Add(p.visible()) }

// retires is the time from which nobody needs a retiring key any more: the last replica has stopped signing with it, the
// last token has expired, and the last cached JWKS with it too.
func (p Plan) retires(r Record) time.Time {
	return r.RetiringAt.Add(p.TokenCeiling + leeway + p.JWKSMaxAge + p.MaxStale)
}
