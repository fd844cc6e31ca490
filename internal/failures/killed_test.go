package failures

import (
	"crypto/rand"
	"database/sql"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	_ "github.com/seed-1972b8eb/signet/internal/sqlstore" // registers the driver of SQLite
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// acknowledged is one change that the server has said it made, and how to see it.
type acknowledged struct {
	action, subject string
	holds           func(t *testing.T) bool
}

// ledger collects acknowledged changes from many goroutines.
type ledger struct {
	mu   sync.Mutex
	rows []acknowledged
}

func (l *ledger) add(action, subject string, holds func(t *testing.T) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rows = append(l.rows, acknowledged{action, subject, holds})
}

func (l *ledger) all() []acknowledged {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clip(l.rows)
}

// TestKilledUnderChanges kills server and database with SIGKILL while admins change everything that they can change. Each
// change that was acknowledged is there afterwards, and so is its row in the audit trail.
func TestKilledUnderChanges(t *testing.T) {
	t.Parallel()
	long(t)
	crashes(t, func(t *testing.T, s *server, crash func()) {
		l := &ledger{}
		watch := s.client(t)
		var tasks sync.WaitGroup
		for range 3 {
			tasks.Go(func() { s.change(t, l, watch) })
		}
		const enough = 60
		eventually(t, time.Minute, "make changes", func() bool { return len(l.all()) >= enough })
		s.Kill() // and crash does it again, with the database
		tasks.Wait()
		crash()
		changes := l.all()
		for _, c := range changes {
			if !c.holds(t) {
				t.Errorf("%s of %s was acknowledged and is lost", c.action, c.subject)
			}
		}
		trail := s.trail(t)
		for _, c := range changes {
			if trail[[2]string{c.action, c.subject}]--; trail[[2]string{c.action, c.subject}] < 0 {
				t.Errorf("%s of %s was acknowledged and is not in the audit trail", c.action, c.subject)
			}
		}
		t.Logf("%d changes were acknowledged", len(changes))
		if s.Database() == "" {
			if verdict := integrity(t, filepath.Join(s.DataDir, "signet.db")); verdict != "ok" {
				t.Errorf("the database is damaged: %s", verdict)
			}
		}
	})
}

// change makes changes of every kind, each client's in the order in which they make sense, until the server is gone.
func (s *server) change(t *testing.T, l *ledger, watch client) {
	t.Helper()
	for {
		made, err := s.admin.CreateClient(t.Context(), newClient(adminapi.NewClient{}))
		if err != nil {
			return
		}
		c := client{made.ClientID, made.ClientSecret}
		l.add("client.create", c.id, func(t *testing.T) bool { return s.is(t, c.id, func(*adminapi.OAuthClient) bool { return true }) })
		a := s.request(c)
		token := a.token()
		if !a.ok() || !s.revoke(c, token).ok() {
			return
		}
		l.add("token.revoke", jti(token), func(*testing.T) bool { return s.introspect(watch, token).inactive() })

		rotated, err := s.admin.RotateSecret(t.Context(), c.id, adminapi.Rotate{Now: true})
		if err != nil {
			return
		}
		fresh := client{c.id, rotated.ClientSecret}
		l.add("secret.rotate", c.id, func(t *testing.T) bool {
			// A disabled client is turned away with either; the record says what it has.
			return s.request(c).status == http.StatusUnauthorized && s.is(t, c.id, func(now *adminapi.OAuthClient) bool {
				return len(now.Secrets) > 0 && now.Secrets[len(now.Secrets)-1].SecretID == rotated.SecretID &&
					(now.Disabled || s.request(fresh).ok())
			})
		})
		cut, err := s.admin.CutOff(t.Context(), adminapi.NewCutOff{Client: c.id})
		if err != nil {
			return
		}
		l.add("revocation.cut-off", c.id, func(t *testing.T) bool {
			return s.is(t, c.id, func(now *adminapi.OAuthClient) bool { return now.Generation >= cut.Generation })
		})
		if _, err := s.admin.DisableClient(t.Context(), c.id, rand.Text()); err != nil {
			return
		}
		l.add("client.disable", c.id, func(t *testing.T) bool {
			return !s.request(fresh).ok() && s.is(t, c.id, func(now *adminapi.OAuthClient) bool { return now.Disabled })
		})
	}
}

// is looks at a client's record.
func (s *server) is(t *testing.T, id string, holds func(*adminapi.OAuthClient) bool) bool {
	t.Helper()
	c, err := s.admin.Client(t.Context(), id)
	return err == nil && holds(c)
}

// trail counts the events of the audit trail by action and subject.
func (s *server) trail(t *testing.T) map[[2]string]int {
	t.Helper()
	counts := map[[2]string]int{}
	for filter := (adminapi.AuditFilter{Limit: 1000}); ; {
		page, err := s.admin.Audit(t.Context(), filter)
		if err != nil {
			t.Fatalf("read the audit trail: %v", err)
		}
		for _, e := range page.Items {
			counts[[2]string{e.Action, e.Subject}]++
		}
		if page.Next == "" {
			return counts
		}
		filter.Before = page.Next
	}
}

// integrity is what SQLite says of a file: "ok", or what is wrong.
func integrity(t *testing.T, path string) string {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var verdict string
	if err := db.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&verdict); err != nil {
		return err.Error()
	}
	return verdict
}
