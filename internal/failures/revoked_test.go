package failures

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/faultproxy"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// crashes are the two kinds of deployment, each with what kills all of it at once and brings it back.
func crashes(t *testing.T, run func(t *testing.T, s *server, crash func())) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		s := serve(t, servertest.Config{})
		run(t, s, func() {
			s.Kill()
			s.Again(t)
		})
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		postgres := pgtest.Start(t)
		s := serve(t, servertest.Config{Database: postgres.URL()})
		run(t, s, func() {
			s.Kill()
			postgres.Kill()
			postgres.Start()
			s.Again(t)
		})
	})
}

// TestRevokedStaysRevoked kills server and database with SIGKILL right after they have acknowledged that something was taken
// back, in each way that there is. It never counts again; what nobody took back does.
func TestRevokedStaysRevoked(t *testing.T) {
	t.Parallel()
	crashes(t, func(t *testing.T, s *server, crash func()) {
		watch := s.client(t)
		spared := s.token(t, s.client(t))
		var taken []string
		for name, takeBack := range takeBacks(t, s) {
			if testing.Short() && name != "revoke" {
				continue
			}
			victim := s.client(t)
			token := s.token(t, victim)
			if a := s.introspect(watch, token); !a.active() {
				t.Fatalf("%s: before: %d %s (%v)", name, a.status, a.body, a.err)
			}
			takeBack(victim, token)
			crash()
			taken = append(taken, token)
			for _, token := range taken {
				if a := s.introspect(watch, token); !a.inactive() {
					t.Errorf("%s: a token that was taken back: %d %s (%v)", name, a.status, a.body, a.err)
				}
			}
			if a := s.introspect(watch, spared); !a.active() {
				t.Errorf("%s: a token that nobody took back: %d %s (%v)", name, a.status, a.body, a.err)
			}
		}
		s.verify(t, s.jwks(t), spared)
		signing := kid(spared)
		if _, err := s.admin.RevokeKey(t.Context(), signing, "test"); err != nil {
			t.Fatalf("revoke the key: %v", err)
		}
		crash()
		if a := s.introspect(watch, spared); !a.inactive() {
			t.Errorf("a token of a revoked key: %d %s (%v)", a.status, a.body, a.err)
		}
		if len(s.jwks(t).Key(signing)) > 0 {
			t.Error("the revoked key is published again")
		}
		if a := s.introspect(watch, s.token(t, watch)); !a.active() {
			t.Errorf("a token of the key after it: %d %s (%v)", a.status, a.body, a.err)
		}
	})
}

// takeBacks are the ways to end a token, each acknowledged when it returns.
func takeBacks(t *testing.T, s *server) map[string]func(victim client, token string) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatalf("take back: %v", err)
		}
	}
	return map[string]func(victim client, token string){
		"revoke":  func(victim client, token string) { s.revoke(victim, token).want(t) },
		"disable": func(victim client, _ string) { _, err := s.admin.DisableClient(t.Context(), victim.id, ""); must(err) },
		"delete":  func(victim client, _ string) { must(s.admin.DeleteClient(t.Context(), victim.id)) },
		"cut-off": func(victim client, _ string) {
			_, err := s.admin.CutOff(t.Context(), adminapi.NewCutOff{Client: victim.id})
			must(err)
		},
		"rotate now": func(victim client, _ string) {
			_, err := s.admin.RotateSecret(t.Context(), victim.id, adminapi.Rotate{Now: true})
			must(err)
		},
	}
}

// TestRevocationsUnderFaults lets clients revoke their tokens, trying again until they are told 200, while the database's
// network and the server fail again and again. An oracle asks all the time about every token whose revocation was
// acknowledged before the question: it must never hear that one counts.
func TestRevocationsUnderFaults(t *testing.T) {
	t.Parallel()
	long(t)
	postgres := pgtest.Start(t)
	proxy := faultproxy.New(t, postgres.Addr())
	s := serve(t, servertest.Config{Database: proxy.URL(postgres.URL())})
	o := &oracle{server: s, watch: s.client(t)}
	workers := []client{s.client(t), s.client(t), s.client(t)}
	var tasks sync.WaitGroup
	defer tasks.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, c := range workers {
		tasks.Go(func() { o.revokeAlways(ctx, c) })
	}
	tasks.Go(func() { o.askAlways(ctx, t) })
	eventually(t, 10*time.Second, "revoke", func() bool { return o.count() > 6 })
	for name, fault := range map[string]func(){
		"cut": proxy.Cut, "hang": proxy.Hang, "reset": proxy.Reset, "database killed": postgres.Kill,
		"server killed": func() { s.Kill(); s.Again(t) },
	} {
		before, doubts := o.count(), o.doubts.Load()
		fault()
		// The fault holds until somebody was told that it is not known, or nobody minds.
		eventually(t, 10*time.Second, "notice: "+name, func() bool { return o.doubts.Load() > doubts || o.count() > before+3 })
		proxy.Heal()
		if o.down(postgres) {
			postgres.Start()
		}
		eventually(t, 10*time.Second, "revoke again", func() bool { return o.count() > before+6 })
	}
	cancel()
	tasks.Wait()
	for _, token := range o.all() {
		if a := s.introspect(o.watch, token); !a.inactive() {
			t.Errorf("at the end: a revoked token: %d %s (%v)", a.status, a.body, a.err)
		}
	}
	t.Logf("%d revocations acknowledged, %d times not known, %d answers of the oracle", o.count(), o.doubts.Load(), o.asked.Load())
}

// oracle remembers whose revocation was acknowledged.
type oracle struct {
	*server

	watch         client
	doubts, asked atomic.Int64

	mu    sync.Mutex
	known []string
}

func (o *oracle) all() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clip(o.known)
}

func (o *oracle) count() int { return len(o.all()) }

// down says whether PostgreSQL itself does not answer.
func (o *oracle) down(postgres *pgtest.Server) bool { return !accepts(postgres.Addr()) }

// revokeAlways gets tokens and revokes them, until ctx ends.
func (o *oracle) revokeAlways(ctx context.Context, c client) {
	for ctx.Err() == nil {
		token := o.request(c).token()
		if token == "" {
			o.doubts.Add(1)
			pause(ctx)
			continue
		}
		for ctx.Err() == nil {
			if a := o.revoke(c, token); a.ok() {
				o.mu.Lock()
				o.known = append(o.known, token)
				o.mu.Unlock()
				break
			}
			o.doubts.Add(1)
			pause(ctx)
		}
	}
}

// askAlways asks about what is known at that moment, newest first, until ctx ends.
func (o *oracle) askAlways(ctx context.Context, t *testing.T) {
	t.Helper()
	for i := 0; ctx.Err() == nil; i++ {
		known := o.all()
		if len(known) == 0 {
			pause(ctx)
			continue
		}
		token := known[len(known)-1-i%min(len(known), 10)]
		a := o.introspect(o.watch, token)
		if a.active() || a.err == nil && !a.inactive() && a.status != http.StatusServiceUnavailable {
			t.Errorf("a revoked token: %d %s", a.status, a.body)
		}
		o.asked.Add(1)
		if a.err != nil {
			pause(ctx)
		}
	}
}

// pause keeps a client that was turned away from spinning.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(20 * time.Millisecond):
	}
}
