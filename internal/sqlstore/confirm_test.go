package sqlstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/registry"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

// hooks records in which order the hooks of a change are called, and lets Confirm fail.
type hooks struct {
	calls []string
	fails error
}

func (h *hooks) on(config sqlstore.Config) sqlstore.Config {
	config.Committed = func(ctx context.Context, _ registry.Commit) {
		h.calls = append(h.calls, "committed")
		if ctx.Err() != nil {
			h.calls = append(h.calls, "too late")
		}
	}
	config.Confirm = func(context.Context) error {
		h.calls = append(h.calls, "confirm")
		return h.fails
	}
	return config
}

func update(ctx context.Context, db *sqlstore.DB, do func(*clients.Client) (audit.Event, error)) error {
	_, err := db.Clients().UpdateClient(ctx, "client_1", do)
	return err
}

// TestConfirmHook goes through the ways in which a change ends. Whatever is an answer waits for the confirmation of every
// cut-off, also of one that an earlier attempt left behind, and is not given without it.
func TestConfirmHook(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		h := &hooks{}
		db := migrated(t, h.on(config))
		createClient(t, db, client("client_1"))
		ctx := t.Context()
		refused := errors.New("refused")
		for _, test := range []struct {
			name  string
			do    func() error
			calls string
			err   error
		}{
			{"a cut-off", func() error {
				return update(ctx, db, func(c *clients.Client) (audit.Event, error) { c.Generation++; return event("x"), nil })
			}, "committed confirm", nil},
			{"another change", func() error {
				return db.Clients().CreateClient(ctx, client("client_2"), event("x"))
			}, "committed confirm", nil},
			{"nothing to change", func() error {
				return db.Keys().UpdateKeySet(ctx, func(*keys.Set) (audit.Event, error) { return audit.Event{}, nil })
			}, "confirm", nil},
			{"a refusal", func() error {
				return update(ctx, db, func(*clients.Client) (audit.Event, error) { return event("x"), refused })
			}, "confirm", refused},
			{"a client that is gone", func() error {
				return db.Clients().DeleteClient(ctx, "client_9", event("x"))
			}, "confirm", clients.ErrNotFound},
			{"a name that is taken", func() error {
				return db.Clients().CreateClient(ctx, client("client_1"), event("x"))
			}, "confirm", clients.ErrNameTaken},
			{"no change of the registry", func() error { return db.SetMeta(ctx, "issuer", "x") }, "", nil},
			{"a revocation", func() error { return record(ctx, db, hour("j"), event("x")) }, "", nil},
		} {
			h.calls, h.fails = nil, nil
			if err := test.do(); !errors.Is(err, test.err) {
				t.Errorf("%s: %v, want %v", test.name, err, test.err)
			}
			if calls := strings.Join(h.calls, " "); calls != test.calls {
				t.Errorf("%s: called %q, want %q", test.name, calls, test.calls)
			}
			if !slices.Contains(h.calls, "confirm") || test.name == "another change" { // which cannot be made twice
				continue
			}
			h.fails = errFailed
			err := test.do()
			if !errors.Is(err, errFailed) || !strings.Contains(err.Error(), "confirm cut-offs") || errors.Is(err, clients.ErrNotFound) {
				t.Errorf("%s, not confirmed: %v, want %v", test.name, err, errFailed)
			}
		}
	})
}

// TestConfirmHookAfterTheCaller: what was committed is told to this process' caches even when nobody waits any more.
func TestConfirmHookAfterTheCaller(t *testing.T) {
	onBoth(t, func(t *testing.T, config sqlstore.Config) {
		ctx, cancel := context.WithCancel(t.Context())
		var told error
		config.Committed = func(ctx context.Context, _ registry.Commit) { cancel(); told = ctx.Err() }
		config.Confirm = func(ctx context.Context) error { return ctx.Err() }
		db := migrated(t, config)
		if err := db.Clients().CreateClient(ctx, client("client_1"), event("x")); !errors.Is(err, context.Canceled) {
			t.Errorf("CreateClient, not confirmed because its caller has gone: %v", err)
		}
		if told != nil {
			t.Errorf("Committed was called with a context that has ended: %v", told)
		}
	})
}

// TestNoConfirmHook lets the database fail before, in and after the closure: that is the answer.
func TestNoConfirmHook(t *testing.T) {
	t.Parallel()
	config := fresh(t, "postgres")
	h := &hooks{}
	db := migrated(t, h.on(config))
	createClient(t, db, client("client_1"))
	conn := dial(t, config)
	refuse := `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'disk full'; END $$`
	execute(t, conn, refuse)
	raise := func(c *clients.Client) (audit.Event, error) { c.Generation++; return event("x"), nil }
	terminate := func(c *clients.Client) (audit.Event, error) {
		execute(t, conn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "+
			"WHERE datname = current_database() AND state = 'idle in transaction'")
		return raise(c)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	for _, test := range []struct {
		name, before, after string
		do                  func() error
	}{
		{
			"at the lock", "ALTER TABLE registry_epoch RENAME TO elsewhere", "ALTER TABLE elsewhere RENAME TO registry_epoch",
			func() error { return update(t.Context(), db, raise) },
		},
		{
			"in the closure", "ALTER TABLE client_secrets RENAME TO elsewhere", "ALTER TABLE elsewhere RENAME TO client_secrets",
			func() error { return db.Clients().DeleteClient(t.Context(), "client_1", event("x")) },
		},
		{
			"at the end", "ALTER TABLE audit_events RENAME TO elsewhere", "ALTER TABLE elsewhere RENAME TO audit_events",
			func() error { return update(t.Context(), db, raise) },
		},
		{
			"at the commit", "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON audit_events DEFERRABLE INITIALLY DEFERRED " +
				"FOR EACH ROW EXECUTE FUNCTION refuse()", "DROP TRIGGER refuse ON audit_events",
			func() error { return update(t.Context(), db, raise) },
		},
		{"its connection", "SELECT 1", "SELECT 1", func() error { return update(t.Context(), db, terminate) }},
		{"its time", "SELECT 1", "SELECT 1", func() error {
			return update(cancelled, db, func(c *clients.Client) (audit.Event, error) { cancel(); return raise(c) })
		}},
	} {
		execute(t, conn, test.before)
		h.calls = nil
		if err := test.do(); err == nil {
			t.Errorf("%s: acknowledged", test.name)
		}
		if len(h.calls) > 0 {
			t.Errorf("%s: called %v", test.name, h.calls)
		}
		execute(t, conn, test.after)
	}
	for _, failure := range []error{
		context.Canceled, context.DeadlineExceeded, io.ErrUnexpectedEOF, driver.ErrBadConn, sql.ErrTxDone, sql.ErrConnDone,
		&net.OpError{Op: "read", Err: syscall.ECONNRESET}, &pgconn.PgError{Code: "57P01"},
	} {
		h.calls = nil
		err := update(t.Context(), db, func(*clients.Client) (audit.Event, error) {
			return event("x"), fmt.Errorf("read: %w", failure)
		})
		if !errors.Is(err, failure) || len(h.calls) > 0 {
			t.Errorf("%v in the closure: %v, called %v", failure, err, h.calls)
		}
	}
	if err := update(t.Context(), db, raise); err != nil || len(h.calls) != 2 {
		t.Errorf("afterwards: %v, called %v", err, h.calls)
	}
}
