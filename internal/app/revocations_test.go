package app_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/redisstore"
	"github.com/seed-1972b8eb/signet/internal/registry"
	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/revocations/revocationstest"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/internal/servertest/redistest"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

// TestReplicatedStore is the set that replicas share: PostgreSQL alone, and with Redis, which must be what answers.
func TestReplicatedStore(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"postgres", "redis"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			revocationstest.Run(t, func(t *testing.T) revocationstest.Fixture {
				f := &fleet{database: pgtest.Open(t)}
				if mode == "redis" {
					f.redis = redistest.Open(t)
				}
				db, store := f.replica(t)
				_, peer := f.replica(t)
				return revocationstest.Fixture{
					Store: store, Peer: peer, Trail: db.Trail(),
					Cut: func(t *testing.T, kind revocations.CutOffKind, id string, generation int64) {
						t.Helper()
						cut(t, db, kind, id, generation)
					},
					Restart: func(t *testing.T) revocations.Store {
						t.Helper()
						_, again := f.replica(t)
						return again
					},
				}
			})
		})
	}
}

// TestTwoInstallations puts two into the same Redis database, which nobody should: neither believes what the other has written.
func TestTwoInstallations(t *testing.T) {
	t.Parallel()
	redis := redistest.Open(t)
	one, other := &fleet{pgtest.Open(t), redis, true}, &fleet{pgtest.Open(t), redis, true}
	_, store := one.replica(t)
	r := revocations.Revocation{JTI: "j", ClientID: "client_1", ExpiresAt: time.Now().Add(time.Hour), RevokedAt: time.Now()}
	if err := store.Revoke(t.Context(), r, audit.Event{Actor: by, Action: "token.revoke", Subject: "j"}); err != nil {
		t.Fatal(err)
	}
	token := revocations.Token{JTI: "j", ClientID: "client_1", Generation: 1}
	if revoked, err := store.Check(t.Context(), token); err != nil || !revoked {
		t.Fatalf("a revoked token: %v, %v", revoked, err)
	}
	_, theirs := other.replica(t) // has filled the set anew by now
	for range 50 {
		if revoked, err := store.Check(t.Context(), token); err != nil || !revoked {
			t.Fatalf("a revoked token beside another installation: %v, %v", revoked, err)
		}
		if revoked, err := theirs.Check(t.Context(), token); err != nil || revoked {
			t.Fatalf("a token that only the other installation has revoked: %v, %v", revoked, err)
		}
	}
}

// fleet is what replicas share.
type fleet struct {
	database, redis string
	contended       bool // others may keep Redis from answering
}

// replica opens the stores as New does, and waits until Redis is trusted.
func (f *fleet) replica(t *testing.T) (*sqlstore.DB, revocations.Store) {
	t.Helper()
	var replicated *revocations.Replicated
	db, err := sqlstore.Open(t.Context(), sqlstore.Config{
		Driver: "postgres", URL: f.database, InsecureSkipFsyncCheck: true,
		Confirm: func(ctx context.Context) error { return replicated.Confirm(ctx) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := revocations.ReplicatedConfig{Ledger: db.Ledger()}
	if f.redis != "" {
		set, err := redisstore.Open(redisstore.Config{URL: f.redis})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = set.Close() })
		c.Set = set
	}
	replicated = revocations.NewReplicated(c)
	cache, err := registry.New(registry.Config{Source: db.Source(), Log: slog.New(slog.DiscardHandler), Polled: func(sent time.Time, p registry.Poll) {
		replicated.Polled(sent, p.Now, p.Trust, p.Unconfirmed)
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := cache.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{}, 2)
	go func() { cache.Run(ctx); ended <- struct{}{} }()
	go func() { replicated.Run(ctx); ended <- struct{}{} }()
	t.Cleanup(func() {
		cancel()
		<-ended
		<-ended
	})
	if f.redis == "" {
		return db, replicated
	}
	trusted := func(ctx context.Context) error {
		for deadline := time.Now().Add(20 * time.Second); !replicated.Trusted(); {
			if time.Now().After(deadline) {
				return errors.New("Redis is not trusted after 20 s")
			}
			if err := cache.Refresh(ctx); err != nil { // brings the next look forward
				return err
			}
		}
		return nil
	}
	if err := trusted(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f.contended {
		return db, replicated
	}
	t.Cleanup(func() {
		if n := replicated.Counts(); n.FromRedis.Load() == 0 && n.FromLedger.Load() > 0 {
			t.Errorf("%d checks were answered, none of them by Redis", n.FromLedger.Load())
		}
	})
	return db, trusting{replicated, trusted}
}

// trusting has each check wait until Redis may answer it: on a busy machine a lease may end before each of the few of a test.
type trusting struct {
	revocations.Store
	trusted func(context.Context) error
}

func (s trusting) Check(ctx context.Context, t revocations.Token) (bool, error) {
	if err := s.trusted(ctx); err != nil {
		return false, err
	}
	return s.Store.Check(ctx, t)
}

// cut cuts off as the registries of clients and keys do.
func cut(t *testing.T, db *sqlstore.DB, kind revocations.CutOffKind, id string, generation int64) {
	t.Helper()
	ctx, e := t.Context(), audit.Event{Actor: by, Action: "test", Subject: id}
	var err error
	switch {
	case kind == revocations.ByKey:
		err = db.Keys().UpdateKeySet(ctx, func(s *keys.Set) (audit.Event, error) {
			s.Keys = append(s.Keys, keys.Record{
				KID: id, Alg: apis.ES256, State: keys.Compromised, PublicJWK: []byte("{}"), CreatedAt: time.Now(),
			})
			return e, nil
		})
	case generation == revocations.Everything:
		ensureClient(t, db, id)
		err = db.Clients().DeleteClient(ctx, id, e)
	default:
		ensureClient(t, db, id)
		_, err = db.Clients().UpdateClient(ctx, id, func(c *clients.Client) (audit.Event, error) {
			c.Generation = generation
			return e, nil
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func ensureClient(t *testing.T, db *sqlstore.DB, id string) {
	t.Helper()
	_, err := db.Clients().Client(t.Context(), id)
	if errors.Is(err, clients.ErrNotFound) {
		c := &clients.Client{ID: id, Name: "name of " + id, AuthMethod: clients.SecretBasic, Generation: 1}
		err = db.Clients().CreateClient(t.Context(), c, audit.Event{Actor: by, Action: "client.create", Subject: id})
	}
	if err != nil {
		t.Fatal(err)
	}
}
