package sqlstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

const orders = "https://api.test/orders"

// now is the time as it comes back from the database.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

func event(action string) audit.Event {
	return audit.Event{Actor: audit.Actor{ID: "local", Source: "unix"}, Action: action, Subject: "subject"}
}

// record revokes a token in the database.
func record(ctx context.Context, db *sqlstore.DB, r revocations.Revocation, e audit.Event) error {
	_, err := db.Revocations().Record(ctx, r, e)
	return err
}

// check asks the database about one token.
func check(ctx context.Context, db *sqlstore.DB, token revocations.Token) (bool, error) {
	revoked, err := db.Revocations().Revoked(ctx, []revocations.Token{token})
	return err == nil && revoked[0], err
}

// client returns the least that can be stored.
func client(id string) *clients.Client {
	return &clients.Client{
		ID: id, Name: "name of " + id, AuthMethod: clients.SecretBasic, Generation: 1, CreatedAt: now(), UpdatedAt: now(),
	}
}

func createClient(t *testing.T, db *sqlstore.DB, c *clients.Client) {
	t.Helper()
	if err := db.Clients().CreateClient(t.Context(), c, event("client.create")); err != nil {
		t.Fatal(err)
	}
}

// createOrders makes the API "orders" with the scopes read and write.
func createOrders(t *testing.T, db *sqlstore.DB) {
	t.Helper()
	err := db.APIs().CreateAPI(t.Context(), &apis.API{
		Identifier: orders, Name: "Orders", Alg: apis.ES256, Typ: apis.TypAccessToken, TokenTTL: time.Minute,
		Scopes: []apis.Scope{{Name: "read", Kind: apis.Action}, {Name: "write", Kind: apis.Action}},
	}, event("api.create"))
	if err != nil {
		t.Fatal(err)
	}
}

// cut brings a client to a generation, deletes it, or marks a key as compromised: whatever cuts off.
func cut(t *testing.T, db *sqlstore.DB, kind revocations.CutOffKind, id string, generation int64) {
	t.Helper()
	ctx := t.Context()
	if kind == revocations.ByKey {
		err := db.Keys().UpdateKeySet(ctx, func(s *keys.Set) (audit.Event, error) {
			s.Keys = append(s.Keys, keys.Record{
				KID: id, Alg: apis.ES256, State: keys.Compromised, PublicJWK: []byte("{}"), CreatedAt: now(),
			})
			return event("key.revoke"), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	if _, err := db.Clients().Client(ctx, id); err != nil {
		createClient(t, db, client(id))
	}
	var err error
	if generation == revocations.Everything {
		err = db.Clients().DeleteClient(ctx, id, event("client.delete"))
	} else {
		_, err = db.Clients().UpdateClient(ctx, id, func(c *clients.Client) (audit.Event, error) {
			c.Generation = generation
			return event("revocation.cut-off"), nil
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}
