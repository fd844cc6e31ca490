package revocations_test

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/revocations"
)

// ledger is the database as every replica sees it.
type ledger struct {
	revocations.Ledger // nil: a call of anything else panics

	w       *world
	replica int
}

func (l ledger) call(ctx context.Context, effect func()) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return l.w.call(ctx, func() error {
		if l.w.apart[l.replica] {
			return errLost
		}
		effect()
		return nil
	})
}

func (l ledger) Record(ctx context.Context, r revocations.Revocation, _ audit.Event) (revocations.Trust, error) {
	var trust revocations.Trust
	err := l.call(ctx, func() {
		l.w.rows[r.JTI] = true
		trust = l.w.trust
	})
	if err != nil { // it may yet happen
		return revocations.Trust{}, err
	}
	return trust, nil
}

func (l ledger) Revoked(ctx context.Context, tokens []revocations.Token) ([]bool, error) {
	answers := make([]bool, len(tokens))
	err := l.call(ctx, func() {
		for i, t := range tokens {
			c, cut := l.w.cuts[t.ClientID]
			answers[i] = l.w.rows[t.JTI] || cut && t.Generation < c.cut.Generation
		}
	})
	if err != nil {
		return nil, err
	}
	return answers, nil
}

func (l ledger) Live(ctx context.Context, batch func([]revocations.Revocation, []revocations.CutOff) error) error {
	var revoked []revocations.Revocation
	var cutOffs []revocations.CutOff
	err := l.call(ctx, func() {
		for jti := range l.w.rows {
			revoked = append(revoked, revocations.Revocation{JTI: jti})
		}
		for _, c := range l.w.cuts {
			cutOffs = append(cutOffs, c.cut)
		}
	})
	if err != nil {
		return err
	}
	for len(revoked) > 0 {
		n := min(len(revoked), 10)
		if err := batch(revoked[:n], nil); err != nil {
			return err
		}
		revoked = revoked[n:]
	}
	return batch(nil, cutOffs)
}

func (l ledger) Withdraw(ctx context.Context, generation int64) (revocations.Trust, error) {
	var trust revocations.Trust
	err := l.call(ctx, func() {
		if l.w.trust.Generation == generation {
			l.w.trust = revocations.Trust{Generation: generation + 1}
		}
		trust = l.w.trust
	})
	if err != nil {
		return revocations.Trust{}, err
	}
	return trust, nil
}

func (l ledger) Publish(ctx context.Context, id revocations.Identity, generation int64) (int64, error) {
	var next int64
	err := l.call(ctx, func() {
		if l.w.trust.Generation == generation {
			next = generation + 1 + l.w.rng.Int64N(1000)
			l.w.trust = revocations.Trust{WriteID: id, Generation: next}
			l.w.published[l.replica] = append(l.w.published[l.replica], time.Now())
		}
	})
	if err != nil {
		return 0, err
	}
	return next, nil
}

func (l ledger) Complete(ctx context.Context, id revocations.Identity, generation int64) (bool, error) {
	done := false
	err := l.call(ctx, func() {
		if done = l.w.trust.Generation == generation && l.w.trust.WriteID == id; done {
			l.w.trust.ReadID = id
		}
	})
	return err == nil && done, err
}

func (l ledger) Settle(ctx context.Context, generation int64) error {
	return l.call(ctx, func() {
		if l.w.trust.Generation == generation {
			l.w.trust.Settled = true
		}
	})
}

func (l ledger) Unconfirmed(ctx context.Context) ([]revocations.CutOff, revocations.Trust, error) {
	var cutOffs []revocations.CutOff
	var trust revocations.Trust
	err := l.call(ctx, func() {
		for _, c := range l.w.cuts {
			if !c.confirmed {
				cutOffs = append(cutOffs, c.cut)
			}
		}
		trust = l.w.trust
	})
	if err != nil {
		return nil, revocations.Trust{}, err
	}
	return cutOffs, trust, nil
}

func (l ledger) Confirm(ctx context.Context, cutOffs []revocations.CutOff) error {
	return l.call(ctx, func() {
		for _, c := range cutOffs {
			if l.w.cuts[c.ID].cut.Generation == c.Generation {
				l.w.cuts[c.ID] = cutRow{c, true}
			}
		}
	})
}

func (l ledger) Exclusive(ctx context.Context, _ string, do func(ctx context.Context) error) (bool, error) {
	l.w.mu.Lock()
	away, taken := l.w.apart[l.replica], l.w.rebuild
	if !away && !taken {
		l.w.rebuild = true
	}
	l.w.mu.Unlock()
	if away {
		return false, errLost
	}
	if taken {
		return false, nil
	}
	defer func() { // as when the connection ends
		l.w.mu.Lock()
		defer l.w.mu.Unlock()
		l.w.rebuild = false
	}()
	return true, do(ctx)
}

// set is the Redis that one replica reaches at the moment.
type set struct {
	revocations.Set // nil: a call of anything else panics

	w       *world
	replica int
}

// call runs a command on the key of an identity, and proves afterwards who has run it.
func (s set) call(ctx context.Context, id revocations.Identity, do func(map[string]int64) error) error {
	s.w.mu.Lock()
	to := s.w.servers[s.w.views[s.replica]] // a connection leads to one process; a later one to another
	s.w.mu.Unlock()
	return s.w.call(ctx, func() error {
		alive, mute := false, s.w.mute[s.replica]
		for _, server := range s.w.servers {
			alive = alive || server == to
		}
		if !alive || mute {
			return errLost
		}
		if to.sets[id] == nil {
			to.sets[id] = map[string]int64{}
		}
		if err := do(to.sets[id]); err != nil {
			return err
		}
		if to.id != id {
			return revocations.ErrIdentity
		}
		return nil
	})
}

func marker(generation int64) string { return fmt.Sprint("complete ", generation) }

func (s set) Identity(ctx context.Context) (revocations.Identity, error) {
	var id revocations.Identity
	err := s.w.call(ctx, func() error {
		if s.w.mute[s.replica] {
			return errLost
		}
		id = s.w.servers[s.w.views[s.replica]].id
		return nil
	})
	if err != nil {
		return "", err
	}
	return id, nil
}

func (s set) Holds(ctx context.Context, id revocations.Identity, generation int64) (bool, error) {
	holds := false
	err := s.call(ctx, id, func(members map[string]int64) error {
		holds = members[marker(generation)] == 1
		return nil
	})
	return err == nil && holds, err
}

func (s set) Revoked(ctx context.Context, id revocations.Identity, generation int64, tokens []revocations.Token) ([]bool, error) {
	answers := make([]bool, len(tokens))
	err := s.call(ctx, id, func(members map[string]int64) error {
		if members[marker(generation)] != 1 {
			return revocations.ErrIncomplete
		}
		for i, t := range tokens {
			_, revoked := members["t:"+t.JTI]
			answers[i] = revoked || t.Generation < members["c:"+t.ClientID]
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return answers, nil
}

func (s set) Add(ctx context.Context, id revocations.Identity, revoked []revocations.Revocation, cutOffs []revocations.CutOff) error {
	return s.call(ctx, id, func(members map[string]int64) error {
		for _, r := range revoked {
			members["t:"+r.JTI] = 1
		}
		for _, c := range cutOffs {
			members["c:"+c.ID] = max(members["c:"+c.ID], c.Generation)
		}
		return nil
	})
}

func (s set) Begin(ctx context.Context, id revocations.Identity, generation int64) error {
	return s.call(ctx, id, func(members map[string]int64) error {
		clear(members)
		members[marker(generation)] = 0
		return nil
	})
}

func (s set) Finish(ctx context.Context, id revocations.Identity, generation int64) error {
	return s.call(ctx, id, func(members map[string]int64) error {
		if score, there := members[marker(generation)]; !there || score != 0 {
			return revocations.ErrIncomplete
		}
		members[marker(generation)] = 1
		return nil
	})
}

func (s set) Purge(context.Context, revocations.Identity) error { return nil }
