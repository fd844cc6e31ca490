package admin_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/seed-1972b8eb/signet/internal/admin"
	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/web"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// status is the status of the server's refusal, 0 when there was none.
func status(err error) int {
	if p, ok := errors.AsType[*adminapi.Problem](err); ok {
		return p.Status
	}
	return 0
}

func TestAPIsAndScopes(t *testing.T) {
	t.Parallel()
	s, ctx := setup(t).withAPI(t), t.Context()
	scope, err := s.client.CreateScope(ctx, ordersA, adminapi.NewScope{Name: "admin", Kind: "feature", Group: "Teams", Description: "All"})
	if err != nil {
		t.Fatal(err)
	}
	want := &adminapi.Scope{API: ordersA, Name: "admin", Kind: "feature", Group: "Teams", Description: "All", Routes: []string{}}
	if diff := cmp.Diff(want, scope, cmpopts.IgnoreFields(adminapi.Scope{}, "CreatedAt")); diff != "" {
		t.Errorf("scope (-want +got):\n%s", diff)
	}
	changed, err := s.client.UpdateAPI(ctx, ordersA, adminapi.APIChange{TokenTTL: new(int64(60)), Alg: new("RS256"), Disabled: new(true)})
	if err != nil {
		t.Fatal(err)
	}
	if changed.TokenTTL != 60 || changed.Alg != "RS256" || !changed.Disabled || changed.Name != "Orders" {
		t.Errorf("changed API: %+v", changed)
	}
	keys, err := s.client.Keys(ctx)
	if err != nil {
		t.Fatal(err)
	}
	rs256 := 0
	for _, k := range keys {
		if k.Alg == "RS256" {
			rs256++
		}
	}
	if rs256 != 2 {
		t.Errorf("%d RS256 keys after an API chose it, want an active one and a standby", rs256)
	}
	s.withClient(t, "nightly")
	impact, err := s.client.APIImpact(ctx, ordersA, "write")
	if err != nil || impact.Clients != 1 || !strings.Contains(impact.Summary, "1 client") {
		t.Errorf("impact %+v, %v", impact, err)
	}
	if err := s.client.DeleteScope(ctx, ordersA, "write"); err != nil {
		t.Fatal(err)
	}
	c, err := s.client.Client(ctx, "nightly")
	if err != nil || len(c.Grants) != 1 || cmp.Diff([]string{"read"}, c.Grants[0].Scopes) != "" || c.Generation != 2 {
		t.Errorf("client after its scope was deleted: %+v, %v", c, err)
	}
	if err := s.client.DeleteAPI(ctx, ordersA); err != nil {
		t.Fatal(err)
	}
	all, err := s.client.APIs(ctx)
	if err != nil || len(all) != 0 {
		t.Errorf("APIs after the deletion: %v, %v", all, err)
	}
}

func TestClientsAndSecrets(t *testing.T) {
	t.Parallel()
	s, ctx := setup(t).withAPI(t), t.Context()
	made := s.withClient(t, "nightly / job?")
	if !strings.HasPrefix(made.ClientSecret, "signet_cs_") || !strings.HasPrefix(made.SecretID, "cs_") || !strings.HasPrefix(made.ClientID, "client_") {
		t.Errorf("created client: %+v", made.OAuthClient)
	}
	_, body := s.send(t, http.MethodGet, "/admin/v1/clients/"+made.ClientID, "")
	if strings.Contains(body, made.ClientSecret) || strings.Contains(body, "digest") {
		t.Errorf("a later answer holds the secret or its digest: %s", body)
	}
	found, err := s.client.Client(ctx, "nightly / job?") // the name needs escaping in a path
	if err != nil || found.ClientID != made.ClientID {
		t.Fatalf("client by name: %+v, %v", found, err)
	}
	change := adminapi.ClientChange{
		Owner: new("team"), AllowCIDRs: new([]string{"10.1.2.3"}), TokenTTL: new(int64(30)), Claims: new(map[string]any{"tenant": "a"}),
		Labels: new(map[string]string{"env": "prod"}), ExpiresAt: new(time.Now().Add(time.Hour)),
	}
	found, err = s.client.UpdateClient(ctx, made.ClientID, change)
	if err != nil {
		t.Fatal(err)
	}
	if found.Owner != "team" || found.AllowCIDRs[0] != "10.1.2.3/32" || found.TokenTTL != 30 || found.Claims["tenant"] != "a" || found.ExpiresAt.IsZero() {
		t.Errorf("changed client: %+v", found)
	}
	if found, err = s.client.UpdateClient(ctx, made.ClientID, adminapi.ClientChange{NeverExpire: true}); err != nil || !found.ExpiresAt.IsZero() {
		t.Errorf("expiry after it was taken away: %+v, %v", found, err)
	}
	rotated, err := s.client.RotateSecret(ctx, made.ClientID, adminapi.Rotate{Overlap: 3600})
	if err != nil || rotated.ClientSecret == "" || time.Until(rotated.PreviousExpiresAt).Round(time.Minute) != time.Hour {
		t.Fatalf("rotation %+v, %v", rotated.PreviousExpiresAt, err)
	}
	if _, err := s.client.CancelRotation(ctx, made.ClientID); err != nil {
		t.Fatal(err)
	}
	second, err := s.client.CreateSecret(ctx, made.ClientID, adminapi.NewSecret{ExpiresAt: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.client.RevokeSecret(ctx, made.ClientID, made.SecretID); err != nil {
		t.Fatal(err)
	}
	secrets, err := s.client.Secrets(ctx, made.ClientID)
	if err != nil || len(secrets) != 1 || secrets[0].SecretID != second.SecretID || !strings.HasSuffix(second.ClientSecret, secrets[0].Hint) {
		t.Errorf("secrets %+v, %v", secrets, err)
	}
	if err := s.client.DeleteClient(ctx, made.ClientID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.Client(ctx, made.ClientID); status(err) != http.StatusNotFound {
		t.Errorf("deleted client: %v, want 404", err)
	}
}

func TestClientsPageByPage(t *testing.T) {
	t.Parallel()
	s, ctx := setup(t).withAPI(t), t.Context()
	want := map[string]bool{}
	for _, name := range []string{"a1", "a2", "a3", "b1"} {
		want[s.withClient(t, name).ClientID] = true
	}
	filter, pages := adminapi.ClientFilter{Limit: 2}, 0
	for {
		page, err := s.client.Clients(ctx, filter)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.Items {
			if !want[c.ClientID] {
				t.Errorf("client %s is unknown or came twice", c.ClientID)
			}
			delete(want, c.ClientID)
		}
		if page.Next == "" {
			break
		}
		if filter.After, pages = page.Next, pages+1; pages > 5 {
			t.Fatal("the pages never end")
		}
	}
	if len(want) != 0 {
		t.Errorf("%d clients were on no page", len(want))
	}
	some, err := s.client.Clients(ctx, adminapi.ClientFilter{Name: "a"})
	if err != nil || len(some.Items) != 3 {
		t.Errorf("names that begin with a: %d, %v", len(some.Items), err)
	}
	if _, err := s.client.UpdateClient(ctx, "b1", adminapi.ClientChange{Labels: new(map[string]string{"env": "prod"})}); err != nil {
		t.Fatal(err)
	}
	some, err = s.client.Clients(ctx, adminapi.ClientFilter{Labels: map[string]string{"env": "prod"}})
	if err != nil || len(some.Items) != 1 || some.Items[0].Name != "b1" {
		t.Errorf("clients with the label: %+v, %v", some, err)
	}
}

// TestTokenEnds takes a token back in each way there is, and holds that inspect says so and why.
func TestTokenEnds(t *testing.T) {
	t.Parallel()
	ways := map[string]struct {
		end  func(s *server, client, token, jti, kid string) error
		want string
	}{
		"by its text": {func(s *server, _, token, _, _ string) error {
			r, err := s.client.RevokeToken(t.Context(), adminapi.RevokeToken{Token: token, Reason: "leak"})
			if err == nil && time.Until(r.ExpiresAt) > 6*time.Minute {
				t.Errorf("kept until %s, longer than the token lives", r.ExpiresAt)
			}
			return err
		}, "it was revoked at"},
		"by its jti": {func(s *server, _, _, jti, _ string) error {
			r, err := s.client.RevokeToken(t.Context(), adminapi.RevokeToken{JTI: jti})
			if err == nil && time.Until(r.ExpiresAt) < 23*time.Hour {
				t.Errorf("kept until %s: a token of an unknown lifetime may live longer", r.ExpiresAt)
			}
			return err
		}, "it was revoked"},
		"cut-off": {func(s *server, client, _, _, _ string) error {
			_, err := s.client.CutOff(t.Context(), adminapi.NewCutOff{Client: client})
			return err
		}, "cut off"},
		"cut-off of all": {func(s *server, _, _, _, _ string) error {
			_, err := s.client.CutOff(t.Context(), adminapi.NewCutOff{All: true, Reason: "breach"})
			return err
		}, "key was revoked"},
		"disabled client": {func(s *server, client, _, _, _ string) error {
			_, err := s.client.DisableClient(t.Context(), client, "left")
			return err
		}, "disabled"},
		"deleted client": {func(s *server, client, _, _, _ string) error {
			return s.client.DeleteClient(t.Context(), client)
		}, "deleted"},
		"revoked key": {func(s *server, _, _, _, kid string) error {
			_, err := s.client.RevokeKey(t.Context(), kid, "leak")
			return err
		}, "key was revoked"},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t).withAPI(t)
			made := s.withClient(t, "nightly")
			token, claims := s.token(t, made.ClientID, made.Generation)
			before, err := s.client.InspectToken(t.Context(), token)
			if err != nil || !before.Active || !before.Valid || before.Claims["sub"] != made.ClientID {
				t.Fatalf("before: %+v, %v", before, err)
			}
			if err := way.end(s, made.ClientID, token, claims.ID, claims.KID); err != nil {
				t.Fatal(err)
			}
			after, err := s.client.InspectToken(t.Context(), token)
			if err != nil {
				t.Fatal(err)
			}
			if after.Active || after.Reason == "" || !strings.Contains(after.Reason, way.want) {
				t.Errorf("after: active %v, reason %q, want %q", after.Active, after.Reason, way.want)
			}
		})
	}
}

// TestTokenUnderAKeyOfAnotherReplica: a replica that has not read the key yet must not call a live token worthless, least of
// all when it is to be revoked.
func TestTokenUnderAKeyOfAnotherReplica(t *testing.T) {
	t.Parallel()
	s := setup(t).withAPI(t)
	made := s.withClient(t, "nightly")
	token, _ := s.token(t, made.ClientID, made.Generation)
	replica := func() *adminapi.Client {
		config := s.config
		config.Tokens = s.behind()
		return serveUnix(t, web.Handler(web.HandlerConfig{Log: config.Log, Panic: admin.Panicked}, admin.New(config)))
	}
	if report, err := replica().InspectToken(t.Context(), token); err != nil || !report.Active {
		t.Errorf("inspect: %+v, %v", report, err)
	}
	if _, err := replica().RevokeToken(t.Context(), adminapi.RevokeToken{Token: token}); err != nil {
		t.Errorf("revoke: %v", err)
	}
}

// TestRevokeByAnotherClock: what has expired by this clock, or lies in its future, is taken back like other tokens, because it
// may live by the clock of another replica.
func TestRevokeByAnotherClock(t *testing.T) {
	t.Parallel()
	s := setup(t).withAPI(t)
	made := s.withClient(t, "nightly")
	for name, at := range map[string]time.Time{"expired": time.Now().Add(-time.Hour), "of the future": time.Now().Add(time.Hour)} {
		token, claims := s.tokenAt(t, made.ClientID, made.Generation, at)
		report, err := s.client.InspectToken(t.Context(), token)
		if err != nil || report.Valid || report.Active {
			t.Errorf("%s, inspect: %+v, %v", name, report, err)
		}
		r, err := s.client.RevokeToken(t.Context(), adminapi.RevokeToken{Token: token})
		if err != nil || r.JTI != claims.ID || !r.ExpiresAt.Equal(claims.ExpiresAt) {
			t.Errorf("%s, revoke: %+v, %v", name, r, err)
		}
		_, err = s.client.RevokeToken(t.Context(), adminapi.RevokeToken{Token: token[:len(token)-8] + "AAAAAAAA"})
		if err == nil || !strings.Contains(err.Error(), "counts for nothing anyway") {
			t.Errorf("%s, with another signature: %v, want that it counts for nothing", name, err)
		}
	}
}

// TestRevokeByJTIOutlivesTheToken: the clock of the issuer may be a day ahead of that of the replica that is asked.
func TestRevokeByJTIOutlivesTheToken(t *testing.T) {
	t.Parallel()
	r, err := setup(t).client.RevokeToken(t.Context(), adminapi.RevokeToken{JTI: "some-jti"})
	if want := time.Now().Add(2*apis.MaxTokenTTL - time.Minute); err != nil || r.ExpiresAt.Before(want) {
		t.Errorf("revoked until %v, %v, want %v", r.ExpiresAt, err, want)
	}
}

func TestForeignTokenIsShownButNotBelieved(t *testing.T) {
	t.Parallel()
	// {"alg":"none"} . {"iss":"https://auth.example.com","sub":"root"} . nothing
	const token = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2F1dGguZXhhbXBsZS5jb20iLCJzdWIiOiJyb290In0."
	report, err := setup(t).client.InspectToken(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if report.Valid || report.Active || report.Reason == "" || report.Claims["sub"] != "root" {
		t.Errorf("report %+v", report)
	}
}

func TestKeysAndCutOffsAreListed(t *testing.T) {
	t.Parallel()
	s, ctx := setup(t).withAPI(t), t.Context()
	s.withClient(t, "nightly")
	keys, err := s.client.Keys(ctx)
	if err != nil {
		t.Fatal(err)
	}
	active := ""
	for _, k := range keys {
		if k.State == "active" {
			active = k.KID
		}
		if strings.Contains(string(k.PublicJWK), `"d"`) {
			t.Errorf("key %s shows its private part", k.KID)
		}
	}
	impact, err := s.client.KeyImpact(ctx, active)
	if err != nil || impact.APIs != 1 || impact.Clients != 1 || !strings.Contains(impact.Summary, "standby signs at once") {
		t.Errorf("impact %+v, %v", impact, err)
	}
	if _, err := s.client.RevokeKey(ctx, active, "leak"); err != nil {
		t.Fatal(err)
	}
	if impact, err = s.client.KeyImpact(ctx, active); err != nil || impact.APIs != 0 {
		t.Errorf("impact of a key that has ended: %+v, %v", impact, err)
	}
	if _, err := s.client.CutOff(ctx, adminapi.NewCutOff{Client: "nightly"}); err != nil {
		t.Fatal(err)
	}
	cuts, err := s.client.CutOffs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]adminapi.CutOff{}
	for _, c := range cuts {
		got[c.Kind] = c
	}
	if !got["key"].Everything || got["key"].Generation != 0 || got["client"].Everything || got["client"].Generation != 2 {
		t.Errorf("cut-offs %+v", cuts)
	}
}

// TestChangesLeaveATrail holds who, what and the request's ID, and that no secret is in it.
func TestChangesLeaveATrail(t *testing.T) {
	t.Parallel()
	s, ctx := setup(t).withAPI(t), t.Context()
	made := s.withClient(t, "nightly")
	if _, err := s.client.RevokeToken(ctx, adminapi.RevokeToken{JTI: "some-jti", Reason: "leak"}); err != nil {
		t.Fatal(err)
	}
	page, err := s.client.Audit(ctx, adminapi.AuditFilter{Limit: 2})
	if err != nil || len(page.Items) != 2 || page.Next == "" {
		t.Fatalf("first page: %+v, %v", page, err)
	}
	newest := page.Items[0]
	if newest.Action != "token.revoke" || newest.Subject != "some-jti" || newest.Actor != "local" || newest.Source != "unix" || newest.RequestID == "" {
		t.Errorf("newest event %+v", newest)
	}
	rest, err := s.client.Audit(ctx, adminapi.AuditFilter{Before: page.Next})
	if err != nil || len(rest.Items) == 0 || rest.Items[0].ID >= page.Items[1].ID {
		t.Errorf("next page %+v, %v", rest, err)
	}
	only, err := s.client.Audit(ctx, adminapi.AuditFilter{Subject: made.ClientID, Action: "client.create"})
	if err != nil || len(only.Items) != 1 {
		t.Errorf("events of the client: %+v, %v", only, err)
	}
	_, body := s.send(t, http.MethodGet, "/admin/v1/audit?limit=1000", "")
	if strings.Contains(body, made.ClientSecret) {
		t.Error("the trail holds a secret")
	}
}
