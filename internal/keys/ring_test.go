package keys_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/rootkeys"
)

// JWK-01 to JWK-04: what is published is public, complete and named by its thumbprint.
func TestJWKS(t *testing.T) {
	t.Parallel()
	b := setup(t, apis.ES256, apis.EdDSA, apis.RS256)
	jwks := b.ring.JWKS()
	var raw struct{ Keys []map[string]any }
	if err := json.Unmarshal(jwks.Body, &raw); err != nil {
		t.Fatal(err)
	}
	members := map[string][]string{
		"ES256": {"alg", "crv", "kid", "kty", "use", "x", "y"},
		"EdDSA": {"alg", "crv", "kid", "kty", "use", "x"},
		"RS256": {"alg", "e", "kid", "kty", "n", "use"},
	}
	var kids []string
	for _, k := range raw.Keys {
		var names []string
		for name := range k {
			names = append(names, name)
		}
		slices.Sort(names)
		alg, _ := k["alg"].(string)
		if diff := cmp.Diff(members[alg], names); diff != "" {
			t.Errorf("members of the %s key (-want +got):\n%s", alg, diff)
		}
		kid, _ := k["kid"].(string)
		kids = append(kids, kid)
		if k["use"] != "sig" {
			t.Errorf("use is %v", k["use"])
		}
		public, ok := b.ring.Public(kid)
		if !ok || string(public.Alg) != alg || public.KID != kid {
			t.Errorf("Public(%s) = %+v, %v", kid, public, ok)
		}
	}
	if len(kids) != 6 || !slices.IsSorted(kids) || len(slices.Compact(kids)) != 6 {
		t.Errorf("kids are %v, want an active key and a standby of each algorithm, sorted", kids)
	}
	checkThumbprints(t, jwks.Body)
	if jwks.MaxAge != b.plan.JWKSMaxAge {
		t.Errorf("MaxAge = %s", jwks.MaxAge)
	}
	if diff := cmp.Diff([]apis.Alg{apis.ES256, apis.EdDSA, apis.RS256}, b.ring.Algorithms()); diff != "" {
		t.Errorf("Algorithms (-want +got):\n%s", diff)
	}
}

// checkThumbprints reads the set with another eye and compares each kid with RFC 7638.
func checkThumbprints(t *testing.T, body []byte) {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(body, &set); err != nil {
		t.Fatal(err)
	}
	for _, k := range set.Keys {
		kid, err := thumbprint(k)
		if err != nil || kid != k.KeyID || !k.Valid() || !k.IsPublic() {
			t.Errorf("kid is %s, thumbprint %s (%v)", k.KeyID, kid, err)
		}
	}
}

// The ETag changes when the keys do, and with nothing else: not with a state, not from replica to replica.
func TestETag(t *testing.T) {
	t.Parallel()
	b := setup(t, apis.ES256)
	first := b.ring.JWKS()
	if len(first.ETag) < 12 || first.ETag[0] != '"' || first.ETag[len(first.ETag)-1] != '"' {
		t.Errorf("ETag %s is not strong and quoted", first.ETag)
	}
	other := keys.NewRing(b.store, b.sealer, b.plan)
	if other.JWKS().ETag == first.ETag {
		t.Error("an empty set has the same ETag")
	}
	if got := string(other.JWKS().Body); got != `{"keys":[]}` {
		t.Errorf("an empty set is %s", got)
	}
	if err := other.Reload(t.Context()); err != nil || other.JWKS().ETag != first.ETag {
		t.Errorf("another replica has ETag %s, want %s (%v)", other.JWKS().ETag, first.ETag, err)
	}
	b.tamper(t, func(r *keys.Record) {
		if r.State == keys.Active {
			r.State = keys.Retiring
		} else {
			r.State = keys.Active
		}
	})
	b.reload(t)
	if got := b.ring.JWKS(); got.ETag != first.ETag || !bytes.Equal(got.Body, first.Body) {
		t.Error("the same keys in other states are another document")
	}
	if err := b.Ensure(t.Context(), admin(), apis.ES256); err != nil {
		t.Fatal(err)
	}
	b.reload(t)
	if b.ring.JWKS().ETag == first.ETag {
		t.Error("a new key did not change the ETag")
	}
}

func TestSignWithoutKey(t *testing.T) {
	t.Parallel()
	b := setup(t, apis.ES256)
	if _, err := b.ring.Sign(apis.RS256); !errors.Is(err, keys.ErrNoActiveKey) {
		t.Errorf("Sign(RS256) = %v, want ErrNoActiveKey", err)
	}
	s, err := b.ring.Sign(apis.ES256)
	if err != nil || s.KID != b.one(t, apis.ES256, keys.Active).KID {
		t.Errorf("Sign = %v, %v", s, err)
	}
}

func TestReloadKeepsTheOldKeysWhenTheStoreFails(t *testing.T) {
	t.Parallel()
	b := setup(t, apis.ES256)
	before := b.ring.JWKS()
	failure := errors.New("database is away")
	b.store.Fail(failure)
	if err := b.ring.Reload(t.Context()); !errors.Is(err, failure) {
		t.Errorf("Reload = %v, want the store's error", err)
	}
	if _, err := b.ring.Sign(apis.ES256); err != nil || b.ring.JWKS().ETag != before.ETag {
		t.Errorf("the old keys are gone: %v", err)
	}
}

// Whatever is wrong with a row is refused with its kid, the other keys work, and nothing of it is published.
func TestUnusableRecords(t *testing.T) {
	t.Parallel()
	foreign := setup(t, apis.ES256)
	stolen := foreign.one(t, apis.ES256, keys.Active)
	for name, spoil := range map[string]func(*keys.Record){
		"flipped bit":          func(r *keys.Record) { r.Sealed[len(r.Sealed)/2] ^= 1 },
		"truncated":            func(r *keys.Record) { r.Sealed = r.Sealed[:len(r.Sealed)-1] },
		"empty":                func(r *keys.Record) { r.Sealed = nil },
		"another algorithm":    func(r *keys.Record) { r.Alg = apis.EdDSA },
		"an unknown algorithm": func(r *keys.Record) { r.Alg = "HS256" },
		"another version":      func(r *keys.Record) { r.MasterVersion = 2 },
		"another kid":          func(r *keys.Record) { r.KID = r.KID[1:] + r.KID[:1] },
		"another server's key": func(r *keys.Record) { r.Sealed = stolen.Sealed },
		"another server's row": func(r *keys.Record) { r.KID, r.Sealed, r.PublicJWK = stolen.KID, stolen.Sealed, stolen.PublicJWK },
		"a public key on its own": func(r *keys.Record) {
			r.KID, r.Sealed, r.PublicJWK, r.State = stolen.KID, nil, stolen.PublicJWK, keys.Retiring
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, apis.ES256)
			active, standby := b.one(t, apis.ES256, keys.Active), b.one(t, apis.ES256, keys.Pending)
			var spoilt keys.Record
			b.tamper(t, func(r *keys.Record) {
				if r.KID == standby.KID {
					spoil(r)
					spoilt = *r
				}
			})
			ring := keys.NewRing(b.store, b.sealer, b.plan)
			err := ring.Reload(t.Context())
			unusable, ok := errors.AsType[*keys.UnusableError](err)
			if !ok || !strings.Contains(err.Error(), spoilt.KID) || unusable.Active() || len(unusable.Keys) != 1 {
				t.Fatalf("Reload = %v, want an UnusableError for the standby only", err)
			}
			if s, err := ring.Sign(apis.ES256); err != nil || s.KID != active.KID {
				t.Errorf("the sound key does not sign: %v", err)
			}
			if _, ok := ring.Public(spoilt.KID); ok || bytes.Contains(ring.JWKS().Body, []byte(spoilt.KID)) {
				t.Error("a key that the master key does not vouch for is published")
			}
		})
	}
}

func TestWrongMasterKey(t *testing.T) {
	t.Parallel()
	b := setup(t, apis.ES256)
	active := b.one(t, apis.ES256, keys.Active)
	for name, sealer := range map[string]*keys.Sealer{
		"another master key": keys.NewSealer(issuer, rootkeys.Generate()),
		"another issuer":     keys.NewSealer(issuer+"/", rootkeys.Generate()),
	} {
		ring := keys.NewRing(b.store, sealer, b.plan)
		err := ring.Reload(t.Context())
		unusable, ok := errors.AsType[*keys.UnusableError](err)
		if !ok || !unusable.Active() || len(unusable.Keys) != 2 || !strings.Contains(err.Error(), active.KID) {
			t.Errorf("%s: Reload = %v, want an UnusableError for both keys", name, err)
		}
		if _, err := ring.Sign(apis.ES256); !errors.Is(err, keys.ErrNoActiveKey) {
			t.Errorf("%s: Sign = %v", name, err)
		}
	}
}

// The AAD holds the issuer: the same master key under another issuer opens nothing.
func TestSealIsBoundToTheIssuer(t *testing.T) {
	t.Parallel()
	master := rootkeys.Generate()
	b := setup(t)
	m := keys.NewManager(keys.ManagerConfig{Store: b.store, Sealer: keys.NewSealer("https://a.test", master), Plan: b.plan})
	if err := m.Ensure(t.Context(), admin(), apis.EdDSA); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"https://a.test": true, "https://b.test": false} {
		err := keys.NewRing(b.store, keys.NewSealer(name, master.Add()), b.plan).Reload(t.Context())
		if (err == nil) != want {
			t.Errorf("issuer %s: Reload = %v", name, err)
		}
	}
}

// A key is published under its own name only, even when the seal is in order.
func TestSealedUnderAnotherName(t *testing.T) {
	t.Parallel()
	b := setup(t, apis.EdDSA)
	active, standby := b.one(t, apis.EdDSA, keys.Active), b.one(t, apis.EdDSA, keys.Pending)
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := b.sealer.SealAs(standby.KID, apis.EdDSA, private)
	if err != nil {
		t.Fatal(err)
	}
	b.tamper(t, func(r *keys.Record) {
		if r.KID == standby.KID {
			r.Sealed = wrong.Sealed
		}
	})
	ring := keys.NewRing(b.store, b.sealer, b.plan)
	if err := ring.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "thumbprint") {
		t.Errorf("Reload = %v", err)
	}
	if _, ok := ring.Public(standby.KID); ok {
		t.Error("a key is published under another's name")
	}
	if _, ok := ring.Public(active.KID); !ok {
		t.Error("the sound key is gone")
	}
}

// A row that becomes corrupt under a running server takes nothing away from it.
func TestReloadKeepsWhatItOnceUnsealed(t *testing.T) {
	t.Parallel()
	b := setup(t, apis.ES256)
	active := b.one(t, apis.ES256, keys.Active)
	before := b.ring.JWKS()
	b.tamper(t, func(r *keys.Record) { r.Sealed = []byte("corrupt") })
	err := b.ring.Reload(t.Context())
	if unusable, ok := errors.AsType[*keys.UnusableError](err); !ok || !unusable.Active() {
		t.Errorf("Reload = %v, want an UnusableError", err)
	}
	if s, err := b.ring.Sign(apis.ES256); err != nil || s.KID != active.KID || b.ring.JWKS().ETag != before.ETag {
		t.Errorf("the keys in memory are gone: %v", err)
	}
	b.tamper(t, func(r *keys.Record) { r.State = keys.Compromised })
	b.reload(t)
	if _, ok := b.ring.Public(active.KID); ok {
		t.Error("a compromised key stays because it was in memory")
	}
}

// What a row's text says is not what is published.
func TestJWKSIsWrittenFromTheKey(t *testing.T) {
	t.Parallel()
	b := setup(t, apis.EdDSA)
	want := b.ring.JWKS().Body
	b.tamper(t, func(r *keys.Record) { r.PublicJWK = []byte(`{"kty":"OKP","d":"c2VjcmV0"}`) })
	ring := keys.NewRing(b.store, b.sealer, b.plan)
	if err := ring.Reload(t.Context()); err != nil || !bytes.Equal(ring.JWKS().Body, want) {
		t.Errorf("the set is %s (%v)", ring.JWKS().Body, err)
	}
}

func TestSignerDoesNotPrintItsKey(t *testing.T) {
	t.Parallel()
	b := setup(t, apis.EdDSA)
	s, err := b.ring.Sign(apis.EdDSA)
	if err != nil {
		t.Fatal(err)
	}
	private, ok := s.Key.(ed25519.PrivateKey)
	if !ok {
		t.Fatalf("the key is a %T", s.Key)
	}
	for verb := range strings.FieldsSeq("%v %+v %#v %s %x %d") {
		text := fmt.Sprintf(verb, s)
		if strings.Contains(text, fmt.Sprintf(verb, private.Seed())) || text != "[signer "+s.KID+"]" {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}

func TestRingIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	b := setup(t, apis.EdDSA)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 25 {
				s, err := b.ring.Sign(apis.EdDSA)
				if err != nil {
					t.Errorf("Sign: %v", err)
					return
				}
				if _, ok := b.ring.Public(s.KID); !ok {
					t.Error("a key that signs is not published")
				}
				b.ring.Algorithms()[0] = "" // belongs to the caller
			}
		})
		group.Go(func() {
			for range 25 {
				if err := b.ring.Reload(t.Context()); err != nil {
					t.Errorf("Reload: %v", err)
				}
			}
		})
	}
	group.Wait()
	if got := b.ring.Algorithms(); len(got) != 1 || got[0] != apis.EdDSA {
		t.Errorf("Algorithms = %v", got)
	}
}
