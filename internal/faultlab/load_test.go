package faultlab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// load keeps everybody busy until it is ended.
type load struct {
	lab    *lab
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	seed   uint64
}

// prepareLoad is a load that does nothing yet.
func prepareLoad(l *lab, seed uint64) *load {
	d := &load{lab: l, seed: seed}
	d.ctx, d.cancel = context.WithCancel(l.t.Context())
	return d
}

// start starts workers that get tokens and revoke them, the oracle's questions to each replica, and, where there are real
// servers, admins who cut clients off.
func (d *load) start(workers int) {
	for worker := range workers {
		d.task("worker", worker, func(rng *rand.Rand) { d.revokeOne(rng, worker) })
	}
	for replica := range d.lab.stores.lines {
		d.task("newest", replica, func(rng *rand.Rand) { d.askOne(rng, replica, true) })
		d.task("any", replica, func(rng *rand.Rand) { d.askOne(rng, replica, false) })
	}
	if d.lab.cluster != nil {
		for i, victim := range d.lab.cluster.victims {
			d.task("admin", i, func(rng *rand.Rand) { d.cutOff(rng, victim) })
		}
	}
}

// task repeats one thing, with a generator of its own, until the load ends.
func (d *load) task(name string, i int, do func(rng *rand.Rand)) {
	rng := newRNG(d.seed, fmt.Sprintf("%s %d", name, i))
	d.tasks.Go(func() {
		for d.ctx.Err() == nil {
			do(rng)
		}
	})
}

// end stops the load and waits until everybody has stopped.
func (d *load) end() {
	d.cancel()
	d.tasks.Wait()
}

// pause is the time that clients let pass between requests.
func (d *load) pause(rng *rand.Rand, most time.Duration) {
	timer := time.NewTimer(time.Duration(rng.Int64N(int64(most))))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-d.ctx.Done():
	}
}

func (d *load) any(rng *rand.Rand) int { return rng.IntN(len(d.lab.stores.lines)) }

// revokeOne gets a token and revokes it, at whatever replica, until one says that it is done.
func (d *load) revokeOne(rng *rand.Rand, worker int) {
	o := d.lab.oracle
	from := d.any(rng)
	t, err := o.system.issue(d.ctx, from, worker)
	if err != nil {
		o.refused(d.ctx, from, t, err)
		d.pause(rng, ms(40))
		return
	}
	if rng.IntN(4) == 0 {
		o.askLive(d.ctx, d.any(rng), t)
	}
	for d.ctx.Err() == nil {
		replica, asked := d.any(rng), time.Now()
		err := o.system.revoke(d.ctx, replica, t)
		if err != nil {
			o.refused(d.ctx, replica, t, err)
			d.pause(rng, ms(40))
			continue
		}
		since := time.Now()
		d.lab.counts.revoked.Add(1)
		d.note(asked, since, fmt.Sprintf("revoked at replica %d, asked at %s", replica, stamp(asked)), t)
		o.ask(d.ctx, d.any(rng), known{t, "revoked a moment ago at replica " + fmt.Sprint(replica), since})
		break
	}
	d.pause(rng, ms(50))
}

// note brings what was acknowledged to the oracle.
func (d *load) note(asked, since time.Time, how string, tokens ...token) {
	d.lab.must("write the journal", d.lab.oracle.acknowledge(asked, since, how, tokens...))
}

// askOne asks a replica about one of the newest ends, or about any.
func (d *load) askOne(rng *rand.Rand, replica int, newest bool) {
	k, ok := d.lab.oracle.pick(rng, newest)
	if !ok || !d.lab.oracle.ask(d.ctx, replica, k) {
		d.pause(rng, ms(30))
	}
	d.pause(rng, ms(8))
}

// cutOff gets some tokens, ends all of them at once, and makes sure that the next ones count.
func (d *load) cutOff(rng *rand.Rand, victim client) {
	o := d.lab.oracle
	var tokens []token
	for range 1 + rng.IntN(6) {
		if t, ok := d.victimToken(rng, victim); ok {
			tokens = append(tokens, t)
		}
	}
	if len(tokens) == 0 {
		d.pause(rng, ms(50))
		return
	}
	if rng.IntN(3) == 0 {
		o.askLive(d.ctx, d.any(rng), tokens[len(tokens)-1])
	}
	kind := rng.IntN(40)
	switch {
	case kind == 0:
		d.revokeKey(rng, tokens)
	case kind < 12:
		d.disable(rng, victim, tokens)
	default:
		asked := time.Now()
		d.admin(rng, "cut off", func(ctx context.Context, a *adminapi.Client) (int64, error) {
			done, err := a.CutOff(ctx, adminapi.NewCutOff{Client: victim.id})
			if err != nil {
				return 0, err
			}
			return done.Generation, nil
		}, func(generation int64, how string) { d.below(asked, generation, how, tokens) })
	}
	// What was issued to the new generation counts. A replica that has not heard of it yet may still issue to the old one.
	if t, ok := d.victimToken(rng, victim); ok {
		o.askLive(d.ctx, d.any(rng), t)
	}
	d.pause(rng, ms(300))
}

func (d *load) victimToken(rng *rand.Rand, victim client) (token, bool) {
	replica := d.any(rng)
	t, err := d.lab.cluster.tokenFor(d.ctx, replica, victim)
	if err != nil {
		d.lab.oracle.refused(d.ctx, replica, t, err)
	}
	return t, err == nil
}

// below acknowledges the end of the tokens of a lower generation.
func (d *load) below(asked time.Time, generation int64, how string, tokens []token) {
	since := time.Now()
	d.lab.counts.cutOffs.Add(1)
	var ended []token
	for _, t := range tokens {
		if t.generation < generation {
			ended = append(ended, t)
		}
	}
	d.note(asked, since, how, ended...)
}

func (d *load) disable(rng *rand.Rand, victim client, tokens []token) {
	asked := time.Now()
	d.admin(rng, "disable", func(ctx context.Context, a *adminapi.Client) (int64, error) {
		done, err := a.DisableClient(ctx, victim.id, "")
		if err != nil {
			return 0, err
		}
		return done.Generation, nil
	}, func(generation int64, how string) { d.below(asked, generation, how, tokens) })
	d.admin(rng, "enable", func(ctx context.Context, a *adminapi.Client) (int64, error) {
		_, err := a.EnableClient(ctx, victim.id)
		return 0, err
	}, func(int64, string) {})
}

// revokeKey ends every token under the key that signed the latest of these, now and then.
func (d *load) revokeKey(rng *rand.Rand, tokens []token) {
	const seldom = 20 * time.Second
	c := d.lab.cluster
	kid := tokens[len(tokens)-1].kid
	c.mu.Lock()
	soon := time.Since(d.lab.counts.keyRevoked) < seldom
	if !soon {
		d.lab.counts.keyRevoked = time.Now()
		c.kids[kid] = true
	}
	c.mu.Unlock()
	if soon {
		return
	}
	asked := time.Now()
	refused := d.admin(rng, "revoke key "+kid, func(ctx context.Context, a *adminapi.Client) (int64, error) {
		_, err := a.RevokeKey(ctx, kid, "laboratory")
		return 0, err
	}, func(_ int64, how string) {
		since := time.Now()
		d.lab.counts.keys.Add(1)
		var ended []token
		for _, t := range tokens {
			if t.kid == kid {
				ended = append(ended, t)
			}
		}
		d.note(asked, since, how, ended...)
	})
	if refused {
		c.mu.Lock()
		delete(c.kids, kid)
		c.mu.Unlock()
	}
}

// admin asks one replica after another until one says that it is done. It returns true when the first one refused it, so that
// nothing can have happened.
func (d *load) admin(rng *rand.Rand, what string, do func(context.Context, *adminapi.Client) (int64, error), done func(int64, string)) bool {
	for attempt := 0; d.ctx.Err() == nil; attempt++ {
		replica := d.any(rng)
		ctx, cancel := context.WithTimeout(d.ctx, answerTime)
		generation, err := do(ctx, d.lab.cluster.members[replica].admin)
		cancel()
		if err == nil {
			done(generation, fmt.Sprintf("%s at replica %d", what, replica))
			return false
		}
		problem, answered := errors.AsType[*adminapi.Problem](err)
		switch {
		case !answered, problem.Status == http.StatusServiceUnavailable && problem.RetryAfter > 0:
			err = fmt.Errorf("%w: %w", errUndecided, err)
		case problem.Status == http.StatusConflict: // no standby of that key yet
			d.lab.history.add("%s: %v", what, err)
			return attempt == 0
		}
		d.lab.oracle.refused(d.ctx, replica, token{}, err)
		d.pause(rng, ms(60))
	}
	return false
}
