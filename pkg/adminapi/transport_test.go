package adminapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// answer is a server that answers every request alike, and remembers the last one.
func answer(t *testing.T, status int, header map[string]string, body string) (*adminapi.Client, *http.Request) {
	t.Helper()
	last := new(http.Request)
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*last = *r.Clone(context.WithoutCancel(r.Context()))
		text, _ := io.ReadAll(r.Body)
		last.Body = io.NopCloser(strings.NewReader(string(text)))
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(ts.Close)
	return adminapi.New(ts.URL+"/", func(context.Context) (string, error) { return "the-token", nil }), last
}

func TestProblems(t *testing.T) {
	t.Parallel()
	problem := map[string]string{"Content-Type": "application/problem+json"}
	tests := []struct {
		name   string
		status int
		header map[string]string
		body   string
		want   *adminapi.Problem
		text   string
	}{
		{
			name: "refusal", status: 409, header: problem, body: `{"type":"about:blank","title":"Conflict","status":409,"detail":"client name is taken","request_id":"r"}`,
			want: &adminapi.Problem{Type: "about:blank", Title: "Conflict", Status: 409, Detail: "client name is taken", RequestID: "r"},
			text: "client name is taken",
		},
		{
			name: "wrong members", status: 422, header: problem, body: `{"title":"Unprocessable Entity","detail":"validation failed","errors":[{"message":"unexpected property","location":"body.x"}]}`,
			want: &adminapi.Problem{Title: "Unprocessable Entity", Status: 422, Detail: "validation failed", Errors: []adminapi.FieldError{{Message: "unexpected property", Location: "body.x"}}},
			text: "validation failed; body.x: unexpected property",
		},
		{
			name: "unavailable", status: 503, header: map[string]string{"Content-Type": "application/problem+json; charset=utf-8", "Retry-After": "3", "X-Request-Id": "r"}, body: `{"detail":"later"}`,
			want: &adminapi.Problem{Title: "Service Unavailable", Status: 503, Detail: "later", RequestID: "r", RetryAfter: 3 * time.Second},
			text: "later (request r)",
		},
		{
			name: "a proxy's page", status: 502, body: "<html>hunter2</html>",
			want: &adminapi.Problem{Title: "Bad Gateway", Status: 502}, text: "Bad Gateway",
		},
		{
			name: "a problem that is none", status: 400, header: problem, body: `[`,
			want: &adminapi.Problem{Title: "Bad Request", Status: 400}, text: "Bad Request",
		},
		{
			name: "a status that lies", status: 404, header: problem, body: `{"title":"OK","status":200}`,
			want: &adminapi.Problem{Title: "OK", Status: 404}, text: "OK",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client, _ := answer(t, tt.status, tt.header, tt.body)
			_, err := client.Status(t.Context())
			var got *adminapi.Problem
			if !errors.As(err, &got) {
				t.Fatalf("%v, want a Problem", err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("problem (-want +got):\n%s", diff)
			}
			if got.Error() != tt.text {
				t.Errorf("says %q, want %q", got.Error(), tt.text)
			}
		})
	}
}

func TestRequestsCarryWhatTheyShould(t *testing.T) {
	t.Parallel()
	client, last := answer(t, 200, nil, `{}`)
	_, err := client.UpdateAPI(t.Context(), "https://api.example.com/a?b", adminapi.APIChange{Name: new("N")})
	if err != nil {
		t.Fatal(err)
	}
	if got := last.URL.EscapedPath(); got != "/admin/v1/apis/https:%2F%2Fapi.example.com%2Fa%3Fb" {
		t.Errorf("path %s", got)
	}
	if last.Method != http.MethodPatch || last.Header.Get("Authorization") != "Bearer the-token" || last.Header.Get("Content-Type") != "application/json" {
		t.Errorf("request %s with %v", last.Method, last.Header)
	}
	var body map[string]any
	if err := json.NewDecoder(last.Body).Decode(&body); err != nil || cmp.Diff(map[string]any{"name": "N"}, body) != "" {
		t.Errorf("body %v, %v: what is not changed must be left out", body, err)
	}
	for name, want := range map[string]string{"..": "%2E%2E", ".": "%2E", "a/b": "a%2Fb", "é": "%C3%A9"} {
		if _, err := client.Client(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimPrefix(last.URL.EscapedPath(), "/admin/v1/clients/"); got != want {
			t.Errorf("client %q has path segment %q, want %q", name, got, want)
		}
	}
	if err := client.DeleteClient(t.Context(), "x"); err != nil || last.Header.Get("Content-Type") != "" {
		t.Errorf("deletion: %v, Content-Type %q", err, last.Header.Get("Content-Type"))
	}
}

// TestRedirectsAreNotFollowed keeps the token and the change from going where they were not sent.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	reached := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	t.Cleanup(other.Close)
	client, _ := answer(t, 307, map[string]string{"Location": other.URL}, "")
	_, err := client.RotateKey(t.Context(), "ES256")
	var p *adminapi.Problem
	if !errors.As(err, &p) || p.Status != 307 || reached {
		t.Errorf("%v, other server reached: %v", err, reached)
	}
}

func TestNoServerIsUnreachable(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "none.sock")
	_, err := adminapi.NewUnix(path).Status(t.Context())
	if !errors.Is(err, adminapi.ErrUnreachable) || !strings.Contains(err.Error(), path) {
		t.Errorf("%v, want ErrUnreachable that names the socket", err)
	}
}

func TestCancelledIsNotUnreachable(t *testing.T) {
	t.Parallel()
	client, _ := answer(t, 200, nil, `{}`)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := client.Status(ctx)
	if errors.Is(err, adminapi.ErrUnreachable) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled alone", err)
	}
}

func TestAnswerThatIsNoneIsAnError(t *testing.T) {
	t.Parallel()
	client, _ := answer(t, 200, nil, `<html>`)
	if _, err := client.Status(t.Context()); err == nil {
		t.Error("read a page as a status")
	}
}

func TestTokenSourceFails(t *testing.T) {
	t.Parallel()
	no := errors.New("no token")
	client := adminapi.New("http://127.0.0.1:1", func(context.Context) (string, error) { return "", no })
	if _, err := client.Status(t.Context()); !errors.Is(err, no) {
		t.Errorf("%v, want the source's error", err)
	}
}
