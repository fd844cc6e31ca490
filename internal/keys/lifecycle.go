package keys

import (
	"fmt"
	"slices"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
)

// published tells whether the key stands in the JWKS and may verify.
func (r Record) published() bool {
	return r.State == Pending || r.State == Active || r.State == Retiring
}

// end takes the private part away for good; the public one stays, so that the past can be explained.
func (r *Record) end(s State, now time.Time) {
	r.State, r.EndedAt, r.Sealed = s, now, nil
}

// find returns the key with this kid, or nil.
func (s *Set) find(kid string) *Record {
	i := slices.IndexFunc(s.Keys, func(r Record) bool { return r.KID == kid })
	if i < 0 {
		return nil
	}
	return &s.Keys[i]
}

// in returns the key of an algorithm in a state, or nil. There is at most one active and one pending key of each.
func (s *Set) in(alg apis.Alg, state State) *Record {
	i := slices.IndexFunc(s.Keys, func(r Record) bool { return r.Alg == alg && r.State == state })
	if i < 0 {
		return nil
	}
	return &s.Keys[i]
}

// signing returns the algorithms that have an active key, sorted.
func (s *Set) signing() []apis.Alg {
	var algs []apis.Alg
	for _, r := range s.Keys {
		if r.State == Active && !slices.Contains(algs, r.Alg) {
			algs = append(algs, r.Alg)
		}
	}
	slices.Sort(algs)
	return algs
}

// missing counts the keys that an algorithm lacks: an active one and a standby.
func (s *Set) missing(alg apis.Alg) int {
	n := 0
	for _, state := range []State{Active, Pending} {
		if s.in(alg, state) == nil {
			n++
		}
	}
	return n
}

// fill gives an algorithm what it lacks from made, and returns the kids that it added or activated. It takes no more than it
// needs, and leaves a lack when made is short.
func (s *Set) fill(alg apis.Alg, made []Record, now time.Time) []string {
	var touched []string
	add := func(state State) {
		r := made[0]
		made = made[1:]
		r.State, r.CreatedAt, r.PublishedAt = state, now, now
		if state == Active {
			r.ActivatedAt = now
		}
		s.Keys = append(s.Keys, r)
		touched = append(touched, r.KID)
	}
	if s.in(alg, Active) == nil {
		// The first key of an algorithm waits for nobody: no API could have had a token signed with it.
		if standby := s.in(alg, Pending); standby != nil {
			standby.State, standby.ActivatedAt = Active, now
			touched = append(touched, standby.KID)
		} else if len(made) > 0 {
			add(Active)
		}
	}
	if s.in(alg, Pending) == nil && len(made) > 0 {
		add(Pending)
	}
	return touched
}

// ready tells why an algorithm cannot rotate now; nil when it can.
func (s *Set) ready(alg apis.Alg, p Plan, now time.Time) error {
	if s.in(alg, Active) == nil {
		return fmt.Errorf("%w: %s", ErrNoActiveKey, alg)
	}
	standby := s.in(alg, Pending)
	if standby == nil {
		return fmt.Errorf("%w: %s has none; one is published now", ErrTooEarly, alg)
	}
	if from := p.activates(*standby); now.Before(from) {
		return fmt.Errorf("%w: key %s may sign from %s", ErrTooEarly, standby.KID, from.UTC().Format(time.RFC3339))
	}
	return nil
}

// rotate lets the standby sign in the place of the active key, which goes on to verify. Ask ready first.
func (s *Set) rotate(alg apis.Alg, now time.Time) (Record, Record) {
	before, after := s.in(alg, Active), s.in(alg, Pending)
	before.State, before.RetiringAt = Retiring, now
	after.State, after.ActivatedAt = Active, now
	return *before, *after
}

// due tells whether the schedule wants to replace the active key of an algorithm.
func (s *Set) due(alg apis.Alg, p Plan, now time.Time) bool {
	active := s.in(alg, Active)
	return active != nil && !now.Before(active.ActivatedAt.Add(p.RotateEvery)) && s.ready(alg, p, now) == nil
}

// outlived returns the kids of retiring keys that nobody needs any more.
func (s *Set) outlived(p Plan, now time.Time) []string {
	var kids []string
	for _, r := range s.Keys {
		if r.State == Retiring && !now.Before(p.retires(r)) {
			kids = append(kids, r.KID)
		}
	}
	return kids
}

// compromiseAll ends every key that is published, and returns their kids.
func (s *Set) compromiseAll(now time.Time) []string {
	var kids []string
	for i := range s.Keys {
		if s.Keys[i].published() {
			s.Keys[i].end(Compromised, now)
			kids = append(kids, s.Keys[i].KID)
		}
	}
	return kids
}
