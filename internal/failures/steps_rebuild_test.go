package failures

import (
	"syscall"
	"testing"

	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// TestRebuilderKilledAtEachStep takes what Redis knows away, and kills the replica that brings it back at each request that
// takes. Another one, which was frozen meanwhile, takes its place. Nothing that was taken back counts at any moment, not what
// is taken back before Redis is whole again either; what nobody took back does.
func TestRebuilderKilledAtEachStep(t *testing.T) {
	t.Parallel()
	long(t)
	p := newStepped(t)
	live := p.live(t)
	victim := p.b.client(t)
	dead := []string{p.b.token(t, victim), p.b.token(t, p.watch)}
	if _, err := p.b.admin.CutOff(t.Context(), adminapi.NewCutOff{Client: victim.id}); err != nil {
		t.Fatal(err)
	}
	p.b.revoke(p.watch, dead[1]).want(t)
	var steps []string
	for {
		p.b.trusts(t, p.watch, live)
		next := p.b.token(t, p.watch)
		step := p.rebuildsAlone(t)
		if step == "" {
			break
		}
		if steps = append(steps, step); len(steps) > mostSteps {
			t.Fatalf("still at it after %d steps: %s", mostSteps, short(step))
		}
		p.dead(t, p.b, dead...)
		p.b.revoke(p.watch, next).want(t)
		dead = append(dead, next)
		p.wholeAgain(t, p.b, live, dead)
		p.restart()
		p.wholeAgain(t, p.a, live, dead)
	}
	t.Logf("killed at %d steps", len(steps))
	killedAt(t, steps, "pg_try_advisory_xact_lock", "UPDATE redis_trust SET write_id", "multi; unlink; zadd; exec",
		"FROM revocations WHERE expires_at", "zadd gt", "FROM cut_offs WHERE expires_at", "zadd lt", "zadd xx ch",
		"UPDATE redis_trust SET read_id", commitStep)
}

// rebuildsAlone flushes Redis while only one replica moves, and returns where that one was killed; empty when it was not, and
// has rebuilt the set.
func (p *stepped) rebuildsAlone(t *testing.T) string {
	t.Helper()
	p.b.Signal(syscall.SIGSTOP)
	defer p.b.Signal(syscall.SIGCONT)
	generation := p.count(t, "SELECT generation FROM redis_trust")
	p.proxy.Arm(p.a.Kill)
	p.redis.Do("FLUSHALL")
	eventually(t, calmWithin, "rebuild, or die of it", func() bool {
		return !p.a.Running() || p.count(t, "SELECT count(*) FROM redis_trust WHERE read_id <> '' AND generation > $1", generation) == 1
	})
	step, _ := p.proxy.Disarm()
	return step
}

// wholeAgain waits until a replica answers from Redis; it must know all the time what was taken back.
func (p *stepped) wholeAgain(t *testing.T, at *server, live string, dead []string) {
	t.Helper()
	eventually(t, calmWithin, "answer from Redis", func() bool {
		before := at.readFrom(t)
		p.dead(t, at, dead...)
		if a := at.introspect(p.watch, live); !a.active() {
			t.Errorf("a live token: %d %s (%v)", a.status, a.body, a.err)
		}
		after := at.readFrom(t)
		return after["redis"] > before["redis"] && after["database"] == before["database"]
	})
}
