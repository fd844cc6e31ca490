package failures

import (
	"slices"
	"testing"
)

// ripe makes the standby of ES256 old enough to sign, as soon as there is one.
func (p *stepped) ripe(t *testing.T) {
	t.Helper()
	const age = `UPDATE signing_keys SET published_at = published_at - 7200000000 WHERE alg = 'ES256' AND state = 'pending'`
	eventually(t, calmWithin, "publish a standby", func() bool {
		result, err := p.database.ExecContext(t.Context(), age)
		if err != nil {
			t.Fatal(err)
		}
		aged, err := result.RowsAffected()
		return err == nil && aged == 1
	})
}

// signing is the key that signs, by the database.
func (p *stepped) signing(t *testing.T) string {
	t.Helper()
	var kid string
	err := p.database.QueryRowContext(t.Context(), "SELECT kid FROM signing_keys WHERE alg = 'ES256' AND state = 'active'").Scan(&kid)
	if err != nil {
		t.Fatalf("read the key that signs: %v", err)
	}
	return kid
}

// keySet wants what must hold between any two steps: one key signs. Where nobody was killed there is one standby, too.
func (p *stepped) keySet(t *testing.T, standbys ...int) {
	t.Helper()
	const in = "SELECT count(*) FROM signing_keys WHERE alg = 'ES256' AND state = $1"
	if active, pending := p.count(t, in, "active"), p.count(t, in, "pending"); active != 1 || !slices.Contains(standbys, pending) {
		t.Errorf("%d active keys and %d standbys, want 1 and %v", active, pending, standbys)
	}
}

// signsWith waits until there is a standby again, and both replicas publish the key that signs and sign with it.
func (p *stepped) signsWith(t *testing.T) {
	t.Helper()
	eventually(t, calmWithin, "make a standby", func() bool {
		return p.count(t, "SELECT count(*) FROM signing_keys WHERE alg = 'ES256' AND state = 'pending'") == 1
	})
	for _, s := range []*server{p.a, p.b} {
		eventually(t, calmWithin, "sign with the new key", func() bool {
			token := s.request(p.watch).token()
			return kid(token) == p.signing(t) && s.kids()[kid(token)] && p.b.introspect(p.watch, token).active()
		})
	}
}

func rotatingKey() operation {
	o := operation{
		name: "rotate a key", change: `UPDATE "signing_keys"`,
		steps: []string{beginStep, auditStep, commitStep, `INSERT INTO "signing_keys"`}, // of the next standby
	}
	o.begin = func(t *testing.T, p *stepped) attempt {
		t.Helper()
		p.ripe(t)
		old, before := p.signing(t), p.live(t)
		const rotations = "SELECT count(*) FROM audit_events WHERE action = 'key.rotate'"
		audited := p.count(t, rotations)
		rotate := func() bool { _, err := p.a.admin.RotateKey(t.Context(), "ES256"); return err == nil }
		return attempt{
			do: rotate,
			done: func() bool {
				p.keySet(t, 0, 1)
				rotated := 0
				if p.signing(t) != old {
					rotated = 1
				}
				return p.whole(t, rotated, p.count(t, rotations)-audited)
			},
			alone: func() {
				if a := p.b.introspect(p.watch, before); !a.active() {
					t.Errorf("a token of the key before: %d %s (%v)", a.status, a.body, a.err)
				}
			},
			again: func(bool) {
				p.ripe(t) // the replica that came back has published the standby that is missing
				now := p.signing(t)
				eventually(t, calmWithin, "rotate when asked again", func() bool { return rotate() || p.signing(t) != now })
			},
			holds: func() {
				p.signsWith(t)
				p.keySet(t, 1)
				p.a.verify(t, p.a.jwks(t), before)
				if a := p.b.introspect(p.watch, before); !a.active() {
					t.Errorf("a token of a key that was rotated: %d %s (%v)", a.status, a.body, a.err)
				}
			},
		}
	}
	return o
}

// revokingKey: the second attempt may find nothing to change, and is no less of an acknowledgement.
func revokingKey() operation {
	o := operation{name: "revoke a key", change: cutOffStep, steps: cutOffSteps(`UPDATE "signing_keys"`, `INSERT INTO "signing_keys"`)}
	o.begin = func(t *testing.T, p *stepped) attempt {
		t.Helper()
		dead := p.live(t)
		key := kid(dead)
		return attempt{
			do: func() bool { _, err := p.a.admin.RevokeKey(t.Context(), key, "test"); return err == nil },
			done: func() bool {
				p.keySet(t, 0, 1)
				return p.whole(t, p.count(t, "SELECT count(*) FROM signing_keys WHERE kid = $1 AND state = 'compromised'", key),
					p.count(t, "SELECT count(*) FROM cut_offs WHERE kind = 'key' AND id = $1", key), p.audited(t, "key.revoke", key))
			},
			dead: dead, cutOff: "k:" + key,
			holds: func() {
				p.signsWith(t)
				p.keySet(t, 1)
				for _, s := range []*server{p.a, p.b} {
					eventually(t, calmWithin, "take the key out of the JWKS", func() bool { return !s.kids()[key] })
				}
				if again := p.audited(t, "key.revoke", key); again != 1 {
					t.Errorf("the audit trail has the revocation %d times", again)
				}
			},
		}
	}
	return o
}
