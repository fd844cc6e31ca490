package clients_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/credential"
	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/rootkeys"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

const orders = "https://api.test/orders"

var local = audit.Actor{ID: "local", Source: "unix"}

// fixture is a registry over a fresh SQLite database that has one API.
type fixture struct {
	*clients.Registry
	db     *sqlstore.DB
	pepper *credential.Pepper
}

func setup(t *testing.T) fixture {
	t.Helper()
	return setupWith(t, nil)
}

// setupWith confirms changes in a way of the test's own, once the fixture is there.
func setupWith(t *testing.T, confirm func(context.Context) error) fixture {
	t.Helper()
	there := false
	cfg := sqlstore.Config{Driver: "sqlite", Path: filepath.Join(t.TempDir(), "signet.db"), Confirm: func(ctx context.Context) error {
		if there && confirm != nil {
			return confirm(ctx)
		}
		return nil
	}}
	if err := sqlstore.Create(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	db, err := sqlstore.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	registered := apis.NewRegistry(apis.RegistryConfig{
		Store: db.APIs(), EnsureKeys: func(context.Context, audit.Actor, apis.Alg) error { return nil },
	})
	if _, err := registered.Create(t.Context(), local, apis.API{
		Identifier: orders, Name: "Orders", Scopes: []apis.Scope{{Name: "orders:read"}, {Name: "orders:write"}},
	}); err != nil {
		t.Fatal(err)
	}
	there = true
	pepper := credential.NewPepper(rootkeys.Generate())
	return fixture{
		Registry: clients.NewRegistry(clients.RegistryConfig{Store: db.Clients(), APIs: db.APIs(), Pepper: pepper, MaxTTL: time.Hour}),
		db:       db, pepper: pepper,
	}
}

func (f fixture) create(t *testing.T, name string) (*clients.Client, credential.Secret) {
	t.Helper()
	c, secret, err := f.Create(t.Context(), local, clients.New{
		Name: name, Grants: []clients.Grant{{API: orders, Scopes: []string{"orders:write", "orders:read"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, secret
}

// opens reports whether the secret is one that works for the client now.
func (f fixture) opens(t *testing.T, id string, secret credential.Secret) bool {
	t.Helper()
	c, err := f.Find(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.Secrets {
		ok, err := f.pepper.Matches(c.ID, secret, c.Secrets[i].Digest)
		if err != nil {
			t.Fatal(err)
		}
		if ok && c.Secrets[i].Live(time.Now()) {
			return true
		}
	}
	return false
}

// dead reports whether a token of the client with this generation was taken back.
func (f fixture) dead(t *testing.T, id string, generation int64) bool {
	t.Helper()
	revoked, err := f.db.Revocations().Revoked(t.Context(), []revocations.Token{{JTI: "any", ClientID: id, Generation: generation}})
	if err != nil {
		t.Fatal(err)
	}
	return revoked[0]
}

func TestCreate(t *testing.T) {
	t.Parallel()
	f := setup(t)
	c, secret := f.create(t, "nightly report")
	if !strings.HasPrefix(c.ID, "client_") || len(c.ID) != 27 || c.AuthMethod != clients.SecretBasic || c.Generation != 1 {
		t.Errorf("created %+v", c)
	}
	if got := strings.Join(c.Grants[0].Scopes, " "); got != "orders:read orders:write" {
		t.Errorf("scopes %q are not sorted", got)
	}
	if !f.opens(t, c.ID, secret) || f.opens(t, c.ID, credential.New(credential.ClientSecret)) {
		t.Error("the secret does not work, or another one does")
	}
	if found, err := f.Find(t.Context(), "nightly report"); err != nil || found.ID != c.ID {
		t.Errorf("found by name: %+v (%v)", found, err)
	}
	events, err := f.db.Trail().Events(t.Context(), audit.Filter{Subject: c.ID})
	if err != nil || len(events) != 1 || events[0].Action != "client.create" {
		t.Errorf("audit trail %+v (%v)", events, err)
	}
}

func TestCreateRefuses(t *testing.T) { //nolint:tparallel // what is left is looked at after the last
	t.Parallel()
	f := setup(t)
	f.create(t, "taken")
	grant := func(api string, scopes ...string) []clients.Grant { return []clients.Grant{{API: api, Scopes: scopes}} }
	for name, c := range map[string]struct {
		new  clients.New
		want error
		says string
	}{
		"name taken":            {clients.New{Name: "taken"}, clients.ErrNameTaken, ""},
		"no name":               {clients.New{}, clients.ErrInvalid, "name"},
		"name with a newline":   {clients.New{Name: "a\nb"}, clients.ErrInvalid, "name"},
		"unknown API":           {clients.New{Name: "a", Grants: grant("urn:none", "x")}, clients.ErrInvalid, `"urn:none"`},
		"unknown scope":         {clients.New{Name: "a", Grants: grant(orders, "orders:delete")}, clients.ErrInvalid, "orders:read"},
		"scope in other case":   {clients.New{Name: "a", Grants: grant(orders, "Orders:Read")}, clients.ErrInvalid, "Orders:Read"},
		"wildcard scope":        {clients.New{Name: "a", Grants: grant(orders, "*")}, clients.ErrInvalid, "*"},
		"grant without scopes":  {clients.New{Name: "a", Grants: grant(orders)}, clients.ErrInvalid, "no scope"},
		"two grants of one API": {clients.New{Name: "a", Grants: append(grant(orders, "orders:read"), grant(orders, "orders:write")...)}, clients.ErrInvalid, "two grants"},
		"default not granted": {
			clients.New{Name: "a", Grants: []clients.Grant{{API: orders, Scopes: []string{"orders:read"}, Defaults: []string{"orders:write"}}}},
			clients.ErrInvalid, "default scope",
		},
		"introspects nothing known":  {clients.New{Name: "a", Introspects: []string{"urn:none"}}, clients.ErrInvalid, "urn:none"},
		"introspects the admin API":  {clients.New{Name: "a", Introspects: []string{"urn:signet:admin"}}, clients.ErrInvalid, "introspected"},
		"public client":              {clients.New{Name: "a", AuthMethod: "none"}, clients.ErrInvalid, "none"},
		"key client without keys":    {clients.New{Name: "a", AuthMethod: clients.PrivateKeyJWT}, clients.ErrInvalid, "jwks"},
		"jwks_uri over http":         {clients.New{Name: "a", AuthMethod: clients.PrivateKeyJWT, JWKSURI: "http://a.test/jwks"}, clients.ErrInvalid, "https"},
		"jwks_uri on this machine":   {clients.New{Name: "a", AuthMethod: clients.PrivateKeyJWT, JWKSURI: "https://127.0.0.1/jwks"}, clients.ErrInvalid, "allow_cidrs"},
		"secret client with keys":    {clients.New{Name: "a", JWKS: []byte(`{"keys":[]}`)}, clients.ErrInvalid, "without jwks"},
		"lifetime above ceiling":     {clients.New{Name: "a", TokenTTL: 2 * time.Hour}, clients.ErrInvalid, "ceiling"},
		"expiry in the past":         {clients.New{Name: "a", ExpiresAt: time.Now().Add(-time.Second)}, clients.ErrInvalid, "past"},
		"secret expiry in the past":  {clients.New{Name: "a", SecretExpiresAt: time.Now().Add(-time.Second)}, clients.ErrInvalid, "past"},
		"claim that nobody can sign": {clients.New{Name: "a", Claims: map[string]any{"x": json.RawMessage(strings.Repeat("[", 40) + strings.Repeat("]", 40))}}, clients.ErrInvalid, "nested too deeply"},
		"reserved claim":             {clients.New{Name: "a", Claims: map[string]any{"scope": "admin"}}, clients.ErrInvalid, "reserved"},
		"claim beyond exact numbers": {clients.New{Name: "a", Claims: map[string]any{"tenant": float64(1 << 53)}}, clients.ErrInvalid, "text"},
		"large claims":               {clients.New{Name: "a", Claims: map[string]any{"x": strings.Repeat("y", 3000)}}, clients.ErrInvalid, "bytes"},
		"invalid network":            {clients.New{Name: "a", AllowCIDRs: []netip.Prefix{{}}}, clients.ErrInvalid, "CIDR"},
	} {
		t.Run(name, func(t *testing.T) {
			_, secret, err := f.Create(t.Context(), local, c.new)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want %v saying %q", err, c.want, c.says)
			}
			if secret != (credential.Secret{}) {
				t.Error("a refused client comes with a secret")
			}
		})
	}
	list, err := f.List(t.Context(), clients.Filter{})
	if err != nil || len(list) != 1 {
		t.Errorf("%d clients after the refusals (%v), want 1", len(list), err)
	}
}

func TestRotationKeepsBothSecretsForTheOverlap(t *testing.T) {
	t.Parallel()
	f := setup(t)
	c, first := f.create(t, "a")
	out, err := f.RotateSecret(t.Context(), local, "a", 2*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if !f.opens(t, c.ID, first) || !f.opens(t, c.ID, out.Secret) {
		t.Error("during the overlap one of the secrets does not work")
	}
	if left := time.Until(out.PreviousExpiresAt); left < 119*time.Minute || left > 2*time.Hour {
		t.Errorf("the previous secret works for %s more, want 2 h", left)
	}
	if out.Client.Generation != 1 || f.dead(t, c.ID, 1) {
		t.Error("a planned rotation ended tokens")
	}
	if out.Client.Secrets[0].ExpiresAt.IsZero() || !out.Client.Secrets[1].ExpiresAt.IsZero() {
		t.Errorf("secrets %+v", out.Client.Secrets)
	}
}

func TestRotationAtOnceEndsSecretsAndTokens(t *testing.T) {
	t.Parallel()
	f := setup(t)
	c, first := f.create(t, "a")
	out, err := f.RotateSecret(t.Context(), local, c.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	if f.opens(t, c.ID, first) || !f.opens(t, c.ID, out.Secret) {
		t.Error("the old secret still works, or the new one does not")
	}
	if len(out.Client.Secrets) != 1 || out.Client.Secrets[0].ID != out.SecretID {
		t.Errorf("%d secrets; want the new one alone: by a clock that is behind, one that expires now lives on", len(out.Client.Secrets))
	}
	if out.Client.Generation != 2 || !f.dead(t, c.ID, 1) || f.dead(t, c.ID, 2) {
		t.Errorf("generation %d; tokens of 1 dead: %v, of 2 dead: %v", out.Client.Generation, f.dead(t, c.ID, 1), f.dead(t, c.ID, 2))
	}
}

func TestCancelledRotationRestoresWhatWas(t *testing.T) {
	t.Parallel()
	f := setup(t)
	c, first := f.create(t, "a")
	if _, err := f.CancelRotation(t.Context(), local, "a"); !errors.Is(err, clients.ErrInvalid) {
		t.Errorf("cancel without a rotation: %v", err)
	}
	rotated, err := f.RotateSecret(t.Context(), local, "a", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	out, err := f.CancelRotation(t.Context(), local, "a")
	if err != nil {
		t.Fatal(err)
	}
	if !f.opens(t, c.ID, first) || f.opens(t, c.ID, rotated.Secret) {
		t.Error("after the cancel the first secret does not work, or the second does")
	}
	if len(out.Client.Secrets) != 1 || !out.Client.Secrets[0].ExpiresAt.IsZero() || !out.PreviousExpiresAt.IsZero() {
		t.Errorf("secrets after the cancel: %+v", out.Client.Secrets)
	}
}

func TestRotationTellsWhenThePreviousSecretReallyEnds(t *testing.T) {
	t.Parallel()
	f := setup(t)
	soon := time.Now().Add(time.Hour).UTC()
	if _, _, err := f.Create(t.Context(), local, clients.New{Name: "a", SecretExpiresAt: soon}); err != nil {
		t.Fatal(err)
	}
	out, err := f.RotateSecret(t.Context(), local, "a", 24*time.Hour)
	if err != nil || out.PreviousExpiresAt.Sub(soon).Abs() > time.Millisecond {
		t.Errorf("the previous secret works until %s (%v), want its own expiry %s", out.PreviousExpiresAt, err, soon)
	}
}

func TestTwoRotationsKeepTheEarlierExpiry(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.create(t, "a")
	one, err := f.RotateSecret(t.Context(), local, "a", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	two, err := f.RotateSecret(t.Context(), local, "a", 5*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if got := two.Client.Secrets[0].ExpiresAt; !got.Equal(one.PreviousExpiresAt.Truncate(time.Microsecond)) && !got.Equal(one.PreviousExpiresAt) {
		t.Errorf("the second rotation moved the first secret's expiry from %s to %s", one.PreviousExpiresAt, got)
	}
}

func TestSecretsAreBoundedAndOldOnesForgotten(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.create(t, "a")
	for range 9 {
		if _, _, err := f.CreateSecret(t.Context(), local, "a", time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := f.CreateSecret(t.Context(), local, "a", time.Time{}); !errors.Is(err, clients.ErrInvalid) {
		t.Errorf("the eleventh secret: %v", err)
	}
	for range 12 {
		if _, err := f.RotateSecret(t.Context(), local, "a", 0); err != nil {
			t.Fatal(err)
		}
	}
	c, err := f.Find(t.Context(), "a")
	if err != nil || len(c.Secrets) > 7 {
		t.Errorf("%d secrets are kept (%v), want one that works and a few that expired", len(c.Secrets), err)
	}
}

func TestRevokeSecret(t *testing.T) {
	t.Parallel()
	f := setup(t)
	c, first := f.create(t, "a")
	if _, err := f.RevokeSecret(t.Context(), local, "a", "cs_000000000000"); !errors.Is(err, clients.ErrSecretNotFound) {
		t.Errorf("unknown secret: %v", err)
	}
	if _, err := f.RevokeSecret(t.Context(), local, "a", first.ID()); err != nil {
		t.Fatal(err)
	}
	if f.opens(t, c.ID, first) {
		t.Error("a revoked secret works")
	}
}

func TestWhatEndsTokens(t *testing.T) {
	t.Parallel()
	only := []clients.Grant{{API: orders, Scopes: []string{"orders:read"}}}
	both := []clients.Grant{{API: orders, Scopes: []string{"orders:read", "orders:write"}}}
	name := "b"
	for label, test := range map[string]struct {
		do   func(context.Context, fixture) error
		dead bool
	}{
		"disable": {func(ctx context.Context, f fixture) error { _, err := f.Disable(ctx, local, "a", "left"); return err }, true},
		"cut-off": {func(ctx context.Context, f fixture) error { _, err := f.CutOff(ctx, local, "a", "leak"); return err }, true},
		"delete":  {func(ctx context.Context, f fixture) error { return f.Delete(ctx, local, "a") }, true},
		"a scope taken away": {func(ctx context.Context, f fixture) error {
			_, err := f.Update(ctx, local, "a", clients.Change{Grants: &only})
			return err
		}, true},
		"all grants taken away": {func(ctx context.Context, f fixture) error {
			_, err := f.Update(ctx, local, "a", clients.Change{Grants: &[]clients.Grant{}})
			return err
		}, true},
		"the same grants again": {func(ctx context.Context, f fixture) error {
			_, err := f.Update(ctx, local, "a", clients.Change{Grants: &both})
			return err
		}, false},
		"a new name": {func(ctx context.Context, f fixture) error {
			_, err := f.Update(ctx, local, "a", clients.Change{Name: &name})
			return err
		}, false},
		"enable": {func(ctx context.Context, f fixture) error { _, err := f.Enable(ctx, local, "a"); return err }, false},
	} {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			c, _ := f.create(t, "a")
			if f.dead(t, c.ID, c.Generation) {
				t.Fatal("dead before anything happened")
			}
			if err := test.do(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			if got := f.dead(t, c.ID, c.Generation); got != test.dead {
				t.Errorf("tokens from before are dead: %v, want %v", got, test.dead)
			}
		})
	}
}

// TestDeletedBefore tries a deletion again that another process has done and not confirmed before it died: it is no client
// any more, and that is said after its cut-off is confirmed and not before.
func TestDeletedBefore(t *testing.T) {
	t.Parallel()
	confirmed, trouble := 0, errors.New("not confirmed")
	f := setupWith(t, func(context.Context) error {
		confirmed++
		return trouble
	})
	if err := f.Delete(t.Context(), local, "client_gone"); !errors.Is(err, trouble) || confirmed != 1 {
		t.Errorf("Delete = %v after %d confirmations", err, confirmed)
	}
	if _, err := f.Disable(t.Context(), local, "client_gone", ""); !errors.Is(err, trouble) || confirmed != 2 {
		t.Errorf("Disable = %v after %d confirmations", err, confirmed)
	}
	trouble = nil
	if err := f.Delete(t.Context(), local, "client_gone"); !errors.Is(err, clients.ErrNotFound) || confirmed != 3 {
		t.Errorf("Delete = %v after %d confirmations", err, confirmed)
	}
}
