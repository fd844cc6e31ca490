package faultlab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

var algorithms = []string{"ES256", "RS256", "EdDSA"}

const (
	jwksMaxAge = time.Second // as in options, and the least that a configuration may say
	// A standby may sign after twice max-age, but not before max-age and the minute for which a replica that is cut off from the
	// database may serve what it had. Here only the former counts, unless ROTATIONS_UNHURRIED is set: nobody is cut off.
	mayBeStale = time.Minute
	ripeAfter  = 2 * jwksMaxAge
	// A key that has stopped signing is needed for a day, the longest life of a token; and two minutes and max-age more, for
	// clocks, replicas that are cut off, and caches.
	longestToken = 24 * time.Hour
	retiresAfter = longestToken + 2*time.Minute + jwksMaxAge
)

// TestRotations rotates the signing keys of three algorithms as fast as verifiers allow that obey max-age and do nothing else,
// and lets them verify what three replicas issue meanwhile, and what was signed with every key before. ROTATIONS is how many.
// One more verifier keeps keys longer than it may: it must refuse tokens, or the others would show nothing.
func TestRotations(t *testing.T) {
	r := &rotations{
		lab:  &lab{t: t, stores: startStores(t, replicaCount), history: &history{}},
		want: int64(ordered(t, "ROTATIONS", 6)), unhurried: os.Getenv("ROTATIONS_UNHURRIED") != "",
		kept: map[string]signed{}, by: map[string]map[int]bool{},
	}
	r.lab.cluster = startCluster(t, r.lab.stores, nil)
	r.cluster = r.lab.cluster
	r.prepare(t)
	began := time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var clients, admins sync.WaitGroup
	defer clients.Wait()
	for i, alg := range algorithms {
		for replica := range replicaCount {
			clients.Go(func() { r.verifyAll(ctx, i, replica) })
		}
		admins.Go(func() { r.rotateAll(alg, i, began) })
	}
	admins.Wait()
	r.lab.until(func() bool { return len(r.unseen()) == 0 }) // the last keys are used, too
	cancel()
	clients.Wait()
	r.judge(t)
	t.Logf("%v: %s", time.Since(began).Round(time.Second), r.line())
	r.retirement(t)
}

// rotations is a run.
type rotations struct {
	lab       *lab
	cluster   *cluster
	want      int64
	unhurried bool
	clients   []client // one of each algorithm
	verifiers []*verifier
	overdue   *verifier

	begun, done, issued atomic.Int64

	mu   sync.Mutex
	kept map[string]signed       // one token of each key, by kid
	by   map[string]map[int]bool // which replicas have signed with a key
	bad  []string
	new  []string // keys that were made to sign
}

// signed is a token and the API that it is for.
type signed struct{ text, audience string }

func audience(alg int) string { return "https://" + algorithms[alg] + ".test" }

func (r *rotations) prepare(t testing.TB) {
	t.Helper()
	admin := r.cluster.members[0].admin
	for i, alg := range algorithms {
		if _, err := admin.CreateAPI(t.Context(), adminapi.NewAPI{
			Identifier: audience(i), Name: alg, Alg: alg, TokenTTL: int64(longestToken.Seconds()), Scopes: []adminapi.NewScope{{Name: "read"}},
		}); err != nil {
			t.Fatal(err)
		}
		made, err := admin.CreateClient(t.Context(), adminapi.NewClient{
			Name: alg, Grants: []adminapi.Grant{{API: audience(i), Scopes: []string{"read"}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		r.clients = append(r.clients, client{made.ClientID, made.ClientSecret})
	}
	for i := range 4 {
		r.verifiers = append(r.verifiers, newVerifier(t, r.cluster, i, 0))
	}
	// It has fetched nothing when the next key signs, and perhaps not even the one after it.
	life := 4 * ripeAfter
	if r.unhurried {
		life += 4 * mayBeStale
	}
	r.overdue = newVerifier(t, r.cluster, 0, life)
}

// verifyAll gets tokens of one algorithm from one replica, each verified by everybody, with an older one.
func (r *rotations) verifyAll(ctx context.Context, alg, replica int) {
	rng := newRNG(uint64(alg), fmt.Sprint(replica))
	work := context.WithoutCancel(ctx)
	for ; ctx.Err() == nil; pause(ctx, rng, ms(150)) {
		t, err := r.cluster.tokenFor(work, replica, r.clients[alg])
		if err != nil {
			r.wrong("no token of %s from replica %d: %v", algorithms[alg], replica, err)
			continue
		}
		r.issued.Add(1)
		fresh := signed{t.text, audience(alg)}
		older := r.keep(rng, t.kid, replica, fresh)
		_ = r.overdue.verify(work, fresh.text, fresh.audience) // is counted
		for i, v := range r.verifiers {
			for what, token := range map[string]signed{"fresh": fresh, "older": older} {
				if err := v.verify(work, token.text, token.audience); err != nil {
					r.wrong("%s: verifier %d refuses a %s token of %s, the fresh one from replica %d: %v", stamp(time.Now()), i, what,
						token.audience, replica, err)
				}
			}
		}
	}
}

// keep notes a token and returns one of the kept ones, of whatever key.
func (r *rotations) keep(rng *rand.Rand, kid string, replica int, token signed) signed {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept[kid] = token
	if r.by[kid] == nil {
		r.by[kid] = map[int]bool{}
	}
	r.by[kid][replica] = true
	at := rng.IntN(len(r.kept))
	for _, one := range r.kept {
		if at--; at < 0 {
			return one
		}
	}
	return token
}

func (r *rotations) wrong(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bad = append(r.bad, fmt.Sprintf(format, args...))
}

// rotateAll rotates one algorithm, at one replica after the other, until there were enough rotations of all algorithms.
func (r *rotations) rotateAll(alg string, replica int, began time.Time) {
	for r.begun.Add(1) <= r.want {
		kid, err := r.rotate(alg, replica%replicaCount)
		if err != nil {
			r.wrong("rotate %s: %v", alg, err)
			return
		}
		r.mu.Lock()
		r.new = append(r.new, kid)
		r.mu.Unlock()
		if n := r.done.Add(1); n%20 == 0 {
			r.lab.t.Logf("%v: %s", time.Since(began).Round(time.Second), r.line())
		}
		replica++
	}
}

// rotate waits until the standby is published by everybody, and for as long again as verifiers may have missed it.
func (r *rotations) rotate(alg string, replica int) (string, error) {
	ctx, admin := r.lab.t.Context(), r.cluster.members[replica].admin
	var standby *adminapi.Key
	if !r.lab.until(func() bool {
		standby = r.standby(ctx, admin, alg)
		return standby != nil && r.publishedBy(ctx, standby.KID) == replicaCount
	}) {
		return "", errors.New("no standby is published by all replicas")
	}
	if !r.unhurried {
		if err := r.lab.stores.exec(ctx, "UPDATE signing_keys SET published_at = published_at - $1 WHERE kid = $2",
			(jwksMaxAge + mayBeStale - ripeAfter).Microseconds(), standby.KID); err != nil {
			return "", err
		}
		r.lab.wait(ripeAfter)
	}
	deadline := time.Now().Add(ripeAfter + 2*mayBeStale)
	for {
		after, err := admin.RotateKey(ctx, alg)
		problem, answered := errors.AsType[*adminapi.Problem](err)
		switch {
		case err == nil && after.KID != standby.KID:
			return "", fmt.Errorf("%s signs, %s was the standby", after.KID, standby.KID)
		case err == nil && time.Since(standby.PublishedAt) < ripeAfter:
			return "", fmt.Errorf("%s signs, which was published %v before", after.KID, time.Since(standby.PublishedAt))
		case err == nil:
			return after.KID, nil
		case !r.unhurried || !answered || problem.Status != http.StatusConflict || time.Now().After(deadline):
			return "", err
		}
		r.lab.wait(ms(500))
	}
}

func (r *rotations) standby(ctx context.Context, admin *adminapi.Client, alg string) *adminapi.Key {
	keys, err := admin.Keys(ctx)
	i := slices.IndexFunc(keys, func(k adminapi.Key) bool { return k.Alg == alg && k.State == "pending" })
	if err != nil || i < 0 {
		return nil
	}
	return &keys[i]
}

// publishedBy is how many replicas publish a key.
func (r *rotations) publishedBy(ctx context.Context, kid string) int {
	n := 0
	for i, m := range r.cluster.members {
		if set, err := r.cluster.published(ctx, m.http, i); err == nil && set.keys[kid] != nil {
			n++
		}
	}
	return n
}

// unseen are the keys that were made to sign and that not every replica has signed with.
func (r *rotations) unseen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.new), func(kid string) bool { return len(r.by[kid]) == replicaCount })
}

func (r *rotations) line() string {
	var verified, refused, fetches int64
	for _, v := range r.verifiers {
		verified, refused, fetches = verified+v.verified.Load(), refused+v.refused.Load(), fetches+v.fetches.Load()
	}
	return fmt.Sprintf("rotations=%d tokens=%d verified=%d refused=%d jwks_fetches=%d; the verifier that keeps keys for %v: verified=%d refused=%d",
		r.done.Load(), r.issued.Load(), verified, refused, fetches, r.overdue.life, r.overdue.verified.Load(), r.overdue.refused.Load())
}

// judge fails the test for what was refused, and for a run that shows nothing; at the end a new verifier takes a token of every
// key from every replica.
func (r *rotations) judge(t *testing.T) {
	t.Helper()
	for replica := range replicaCount {
		v := newVerifier(t, r.cluster, replica, time.Hour)
		for kid, token := range r.kept {
			if err := v.verify(t.Context(), token.text, token.audience); err != nil {
				t.Errorf("at the end replica %d does not publish %s any more: %v", replica, kid, err)
			}
		}
	}
	for i, text := range r.bad {
		if i < mostReported {
			t.Errorf("%s", text)
		}
	}
	if len(r.bad) > 0 || r.done.Load() != r.want {
		t.Errorf("%d failures, %d of %d rotations", len(r.bad), r.done.Load(), r.want)
	}
	if kids := r.unseen(); len(kids) > 0 {
		t.Errorf("not every replica has signed with %v", kids)
	}
	if r.want >= 6 && r.overdue.refused.Load() == 0 {
		t.Errorf("nobody noticed that a verifier keeps keys for %v: %s", r.overdue.life, r.line())
	}
}

// retirement makes the keys that have stopped signing look older: some so old that their last tokens may just live, the others
// older. The former stay, the latter go, when the servers look after the keys, which each does when it starts.
func (r *rotations) retirement(t *testing.T) {
	t.Helper()
	old, needed, err := r.age(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(old) == 0 || len(needed) == 0 {
		t.Fatalf("%d keys are too old, and %d are needed: this shows nothing", len(old), len(needed))
	}
	m := r.cluster.members[0]
	m.kill()
	m.start()
	if !r.lab.until(func() bool {
		return !slices.ContainsFunc(old, func(kid string) bool { return r.publishedBy(t.Context(), kid) > 0 })
	}) {
		t.Error("keys that nobody needs are still published")
	}
	r.lab.ready(t, 0, time.Now())
	v := newVerifier(t, r.cluster, 0, 0)
	for _, kid := range needed {
		if n := r.publishedBy(t.Context(), kid); n != replicaCount {
			t.Errorf("%s is needed, and %d replicas publish it", kid, n)
		}
		if err := v.verify(t.Context(), r.kept[kid].text, r.kept[kid].audience); err != nil {
			t.Errorf("refused: %v", err)
		}
	}
	keys, err := r.cluster.members[1].admin.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if after := k.EndedAt.Sub(k.RetiringAt); !k.EndedAt.IsZero() && after < retiresAfter {
			t.Errorf("%s was retired %v after it had stopped signing", k.KID, after)
		}
	}
	t.Logf("retired: %d keys that no token needs; not retired: %d keys a minute before", len(old), len(needed))
}

// age makes every second key that is retiring too old, and the others almost.
func (r *rotations) age(ctx context.Context) ([]string, []string, error) {
	keys, err := r.cluster.members[0].admin.Keys(ctx)
	if err != nil {
		return nil, nil, err
	}
	var old, needed []string
	for _, k := range keys {
		if _, used := r.kept[k.KID]; k.State != "retiring" || !used {
			continue
		}
		at := time.Now().Add(-retiresAfter)
		if len(old) > len(needed) {
			at = at.Add(time.Minute)
			needed = append(needed, k.KID)
		} else {
			old = append(old, k.KID)
		}
		if err := r.lab.stores.exec(ctx, "UPDATE signing_keys SET retiring_at = $1 WHERE kid = $2", at.UnixMicro(), k.KID); err != nil {
			return nil, nil, err
		}
	}
	return old, needed, nil
}
