package keys

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
)

// JWKS is the published key set (RFC 7517 §5), ready to be served. Body is shared: do not change it.
type JWKS struct {
	Body   []byte
	ETag   string // strong, with its quotes
	MaxAge time.Duration
}

// UnusableError lists the keys that a Reload could not load; it loaded all others.
type UnusableError struct{ Keys []Unusable }

// Unusable is a key that cannot be unsealed. Err names the kid.
type Unusable struct {
	KID   string
	State State
	Err   error
}

// Error implements error.
func (e *UnusableError) Error() string {
	parts := make([]string, len(e.Keys))
	for i, k := range e.Keys {
		parts[i] = fmt.Sprintf("%s (%s)", k.Err, k.State)
	}
	return strings.Join(parts, "; ")
}

// Active tells whether a key that should sign is among them. A server must not start then: its tokens would stop, or be
// signed by a key that others have retired.
func (e *UnusableError) Active() bool {
	return slices.ContainsFunc(e.Keys, func(k Unusable) bool { return k.State == Active })
}

// Names tells whether this key is among them.
func (e *UnusableError) Names(kid string) bool {
	return slices.ContainsFunc(e.Keys, func(k Unusable) bool { return k.KID == kid })
}

// Ring signs and verifies in memory, from a snapshot that Reload replaces. Safe for concurrent use; only Reload locks.
type Ring struct {
	store   Store
	sealer  *Sealer
	maxAge  time.Duration
	reload  sync.Mutex // one at a time, so that an older read never replaces a newer one
	began   time.Time  // when the last read was sent; guarded by reload, like outcome
	outcome error      // what the last read ended with
	current atomic.Pointer[snapshot]
}

type snapshot struct {
	keys    map[string]ringKey // what is published, by kid
	signers map[apis.Alg]Signer
	algs    []apis.Alg
	jwks    JWKS
}

type ringKey struct {
	public  PublicKey
	private crypto.Signer
	jwk     json.RawMessage
	sealed  []byte
}

// NewRing returns an empty Ring; Reload fills it.
func NewRing(store Store, sealer *Sealer, plan Plan) *Ring {
	r := &Ring{store: store, sealer: sealer, maxAge: plan.JWKSMaxAge}
	r.current.Store(newSnapshot(nil, nil, r.maxAge))
	return r
}

// Reload reads the keys again. When the store fails, what was there stays. Keys that cannot be unsealed are named in an
// *UnusableError, and the others are loaded; one that was loaded before keeps working. A key that was never unsealed is not
// published either: only the master key proves that it is ours, and not that of somebody who writes to the database.
func (r *Ring) Reload(ctx context.Context) error {
	r.reload.Lock()
	defer r.reload.Unlock()
	return r.reloadLocked(ctx)
}

// refreshTimeout bounds a Refresh: somebody waits for it.
const refreshTimeout = time.Second

// Refresh is Reload, unless one that began after asOf has ended meanwhile: callers that wait for each other share one read,
// and its failure too. Were each to wait for a timeout of its own, one after the other, they would pile up in an outage. So
// the read goes on when the caller that began it has gone.
func (r *Ring) Refresh(ctx context.Context, asOf time.Time) error {
	r.reload.Lock()
	defer r.reload.Unlock()
	if r.began.After(asOf) {
		return r.outcome
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refreshTimeout)
	defer cancel()
	return r.reloadLocked(ctx)
}

func (r *Ring) reloadLocked(ctx context.Context) error {
	r.began = time.Now()
	r.outcome = r.read(ctx)
	return r.outcome
}

func (r *Ring) read(ctx context.Context) error {
	set, err := r.store.KeySet(ctx)
	if err != nil {
		return fmt.Errorf("reload signing keys: %w", err)
	}
	before := r.current.Load()
	loaded := map[string]ringKey{}
	activated := map[apis.Alg]Record{}
	var unusable []Unusable
	for _, record := range set.Keys {
		if !record.published() {
			continue
		}
		key, err := r.load(record, before.keys[record.KID])
		if err != nil {
			unusable = append(unusable, Unusable{KID: record.KID, State: record.State, Err: err})
		}
		if key.private == nil {
			continue
		}
		loaded[record.KID] = key
		// There is one active key of an algorithm; should there be two, all replicas choose the same.
		if have, ok := activated[record.Alg]; record.State == Active && (!ok || have.ActivatedAt.Before(record.ActivatedAt)) {
			activated[record.Alg] = record
		}
	}
	r.current.Store(newSnapshot(loaded, activated, r.maxAge))
	if len(unusable) > 0 {
		return fmt.Errorf("reload signing keys: %w", &UnusableError{Keys: unusable})
	}
	return nil
}

// load unseals a record, or takes what an earlier Reload unsealed: RSA keys are slow to check, and a row that has become
// corrupt since does not make the key in memory wrong.
func (r *Ring) load(record Record, before ringKey) (ringKey, error) {
	known := before.private != nil && before.public.Alg == record.Alg
	if known && bytes.Equal(before.sealed, record.Sealed) {
		before.public.State = record.State
		return before, nil
	}
	private, err := r.sealer.unseal(record)
	if err != nil {
		if known {
			before.public.State = record.State
			return before, err
		}
		return ringKey{}, err
	}
	// Written anew from the private key, so that the JWKS can hold nothing that the row's text smuggles in.
	_, jwk, err := publicJWK(record.Alg, private.Public())
	if err != nil {
		return ringKey{}, fmt.Errorf("publish signing key %s: %w", record.KID, err)
	}
	public := PublicKey{KID: record.KID, Alg: record.Alg, Key: private.Public(), State: record.State}
	return ringKey{public: public, private: private, jwk: jwk, sealed: record.Sealed}, nil
}

func newSnapshot(loaded map[string]ringKey, activated map[apis.Alg]Record, maxAge time.Duration) *snapshot {
	s := &snapshot{keys: loaded, signers: map[apis.Alg]Signer{}}
	for alg, record := range activated {
		s.signers[alg] = Signer{KID: record.KID, Alg: alg, Key: loaded[record.KID].private}
		s.algs = append(s.algs, alg)
	}
	slices.Sort(s.algs)
	published := make([]ringKey, 0, len(loaded))
	for _, key := range loaded {
		published = append(published, key)
	}
	// By kid and not by state: the same keys are the same document, and a 304, on every replica and after every rotation.
	slices.SortFunc(published, func(a, b ringKey) int { return strings.Compare(a.public.KID, b.public.KID) })
	var body bytes.Buffer
	body.WriteString(`{"keys":[`)
	for i, key := range published {
		if i > 0 {
			body.WriteByte(',')
		}
		body.Write(key.jwk)
	}
	body.WriteString(`]}`)
	sum := sha256.Sum256(body.Bytes())
	etag := `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
	s.jwks = JWKS{Body: body.Bytes(), ETag: etag, MaxAge: maxAge}
	return s
}

// Sign returns the active key of an algorithm, or ErrNoActiveKey.
func (r *Ring) Sign(alg apis.Alg) (Signer, error) {
	s, ok := r.current.Load().signers[alg]
	if !ok {
		return Signer{}, fmt.Errorf("%w: %s", ErrNoActiveKey, alg)
	}
	return s, nil
}

// Public returns a published key: pending, active or retiring. A pending one counts, because another replica may have
// activated it a moment ago.
func (r *Ring) Public(kid string) (PublicKey, bool) {
	k, ok := r.current.Load().keys[kid]
	return k.public, ok
}

// JWKS returns the published keys.
func (r *Ring) JWKS() JWKS { return r.current.Load().jwks }

// Keys returns what is published, in no order.
func (r *Ring) Keys() []PublicKey {
	loaded := r.current.Load().keys
	list := make([]PublicKey, 0, len(loaded))
	for _, k := range loaded {
		list = append(list, k.public)
	}
	return list
}

// Algorithms returns those that have an active key, sorted.
func (r *Ring) Algorithms() []apis.Alg { return slices.Clone(r.current.Load().algs) }
