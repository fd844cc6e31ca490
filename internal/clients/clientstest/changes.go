package clientstest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/usage"
)

// update changes client_1 and fails the test when that fails.
func (f Fixture) update(t *testing.T, change func(*clients.Client)) *clients.Client {
	t.Helper()
	got, err := f.Clients.UpdateClient(t.Context(), "client_1", func(c *clients.Client) (audit.Event, error) {
		change(c)
		return event("client.update"), nil
	})
	if err != nil {
		t.Fatalf("UpdateClient: %v", err)
	}
	return got
}

func testUpdate(t *testing.T, f Fixture) {
	f.create(t, least("client_1"))
	f.create(t, least("client_2"))
	want := full("client_1")
	want.CreatedAt = moment(0)
	got := f.update(t, func(c *clients.Client) { *c = *full("client_1") })
	equal(t, want, got)
	f.expect(t, want)
	// And back.
	bare := least("client_1")
	bare.Generation = want.Generation
	equal(t, bare, f.update(t, func(c *clients.Client) { *c = *bare.Clone() }))
	f.expect(t, bare)
	f.expect(t, least("client_2"))
}

func testUpdateFails(t *testing.T, f Fixture) {
	f.create(t, full("client_1"))
	refusal := errors.New("no")
	got, err := f.Clients.UpdateClient(t.Context(), "client_1", func(c *clients.Client) (audit.Event, error) {
		*c = *least("client_1")
		c.Generation = 100
		return event("client.update"), refusal
	})
	if !errors.Is(err, refusal) || got != nil {
		t.Errorf("UpdateClient = %v, %v; want nothing and the closure's error", got, err)
	}
	f.expect(t, full("client_1"))
	if events, err := f.Trail.Events(t.Context(), audit.Filter{Action: "client.update"}); err != nil || len(events) != 0 {
		t.Errorf("events of what was not done: %v, %v", events, err)
	}
}

func testUpdateNothing(t *testing.T, f Fixture) {
	f.create(t, full("client_1"))
	got, err := f.Clients.UpdateClient(t.Context(), "client_1", func(c *clients.Client) (audit.Event, error) {
		c.Owner = "nobody"
		return audit.Event{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, full("client_1"), got)
	f.expect(t, full("client_1"))
}

func testUpdateTaken(t *testing.T, f Fixture) {
	f.create(t, least("client_1"))
	f.create(t, least("client_2"))
	_, err := f.Clients.UpdateClient(t.Context(), "client_1", func(c *clients.Client) (audit.Event, error) {
		c.Name = "name of client_2"
		return event("client.update"), nil
	})
	if !errors.Is(err, clients.ErrNameTaken) {
		t.Errorf("UpdateClient = %v, want ErrNameTaken", err)
	}
	f.expect(t, least("client_1"))
}

func testUpdateForbidden(t *testing.T, f Fixture) {
	f.create(t, full("client_1"))
	for name, spoil := range map[string]func(*clients.Client){
		"ID":         func(c *clients.Client) { c.ID = "client_2" },
		"generation": func(c *clients.Client) { c.Generation-- },
		"grant":      func(c *clients.Client) { c.Grants[0].Scopes = []string{"read", "unknown"} },
	} {
		_, err := f.Clients.UpdateClient(t.Context(), "client_1", func(c *clients.Client) (audit.Event, error) {
			spoil(c)
			return event("client.update"), nil
		})
		if !errors.Is(err, clients.ErrInvalid) {
			t.Errorf("%s: UpdateClient = %v, want ErrInvalid", name, err)
		}
	}
	f.expect(t, full("client_1"))
}

// testSecretOrder gives all secrets one time of creation, and IDs that sort the wrong way.
func testSecretOrder(t *testing.T, f Fixture) {
	c := least("client_1")
	f.create(t, c)
	for _, id := range []string{"cs_9", "cs_5", "cs_7", "cs_1"} {
		c.Secrets = append(c.Secrets, secret(id, 1))
		f.update(t, func(c *clients.Client) { c.Secrets = append(c.Secrets, secret(id, 1)) })
	}
	f.expect(t, c)
	f.update(t, func(c *clients.Client) { c.Secrets = append(c.Secrets[:1], secret("cs_0", 1)) })
	c.Secrets = append(c.Secrets[:1], secret("cs_0", 1))
	f.expect(t, c)
}

func testSecrets(t *testing.T, f Fixture) {
	f.create(t, full("client_1"))
	f.create(t, full("client_2"))
	want := full("client_1")
	edit := func(c *clients.Client) {
		c.Secrets = c.Secrets[1:]
		c.Secrets[0].ExpiresAt, c.Secrets[0].Digest = moment(time.Minute), secret("", 9).Digest
		c.Secrets = append(c.Secrets, secret("cs_new", 4))
	}
	edit(want)
	equal(t, want, f.update(t, edit))
	f.expect(t, want)
	f.expect(t, full("client_2"))
}

func (f Fixture) revoked(t *testing.T, generation int64) bool {
	t.Helper()
	got, err := f.Revocations.Check(t.Context(), revocations.Token{JTI: "j", ClientID: "client_1", KID: "k", Generation: generation})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func testCutOff(t *testing.T, f Fixture) {
	f.create(t, least("client_1"))
	if f.revoked(t, 1) {
		t.Error("a new client's tokens are revoked")
	}
	f.update(t, func(c *clients.Client) { c.Generation++ })
	if !f.revoked(t, 1) || f.revoked(t, 2) {
		t.Errorf("generation 1 revoked: %v, generation 2 revoked: %v", f.revoked(t, 1), f.revoked(t, 2))
	}
}

func testNoCutOff(t *testing.T, f Fixture) {
	f.create(t, least("client_1"))
	f.update(t, func(c *clients.Client) { c.Disabled = true })
	cutOffs, err := f.Revocations.CutOffs(t.Context())
	if err != nil || len(cutOffs) != 0 || f.revoked(t, 1) {
		t.Errorf("cut-offs: %v, %v", cutOffs, err)
	}
}

func testDelete(t *testing.T, f Fixture) {
	f.create(t, full("client_1"))
	f.create(t, full("client_2"))
	if err := f.Clients.DeleteClient(t.Context(), "client_1", event("client.delete")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Clients.Client(t.Context(), "client_1"); !errors.Is(err, clients.ErrNotFound) {
		t.Errorf("Client = %v, want ErrNotFound", err)
	}
	if err := f.Clients.DeleteClient(t.Context(), "client_1", event("client.delete")); !errors.Is(err, clients.ErrNotFound) {
		t.Errorf("second DeleteClient = %v, want ErrNotFound", err)
	}
	if !f.revoked(t, 7) || !f.revoked(t, revocations.Everything-1) {
		t.Error("tokens of a deleted client live")
	}
	f.expect(t, full("client_2"))
	// The name and the secrets' IDs are free again.
	reborn := full("client_1")
	reborn.ID = "client_3"
	f.create(t, reborn)
	f.expect(t, reborn)
}

func testConcurrent(t *testing.T, f Fixture) {
	f.create(t, least("client_1"))
	const workers, each = 6, 5
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			for i := range each {
				_, err := f.Clients.UpdateClient(t.Context(), "client_1", func(c *clients.Client) (audit.Event, error) {
					c.Generation++
					c.Secrets = append(c.Secrets, secret(fmt.Sprintf("cs_%d_%d", worker, i), 1))
					return event("secret.create"), nil
				})
				if err != nil {
					t.Errorf("UpdateClient: %v", err)
				}
			}
		})
	}
	group.Wait()
	got, err := f.Clients.Client(t.Context(), "client_1")
	if err != nil {
		t.Fatal(err)
	}
	if got.Generation != 1+workers*each || len(got.Secrets) != workers*each {
		t.Errorf("an update was lost: generation %d, %d secrets", got.Generation, len(got.Secrets))
	}
	if events, err := f.Trail.Events(t.Context(), audit.Filter{Action: "secret.create"}); err != nil || len(events) != workers*each {
		t.Errorf("%d events, %v", len(events), err)
	}
}

func testEvents(t *testing.T, f Fixture) {
	f.create(t, least("client_1"))
	f.update(t, func(c *clients.Client) { c.Owner = "team-b" })
	if err := f.Clients.DeleteClient(t.Context(), "client_1", event("client.delete")); err != nil {
		t.Fatal(err)
	}
	events, err := f.Trail.Events(t.Context(), audit.Filter{Limit: 3})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range events {
		got = append(got, e.Action)
	}
	if diff := cmp.Diff([]string{"client.delete", "client.update", "client.create"}, got); diff != "" {
		t.Errorf("events, newest first (-want +got):\n%s", diff)
	}
}

// testLastUsed writes a use between the reading and the writing of an update, as a flush on another replica would.
func testLastUsed(t *testing.T, f Fixture) {
	c := least("client_1")
	c.Secrets = []clients.Secret{secret("cs_1", 1), secret("cs_2", 2)}
	f.create(t, c)
	used := usage.Batch{
		Clients: map[string]time.Time{"client_1": moment(time.Hour)}, Secrets: map[string]time.Time{"cs_2": moment(time.Minute)},
	}
	if err := f.Usage.AddUsage(t.Context(), used); err != nil {
		t.Fatal(err)
	}
	f.update(t, func(c *clients.Client) {
		c.Owner, c.LastUsedAt = "team-b", time.Time{}
		for i := range c.Secrets {
			c.Secrets[i].LastUsedAt = time.Time{}
			c.Secrets[i].Hint = "new."
		}
	})
	got, err := f.Clients.Client(t.Context(), "client_1")
	if err != nil {
		t.Fatal(err)
	}
	if !got.LastUsedAt.Equal(moment(time.Hour)) || !got.Secrets[1].LastUsedAt.Equal(moment(time.Minute)) {
		t.Errorf("last used: client %v, secret %v", got.LastUsedAt, got.Secrets[1].LastUsedAt)
	}
	if !got.Secrets[0].LastUsedAt.IsZero() {
		t.Errorf("an unused secret was used at %v", got.Secrets[0].LastUsedAt)
	}
}
