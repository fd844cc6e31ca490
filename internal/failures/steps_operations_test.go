package failures

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// Parts of requests that operations have in common.
const (
	beginStep    = "begin"
	commitStep   = "commit"
	auditStep    = `INSERT INTO "audit_events"`
	holdStep     = "FROM redis_trust FOR SHARE"
	cutOffStep   = "INSERT INTO cut_offs"
	confirmStep  = "UPDATE cut_offs SET confirmed = 1"
	addTokenStep = "zadd gt"
	addCutStep   = "zadd lt"
)

// cutOffSteps are those of a change that cuts something off.
func cutOffSteps(more ...string) []string {
	return append([]string{beginStep, auditStep, cutOffStep, commitStep, holdStep, addCutStep, confirmStep}, more...)
}

// issuing: a token that arrives counts. Nothing is written for it before it does.
func issuing() operation {
	return operation{name: "issue", steps: []string{"FROM clients c"}, begin: func(t *testing.T, p *stepped) attempt {
		t.Helper()
		c := p.b.client(t)
		var token string
		return attempt{
			do:   func() bool { token = p.a.request(c).token(); return token != "" },
			done: func() bool { return false },
			holds: func() {
				if a := p.b.introspect(p.watch, token); !a.active() {
					t.Errorf("a fresh token: %d %s (%v)", a.status, a.body, a.err)
				}
				p.b.verify(t, p.b.jwks(t), token)
			},
		}
	}}
}

// asserting: an assertion is good for one token at most, whoever is asked, and a fresh one for the next.
func asserting() operation {
	return operation{name: "assertion", change: "INSERT INTO assertion_uses", begin: func(t *testing.T, p *stepped) attempt {
		t.Helper()
		c := p.b.keyedClient(t)
		assertion := p.b.assertion(t, c, time.Minute)
		one := attempt{
			do: func() bool { return p.a.present(assertion).ok() },
			done: func() bool {
				return p.count(t, "SELECT count(*) FROM assertion_uses WHERE client_id = $1", c.id) == 1
			},
		}
		one.again = func(done bool) {
			if got := p.b.present(assertion).ok(); got == done {
				t.Errorf("an assertion whose use is recorded (%v) is accepted: %v", done, got)
			}
		}
		one.holds = func() {
			for _, s := range []*server{p.a, p.b} {
				if a := s.present(assertion); a.status != http.StatusUnauthorized || a.token() != "" {
					t.Errorf("an assertion for the second time: %d %s (%v)", a.status, a.body, a.err)
				}
				s.assert(t, c).want(t)
			}
		}
		return one
	}}
}

func revoking() operation {
	steps := []string{beginStep, auditStep, holdStep, commitStep, addTokenStep}
	return operation{name: "revoke", change: "INSERT INTO revocations", steps: steps, begin: func(t *testing.T, p *stepped) attempt {
		t.Helper()
		c := p.b.client(t)
		token := p.b.token(t, c)
		return attempt{
			do: func() bool { return p.a.revoke(c, token).ok() },
			done: func() bool {
				return p.whole(t, p.count(t, "SELECT count(*) FROM revocations WHERE jti = $1", jti(token)),
					p.audited(t, "token.revoke", jti(token)))
			},
			dead: token,
		}
	}}
}

func disabling() operation {
	o := operation{name: "disable", change: cutOffStep, steps: cutOffSteps(`UPDATE "clients"`)}
	o.begin = func(t *testing.T, p *stepped) attempt {
		t.Helper()
		c := p.b.client(t)
		return attempt{
			do: func() bool { _, err := p.a.admin.DisableClient(t.Context(), c.id, ""); return err == nil },
			done: func() bool {
				disabled := 0
				if p.b.is(t, c.id, func(now *adminapi.OAuthClient) bool { return now.Disabled }) {
					disabled = 1
				}
				return p.whole(t, disabled, p.cut(t, c), p.audited(t, "client.disable", c.id))
			},
			dead: p.b.token(t, c), cutOff: "c:" + c.id,
			holds: func() {
				if a := p.a.request(c); a.status != http.StatusUnauthorized {
					t.Errorf("a disabled client: %d %s (%v)", a.status, a.body, a.err)
				}
			},
		}
	}
	return o
}

func cuttingOff() operation {
	o := operation{name: "cut off", change: cutOffStep, steps: cutOffSteps(`UPDATE "clients"`)}
	o.begin = func(t *testing.T, p *stepped) attempt {
		t.Helper()
		c := p.b.client(t)
		return attempt{
			do: func() bool {
				_, err := p.a.admin.CutOff(t.Context(), adminapi.NewCutOff{Client: c.id})
				return err == nil
			},
			done: func() bool { return p.whole(t, p.cut(t, c), p.audited(t, "revocation.cut-off", c.id)) },
			dead: p.b.token(t, c), cutOff: "c:" + c.id,
			holds: func() {
				if a := p.b.introspect(p.watch, p.a.token(t, c)); !a.active() {
					t.Errorf("a token from after the cut-off: %d %s (%v)", a.status, a.body, a.err)
				}
			},
		}
	}
	return o
}

// rotatingSecret: a client goes on with the secret that it has until it is given another, and with that one from then on.
func rotatingSecret(name, change string, how adminapi.Rotate, steps []string) operation {
	o := operation{name: name, change: change, steps: steps}
	o.begin = func(t *testing.T, p *stepped) attempt {
		t.Helper()
		old := p.b.client(t)
		fresh := old
		token := p.b.token(t, old)
		one := attempt{
			do: func() bool {
				made, err := p.a.admin.RotateSecret(t.Context(), old.id, how)
				if err == nil {
					fresh.secret = made.ClientSecret
				}
				return err == nil
			},
			done: func() bool {
				rotated := p.audited(t, "secret.rotate", old.id)
				secrets := p.count(t, "SELECT count(*) FROM client_secrets WHERE client_id = $1", old.id)
				if how.Now { // and nothing is left of the one before
					p.whole(t, 1, secrets)
					return p.whole(t, rotated, p.cut(t, old))
				}
				return p.whole(t, rotated, secrets-1)
			},
		}
		refused := func() bool { return p.b.request(old).status == http.StatusUnauthorized }
		one.alone = func() {
			if how.Now && one.done() {
				eventually(t, calmWithin, "refuse the old secret", refused)
			} else if a := p.b.request(old); !a.ok() {
				t.Errorf("the old secret: %d %s (%v)", a.status, a.body, a.err)
			}
		}
		one.holds = func() {
			p.a.token(t, fresh)
			p.b.token(t, fresh)
			if how.Now {
				eventually(t, calmWithin, "refuse the old secret", refused)
			} else {
				p.b.token(t, old)
			}
		}
		if how.Now {
			one.dead, one.cutOff = token, "c:"+old.id
		}
		return one
	}
	return o
}

func rotating24h() operation {
	return rotatingSecret("rotate a secret", `INSERT INTO "client_secrets"`, adminapi.Rotate{}, []string{beginStep, auditStep, commitStep})
}

func rotatingNow() operation {
	return rotatingSecret("rotate a secret now", cutOffStep, adminapi.Rotate{Now: true}, cutOffSteps(`INSERT INTO "client_secrets"`))
}

// audited counts events of the audit trail.
func (p *stepped) audited(t *testing.T, action, subject string) int {
	t.Helper()
	return p.count(t, "SELECT count(*) FROM audit_events WHERE action = $1 AND subject = $2", action, subject)
}

// cut is how often a client was cut off, by its record and by the table of cut-offs, which agree.
func (p *stepped) cut(t *testing.T, c client) int {
	t.Helper()
	const byTable = "SELECT coalesce(max(generation), 1) - 1 FROM cut_offs WHERE kind = 'client' AND id = $1"
	times := p.count(t, "SELECT generation - 1 FROM clients WHERE id = $1", c.id)
	p.whole(t, times, p.count(t, byTable, c.id))
	return times
}

// whole says whether something was done, of which every trace must be there as often.
func (p *stepped) whole(t *testing.T, traces ...int) bool {
	t.Helper()
	if least, most := slices.Min(traces), slices.Max(traces); least != most {
		t.Errorf("done by half: %v", traces)
	}
	return traces[0] > 0
}
