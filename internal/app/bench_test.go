package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/app"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/config"
)

const (
	api  = "https://api.example.com"
	form = "grant_type=client_credentials&scope=orders%3Aread&resource=https%3A%2F%2Fapi.example.com"
)

// server is a running server on SQLite and one client of it.
type server struct {
	handler    http.Handler
	id, secret string
}

// serve runs a server with everything on, background work included, in this process.
func serve(b *testing.B) server {
	b.Helper()
	dir, err := os.MkdirTemp("", "signet-") //nolint:usetesting // b.TempDir is too long for a Unix socket
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	cfg, err := config.Load(config.Options{Flags: map[string]string{
		"issuer": "http://127.0.0.1", "data_dir": filepath.Join(dir, "data"), "listen.public": "127.0.0.1:0", "listen.admin": "127.0.0.1:0",
	}})
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if err := app.Init(b.Context(), cfg, log, apis.ES256); err != nil {
		b.Fatal(err)
	}
	a, err := app.New(b.Context(), app.Options{Config: cfg, Log: log, Version: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	by := audit.Actor{ID: "bench"}
	if _, err := a.APIs.Create(b.Context(), by, apis.API{Identifier: api, Name: "Orders", Scopes: []apis.Scope{{Name: "orders:read"}}}); err != nil {
		b.Fatal(err)
	}
	client, secret, err := a.Clients.Create(b.Context(), by, clients.New{
		Name: "bench", Grants: []clients.Grant{{API: api, Scopes: []string{"orders:read"}}}, Introspects: []string{api},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(b.Context()))
	ended := make(chan error, 1)
	ready := make(chan struct{})
	go func() { ended <- a.Run(ctx, nil, func() { close(ready) }) }()
	<-ready
	b.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
		if err := a.Close(); err != nil {
			b.Error(err)
		}
	})
	return server{handler: a.Public(), id: client.ID, secret: secret.Reveal()}
}

// post sends a form and returns the body of the answer.
func (s server) post(b *testing.B, path, body string) *bytes.Buffer {
	b.Helper()
	r := httptest.NewRequest(http.MethodPost, path, nil)
	r.Body = io.NopCloser(bytes.NewReader([]byte(body)))
	r.ContentLength = int64(len(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(s.id, s.secret)
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		b.Fatalf("%s: status %d: %s", path, w.Code, w.Body)
	}
	return w.Body
}

func (s server) token(b *testing.B) string {
	b.Helper()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(s.post(b, "/oauth2/token", form).Bytes(), &answer); err != nil || answer.Token == "" {
		b.Fatalf("no token: %v", err)
	}
	return answer.Token
}

// BenchmarkTokenEndpoint is one ES256 token through the whole handler, from request to answer, without the network. The
// request and the recorder are the benchmark's own and cost about 20 allocations.
func BenchmarkTokenEndpoint(b *testing.B) {
	s := serve(b)
	b.ReportAllocs()
	for b.Loop() {
		s.post(b, "/oauth2/token", form)
	}
}

// BenchmarkIntrospect asks about the same live token.
func BenchmarkIntrospect(b *testing.B) {
	s := serve(b)
	body := "token=" + s.token(b)
	b.ReportAllocs()
	for b.Loop() {
		s.post(b, "/oauth2/introspect", body)
	}
}

// BenchmarkRevoke revokes a new token each time; it is on disk when the answer comes.
func BenchmarkRevoke(b *testing.B) {
	s := serve(b)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		body := "token=" + s.token(b)
		b.StartTimer()
		s.post(b, "/oauth2/revoke", body)
	}
}
