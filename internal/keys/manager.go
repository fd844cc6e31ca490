package keys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
)

// attempts bounds how often a change is tried again because another replica was faster.
const attempts = 4

// errShort makes a change try again with one more key at hand.
var errShort = errors.New("a new key is needed")

// ManagerConfig is what a Manager works with.
type ManagerConfig struct {
	Store  Store
	Sealer *Sealer
	Plan   Plan
	Log    *slog.Logger // told of scheduled changes; nil means nowhere
}

// Manager moves keys through their states. Any number of managers may work on one store at once: every condition is checked
// again inside the store's transaction. Keys are always made before it, because an RSA key takes up to seconds.
type Manager struct {
	store  Store
	sealer *Sealer
	plan   Plan
	log    *slog.Logger
}

// NewManager returns a Manager.
func NewManager(c ManagerConfig) *Manager {
	log := c.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Manager{store: c.Store, sealer: c.Sealer, plan: c.Plan, log: log}
}

// List returns all keys, the ended ones too, oldest first.
func (m *Manager) List(ctx context.Context) ([]Record, error) {
	set, err := m.store.KeySet(ctx)
	if err != nil {
		return nil, fmt.Errorf("list signing keys: %w", err)
	}
	slices.SortFunc(set.Keys, func(a, b Record) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.KID, b.KID))
	})
	return set.Keys, nil
}

// Ensure gives each algorithm an active key and a published standby, where it has none. A first active key signs at once:
// there is no token of its algorithm that anybody could fail to verify.
func (m *Manager) Ensure(ctx context.Context, by audit.Actor, algs ...apis.Alg) error {
	for _, alg := range algs {
		if err := m.ensure(ctx, by, alg); err != nil {
			return fmt.Errorf("ensure signing keys of %s: %w", alg, err)
		}
	}
	return nil
}

func (m *Manager) ensure(ctx context.Context, by audit.Actor, alg apis.Alg) error {
	for range attempts {
		set, err := m.store.KeySet(ctx)
		if err != nil {
			return err
		}
		lack := set.missing(alg)
		if lack == 0 {
			return nil
		}
		made, err := m.make(alg, lack)
		if err != nil {
			return err
		}
		err = m.change(ctx, by, func(set *Set, now time.Time) (audit.Event, error) {
			touched := set.fill(alg, made, now)
			if len(touched) == 0 {
				return audit.Event{}, nil
			}
			return audit.Event{Action: "key.create", Subject: touched[0], Detail: map[string]any{"alg": string(alg), "keys": touched}}, nil
		})
		if err != nil {
			return err
		}
	}
	return errors.New("other replicas keep changing the keys")
}

// Rotate lets the standby of an algorithm sign from now on, and publishes the next standby. ErrTooEarly, wrapped with the
// time from which it may, while the standby has not been visible long enough; ErrNoActiveKey when there is nothing to
// replace.
func (m *Manager) Rotate(ctx context.Context, by audit.Actor, alg apis.Alg) (Record, error) {
	// A standby is missing only after a crash between two steps. Published now, it gives the refusal below a time.
	set, err := m.store.KeySet(ctx)
	if err == nil && set.in(alg, Active) != nil {
		err = m.ensure(ctx, by, alg)
	}
	if err != nil {
		return Record{}, fmt.Errorf("rotate signing key of %s: %w", alg, err)
	}
	var after Record
	err = m.change(ctx, by, func(set *Set, now time.Time) (audit.Event, error) {
		if err := set.ready(alg, m.plan, now); err != nil {
			return audit.Event{}, err
		}
		var e audit.Event
		after, e = rotation(set, alg, now)
		return e, nil
	})
	if err != nil {
		return Record{}, fmt.Errorf("rotate signing key of %s: %w", alg, err)
	}
	m.replenish(ctx, alg)
	return after, nil
}

func rotation(set *Set, alg apis.Alg, now time.Time) (Record, audit.Event) {
	before, after := set.rotate(alg, now)
	return after, audit.Event{
		Action:  "key.rotate",
		Subject: after.KID,
		Detail:  map[string]any{"alg": string(alg), "previous": before.KID},
	}
}

// Compromise takes a key out of use at once: it leaves the JWKS, the store ends its tokens by a cut-off, and if it was
// active, the standby signs from now on, however short it has been visible: tokens that some verifier does not know yet are
// better than tokens that a thief can make. Doing it again changes nothing. ErrNotFound when there is no such key.
func (m *Manager) Compromise(ctx context.Context, by audit.Actor, kid, reason string) (Record, error) {
	var after Record
	var spare []Record
	var err error
	for range attempts {
		err = m.change(ctx, by, func(set *Set, now time.Time) (audit.Event, error) {
			var e audit.Event
			var err error
			after, e, err = compromise(set, kid, reason, spare, now)
			return e, err
		})
		if !errors.Is(err, errShort) {
			break
		}
		if spare, err = m.make(after.Alg, 1); err != nil {
			break
		}
		err = errShort
	}
	if err != nil {
		return Record{}, fmt.Errorf("revoke signing key: %w", err)
	}
	m.replenish(ctx, after.Alg)
	return after, nil
}

// compromise is the change itself. With errShort it returns the record as it is, for its algorithm.
func compromise(set *Set, kid, reason string, spare []Record, now time.Time) (Record, audit.Event, error) {
	r := set.find(kid)
	if r == nil {
		return Record{}, audit.Event{}, ErrNotFound
	}
	if r.State == Compromised {
		return *r, audit.Event{}, nil
	}
	was := r.State
	if was == Active && set.in(r.Alg, Pending) == nil && len(spare) == 0 {
		return *r, audit.Event{}, errShort
	}
	r.end(Compromised, now)
	after := *r
	detail := map[string]any{"alg": string(after.Alg), "was": string(was), "reason": reason}
	if was == Active {
		set.fill(after.Alg, spare, now) // may move set.Keys: r is not used below
		detail["successor"] = set.in(after.Alg, Active).KID
	}
	return after, audit.Event{Action: "key.revoke", Subject: kid, Detail: detail}, nil
}

// CompromiseAll is Compromise for every published key, in one change: all tokens end at once. It returns their IDs. The standbys
// go, too, and keys that are made for it sign from now on: whoever read a process' memory has the standbys' private parts, and a
// failover that lost a rotation leaves tokens behind that what is a standby once more has signed.
func (m *Manager) CompromiseAll(ctx context.Context, by audit.Actor, reason string) ([]string, error) {
	var kids []string
	var short []apis.Alg
	spare := map[apis.Alg][]Record{}
	for range attempts {
		err := m.change(ctx, by, func(set *Set, now time.Time) (audit.Event, error) {
			kids, short = nil, nil
			algs := set.signing()
			for _, alg := range algs {
				if len(spare[alg]) == 0 {
					short = append(short, alg)
				}
			}
			if len(short) > 0 {
				return audit.Event{}, errShort
			}
			kids = set.compromiseAll(now)
			var made []string
			for _, alg := range algs {
				made = append(made, set.fill(alg, spare[alg], now)...)
			}
			detail := map[string]any{"keys": kids, "made": made, "reason": reason}
			return audit.Event{Action: "revocation.cut-off-all", Detail: detail}, nil
		})
		if err == nil {
			return kids, nil
		}
		if !errors.Is(err, errShort) {
			return nil, fmt.Errorf("revoke all signing keys: %w", err)
		}
		for _, alg := range short {
			if spare[alg], err = m.make(alg, 2); err != nil { // one signs, one is its standby
				return nil, fmt.Errorf("revoke all signing keys: %w", err)
			}
		}
	}
	return nil, errors.New("revoke all signing keys: other replicas keep changing the keys")
}

// Import publishes a private key (PEM or JWK) as the standby of its algorithm, in the place of the one that was there.
// ErrInvalid, wrapped with the reason, for a key that is public, encrypted, weak, corrupt, of another algorithm or known.
func (m *Manager) Import(ctx context.Context, by audit.Actor, text []byte, alg apis.Alg) (Record, error) {
	private, err := parsePrivate(text, alg)
	if err != nil {
		return Record{}, fmt.Errorf("import signing key: %w", err)
	}
	sealed, err := m.sealer.seal(alg, private)
	if err != nil {
		return Record{}, fmt.Errorf("import signing key: %w", err)
	}
	var after Record
	err = m.change(ctx, by, func(set *Set, now time.Time) (audit.Event, error) {
		if known := set.find(sealed.KID); known != nil {
			return audit.Event{}, fmt.Errorf("%w: key %s is known and %s", ErrInvalid, known.KID, known.State)
		}
		detail := map[string]any{"alg": string(alg)}
		if standby := set.in(alg, Pending); standby != nil {
			standby.end(Retired, now) // it has signed nothing, so nobody needs it
			detail["replaced"] = standby.KID
		}
		after = sealed
		after.State, after.CreatedAt, after.PublishedAt = Pending, now, now
		set.Keys = append(set.Keys, after)
		return audit.Event{Action: "key.import", Subject: after.KID, Detail: detail}, nil
	})
	if err != nil {
		return Record{}, fmt.Errorf("import signing key: %w", err)
	}
	return after, nil
}

// Tick does what the schedule says is due: rotates keys that are old enough, retires those that nobody needs any more, and
// publishes missing standbys. Run it every minute or so, on every replica.
func (m *Manager) Tick(ctx context.Context) error {
	set, err := m.store.KeySet(ctx)
	if err != nil {
		return fmt.Errorf("keep signing keys: %w", err)
	}
	var failed []error
	for _, alg := range set.signing() {
		if set.due(alg, m.plan, set.Now) {
			failed = append(failed, m.scheduled(ctx, alg))
		}
		failed = append(failed, m.ensure(ctx, audit.System(), alg))
	}
	for _, kid := range set.outlived(m.plan, set.Now) {
		failed = append(failed, m.retire(ctx, kid))
	}
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("keep signing keys: %w", err)
	}
	return nil
}

// scheduled rotates one algorithm, unless another replica has done it since we looked.
func (m *Manager) scheduled(ctx context.Context, alg apis.Alg) error {
	var after Record
	err := m.change(ctx, audit.System(), func(set *Set, now time.Time) (audit.Event, error) {
		after = Record{}
		if !set.due(alg, m.plan, now) {
			return audit.Event{}, nil
		}
		var e audit.Event
		after, e = rotation(set, alg, now)
		return e, nil
	})
	if err != nil {
		return fmt.Errorf("rotate %s: %w", alg, err)
	}
	if after.KID != "" {
		m.log.InfoContext(ctx, "signing key rotated", slog.String("kid", after.KID), slog.String("alg", string(alg)))
	}
	return nil
}

// retire ends one key, unless another replica has done it since we looked.
func (m *Manager) retire(ctx context.Context, kid string) error {
	err := m.change(ctx, audit.System(), func(set *Set, now time.Time) (audit.Event, error) {
		if !slices.Contains(set.outlived(m.plan, now), kid) {
			return audit.Event{}, nil
		}
		r := set.find(kid)
		r.end(Retired, now)
		return audit.Event{Action: "key.retire", Subject: kid, Detail: map[string]any{"alg": string(r.Alg)}}, nil
	})
	if err != nil {
		return fmt.Errorf("retire %s: %w", kid, err)
	}
	return nil
}

// replenish publishes the next standby after a change that used one up. The change itself is done and acknowledged, so a
// failure here is logged, and the next Tick tries again.
func (m *Manager) replenish(ctx context.Context, alg apis.Alg) {
	set, err := m.store.KeySet(ctx)
	if err == nil && set.in(alg, Active) != nil {
		err = m.ensure(ctx, audit.System(), alg)
	}
	if err != nil {
		m.log.WarnContext(ctx, "no new standby key yet", slog.String("alg", string(alg)), slog.Any("error", err))
	}
}

// make generates and seals n keys. One in 64 has a kid that begins with a hyphen, which reads like a flag on a command line.
func (m *Manager) make(alg apis.Alg, n int) ([]Record, error) {
	var made []Record
	for len(made) < n {
		private, err := generate(alg, m.plan.RSABits)
		if err != nil {
			return nil, fmt.Errorf("generate: %w", err)
		}
		r, err := m.sealer.seal(alg, private)
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(r.KID, "-") {
			made = append(made, r)
		}
	}
	return made, nil
}

// change runs one step in the store's transaction and signs the event. The store may run step again on a conflict, so a step
// sets what it captures anew each time. It goes by the store's clock: were it this replica's, one that is a day ahead would retire
// and erase keys that live tokens are signed with, for all replicas.
func (m *Manager) change(ctx context.Context, by audit.Actor, step func(*Set, time.Time) (audit.Event, error)) error {
	return m.store.UpdateKeySet(ctx, func(set *Set) (audit.Event, error) {
		now := set.Now
		e, err := step(set, now)
		if err != nil || e.Action == "" {
			return audit.Event{}, err
		}
		e.Time, e.Actor = now, by
		return e, nil
	})
}
