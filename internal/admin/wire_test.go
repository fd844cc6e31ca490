package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/admin"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/revocations"
)

const ordersPath = "/admin/v1/apis/https:%2F%2Forders.example.com"

// TestRefusals is a table of requests that must be refused, on a server with one API and the client "nightly".
func TestRefusals(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, method, path, body string
		status                   int
		want                     string
		absent                   string
	}{
		{name: "unknown path", method: "GET", path: "/admin/v1/nothing", status: 404},
		{name: "wrong method", method: "PUT", path: "/admin/v1/apis", status: 405},
		{name: "unknown member", method: "POST", path: "/admin/v1/apis", body: `{"identifier":"https://a.example","name":"A","admin":true}`, status: 422, want: "admin"},
		{name: "unknown member of an update", method: "PATCH", path: "/admin/v1/clients/nightly", body: `{"generation":7}`, status: 422, want: "generation"},
		{name: "client ID chosen by the caller", method: "POST", path: "/admin/v1/clients", body: `{"name":"x","client_id":"client_mine"}`, status: 422, want: "client_id"},
		{name: "unknown query parameter", method: "GET", path: "/admin/v1/clients?nmae=a", status: 422, want: "nmae"},
		{name: "no JSON", method: "POST", path: "/admin/v1/apis", body: `{"identifier":`, status: 400},
		{name: "JSON twice", method: "POST", path: "/admin/v1/apis", body: `{"identifier":"https://a.example","name":"A"}{}`, status: 400},
		{name: "member of the wrong kind", method: "POST", path: "/admin/v1/apis", body: `{"identifier":"https://a.example","name":7}`, status: 422, want: "body.name"},
		{name: "required member missing", method: "POST", path: "/admin/v1/apis", body: `{"name":"A"}`, status: 422, want: "identifier"},
		{name: "body too large", method: "POST", path: "/admin/v1/apis", body: `{"name":"` + strings.Repeat("x", 300<<10) + `"}`, status: 413},
		{name: "no body", method: "POST", path: "/admin/v1/apis", status: 400},

		{name: "API exists", method: "POST", path: "/admin/v1/apis", body: `{"identifier":"` + ordersA + `","name":"Other"}`, status: 409},
		{name: "API name is taken", method: "POST", path: "/admin/v1/apis", body: `{"identifier":"https://b.example","name":"Orders"}`, status: 409},
		{name: "API with a fragment", method: "POST", path: "/admin/v1/apis", body: `{"identifier":"https://b.example#x","name":"B"}`, status: 422, want: "fragment"},
		{name: "reserved API", method: "POST", path: "/admin/v1/apis", body: `{"identifier":"urn:signet:admin","name":"B"}`, status: 422},
		{name: "lifetime above the ceiling", method: "PATCH", path: ordersPath, body: `{"token_ttl":86401}`, status: 422},
		{name: "lifetime that overflows", method: "PATCH", path: ordersPath, body: `{"token_ttl":9223372036854775807}`, status: 422},
		{name: "negative lifetime", method: "PATCH", path: ordersPath, body: `{"token_ttl":-1}`, status: 422},
		{name: "unknown algorithm", method: "PATCH", path: ordersPath, body: `{"alg":"HS256"}`, status: 422},
		{name: "unknown API", method: "GET", path: "/admin/v1/apis/https:%2F%2Fb.example", status: 404},
		{name: "unknown API to delete", method: "DELETE", path: "/admin/v1/apis/https:%2F%2Fb.example", status: 404},
		{name: "scope exists", method: "POST", path: ordersPath + "/scopes", body: `{"name":"read"}`, status: 409},
		{name: "scope with a pattern", method: "POST", path: ordersPath + "/scopes", body: `{"name":"read:*"}`, status: 422},
		{name: "scope with a bad route", method: "POST", path: ordersPath + "/scopes", body: `{"name":"x","routes":["get /v1"]}`, status: 422, want: "route"},
		{name: "unknown scope", method: "DELETE", path: ordersPath + "/scopes/nope", status: 404},
		{name: "impact of an unknown scope", method: "GET", path: ordersPath + "/impact?scope=nope", status: 404},

		{name: "client name is taken", method: "POST", path: "/admin/v1/clients", body: `{"name":"nightly"}`, status: 409},
		{name: "grant of an unknown API", method: "POST", path: "/admin/v1/clients", body: `{"name":"x","grants":[{"api":"https://b.example","scopes":["read"]}]}`, status: 422},
		{name: "grant of an unknown scope", method: "POST", path: "/admin/v1/clients", body: `{"name":"x","grants":[{"api":"` + ordersA + `","scopes":["*"]}]}`, status: 422},
		{name: "grant without scopes", method: "POST", path: "/admin/v1/clients", body: `{"name":"x","grants":[{"api":"` + ordersA + `","scopes":[]}]}`, status: 422},
		{name: "reserved claim", method: "POST", path: "/admin/v1/clients", body: `{"name":"x","claims":{"sub":"root"}}`, status: 422, want: "sub"},
		{name: "no network", method: "POST", path: "/admin/v1/clients", body: `{"name":"x","allow_cidrs":["10.0.0.0/33"]}`, status: 422},
		{name: "expiry in the past", method: "POST", path: "/admin/v1/clients", body: `{"name":"x","expires_at":"2020-01-01T00:00:00Z"}`, status: 422},
		{name: "introspects the admin API", method: "POST", path: "/admin/v1/clients", body: `{"name":"x","introspects":["urn:signet:admin"]}`, status: 422},
		{name: "expiry and none", method: "PATCH", path: "/admin/v1/clients/nightly", body: `{"never_expire":true,"expires_at":"2099-01-01T00:00:00Z"}`, status: 422},
		{name: "unknown client", method: "GET", path: "/admin/v1/clients/nobody", status: 404},
		{name: "label that is none", method: "GET", path: "/admin/v1/clients?label=a", status: 422},
		{name: "page of no size", method: "GET", path: "/admin/v1/clients?limit=0", status: 422},
		{name: "page too large", method: "GET", path: "/admin/v1/clients?limit=1001", status: 422},
		{name: "unknown secret", method: "DELETE", path: "/admin/v1/clients/nightly/secrets/cs_000000000000", status: 404},
		{name: "rotation now and later", method: "POST", path: "/admin/v1/clients/nightly/secrets/rotate", body: `{"now":true,"overlap":60}`, status: 422},
		{name: "no rotation to cancel", method: "POST", path: "/admin/v1/clients/nightly/secrets/cancel-rotation", status: 422},

		{name: "standby too young", method: "POST", path: "/admin/v1/keys/rotate", body: `{"alg":"ES256"}`, status: 409, want: "may sign from"},
		{name: "unknown key", method: "POST", path: "/admin/v1/keys/nope/revoke", body: `{}`, status: 404},
		{name: "impact of an unknown key", method: "GET", path: "/admin/v1/keys/nope/impact", status: 404},
		{
			name: "key that is none", method: "POST", path: "/admin/v1/keys/import", body: `{"alg":"ES256","key":"-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----"}`,
			status: 422, absent: "hunter2",
		},
		{name: "key in the wrong member", method: "POST", path: "/admin/v1/keys/import", body: `{"alg":"hunter2","key":{"d":"hunter2"}}`, status: 422, absent: "hunter2"},
		{name: "token and jti", method: "POST", path: "/admin/v1/tokens/revoke", body: `{"token":"a.b.c","jti":"x"}`, status: 422},
		{name: "neither token nor jti", method: "POST", path: "/admin/v1/tokens/revoke", body: `{}`, status: 422},
		{name: "token of nobody", method: "POST", path: "/admin/v1/tokens/revoke", body: `{"token":"hunter2.b.c"}`, status: 422, absent: "hunter2"},
		{name: "jti with a line break", method: "POST", path: "/admin/v1/tokens/revoke", body: `{"jti":"a\nb"}`, status: 422},
		{name: "cut-off of nobody", method: "POST", path: "/admin/v1/cut-offs", body: `{}`, status: 422},
		{name: "cut-off of one and all", method: "POST", path: "/admin/v1/cut-offs", body: `{"client":"nightly","all":true}`, status: 422},
		{name: "cut-off of an unknown client", method: "POST", path: "/admin/v1/cut-offs", body: `{"client":"nobody"}`, status: 404},
		{name: "unknown refusal", method: "GET", path: "/admin/v1/refusals/nope", status: 404},
		{name: "audit cursor that is none", method: "GET", path: "/admin/v1/audit?before=x", status: 422},
	}
	s := setup(t).withAPI(t)
	s.withClient(t, "nightly")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			res, body := s.send(t, tt.method, tt.path, tt.body)
			if res.StatusCode != tt.status {
				t.Errorf("status %d, want %d\n%s", res.StatusCode, tt.status, body)
			}
			if kind := res.Header.Get("Content-Type"); kind != "application/problem+json" {
				t.Errorf("Content-Type %q", kind)
			}
			var p struct {
				Status    int    `json:"status"`
				Title     string `json:"title"`
				RequestID string `json:"request_id"`
			}
			if err := json.Unmarshal([]byte(body), &p); err != nil || p.Status != tt.status || p.Title == "" || p.RequestID == "" {
				t.Errorf("problem lacks a member: %s", body)
			}
			if p.RequestID != res.Header.Get("X-Request-Id") {
				t.Errorf("request_id %q, header %q", p.RequestID, res.Header.Get("X-Request-Id"))
			}
			if !strings.Contains(body, tt.want) {
				t.Errorf("problem lacks %q: %s", tt.want, body)
			}
			if tt.absent != "" && strings.Contains(body, tt.absent) {
				t.Errorf("problem repeats %q: %s", tt.absent, body)
			}
		})
	}
}

// broken is a store of revocations whose database is away.
type broken struct{ revocations.Store }

var errAway = errors.New("dial tcp 10.0.0.7:5432: hunter2")

func (broken) Check(context.Context, revocations.Token) (bool, error) { return false, errAway }
func (broken) Revoke(context.Context, revocations.Revocation, audit.Event) error {
	return errAway
}

func (broken) Revocations(context.Context, int) ([]revocations.Revocation, error) {
	return nil, errAway
}

// TestDatabaseTroubleIs503 holds that it is never a guess, never 500, and that the caller is not told the cause.
func TestDatabaseTroubleIs503(t *testing.T) {
	t.Parallel()
	s := setupWith(t, func(c *admin.Config) { c.Revocations = broken{} }).withAPI(t)
	token, _ := s.token(t, s.withClient(t, "nightly").ClientID, 1)
	for path, body := range map[string]string{
		"/admin/v1/tokens/inspect": `{"token":"` + token + `"}`,
		"/admin/v1/tokens/revoke":  `{"jti":"x"}`,
	} {
		res, text := s.send(t, http.MethodPost, path, body)
		if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
			t.Errorf("%s: status %d, Retry-After %q", path, res.StatusCode, res.Header.Get("Retry-After"))
		}
		if strings.Contains(text, "10.0.0.7") || strings.Contains(text, "active") {
			t.Errorf("%s: answer tells the cause or guesses: %s", path, text)
		}
	}
	if res, _ := s.send(t, http.MethodGet, "/admin/v1/revocations", ""); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("list: status %d", res.StatusCode)
	}
	if log := s.log.String(); !strings.Contains(log, "revoke-token") || !strings.Contains(log, "10.0.0.7") {
		t.Errorf("log lacks the operation or the cause:\n%s", log)
	}
}

// TestOpenAPI holds that the document is there, is 3.1, and that no answer has a member for private key material.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	res, body := setup(t).send(t, http.MethodGet, "/admin/openapi.json", "")
	if res.StatusCode != http.StatusOK {
		t.Fatalf("status %d", res.StatusCode)
	}
	var doc struct {
		OpenAPI    string `json:"openapi"`
		Paths      map[string]map[string]any
		Components struct {
			Schemas map[string]struct {
				Properties           map[string]any `json:"properties"`
				AdditionalProperties any            `json:"additionalProperties"`
			} `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("openapi %q", doc.OpenAPI)
	}
	operations := 0
	for path, methods := range doc.Paths {
		operations += len(methods)
		if !strings.HasPrefix(path, "/admin/v1/") {
			t.Errorf("path %s is outside /admin/v1", path)
		}
	}
	if operations < 30 {
		t.Errorf("only %d operations", operations)
	}
	for name, schema := range doc.Components.Schemas {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "sealed", "digest", "private_key", "value"} {
			if _, found := schema.Properties[private]; found {
				t.Errorf("schema %s has a member %q", name, private)
			}
		}
		if schema.AdditionalProperties != false {
			t.Errorf("schema %s takes unknown members", name)
		}
	}
}

func TestAnswersAreNotStored(t *testing.T) {
	t.Parallel()
	res, _ := setup(t).send(t, http.MethodGet, "/admin/v1/apis", "")
	if got := res.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
}

func TestRefusalsAreExplained(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.refusals.Record(audit.Refusal{RequestID: "r1", Time: time.Now().UTC(), Endpoint: "token", ClientID: "client_a", Code: "invalid_client", Reason: "secret_mismatch"})
	s.refusals.Record(audit.Refusal{RequestID: "r2", Time: time.Now().UTC(), Endpoint: "token", ClientID: "client_b", Code: "invalid_scope"})
	one, err := s.client.Refusal(t.Context(), "r1")
	if err != nil || one.Reason != "secret_mismatch" || one.Code != "invalid_client" {
		t.Errorf("refusal %+v, %v", one, err)
	}
	list, err := s.client.Refusals(t.Context(), "client_b", 10)
	if err != nil || len(list) != 1 || list[0].RequestID != "r2" {
		t.Errorf("refusals of client_b: %+v, %v", list, err)
	}
}

func TestStatusTellsReadiness(t *testing.T) {
	t.Parallel()
	s := setupWith(t, func(c *admin.Config) {
		c.Ready = func(context.Context) []admin.Check { return []admin.Check{{"database", "ok"}, {"keys", "gone"}} }
	})
	st, err := s.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if st.Ready || st.Issuer != issuer || len(st.Checks) != 2 || st.Checks[1].State != "gone" {
		t.Errorf("status %+v", st)
	}
}
