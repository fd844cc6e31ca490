package oauth_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/oauth"
	"github.com/seed-1972b8eb/signet/internal/tokens"
)

// BenchmarkToken is one client_credentials request without the HTTP server. Its overhead is what is left over
// BenchmarkTokenFloor, the signature and the HMAC alone: below 12 µs.
func BenchmarkToken(b *testing.B) {
	s := setup(b)
	s.usage.off = true
	r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, tokenPath, http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(basicID, s.secrets[basicID])
	body := strings.NewReader("")
	r.Body = readCloser{body}
	const form = "grant_type=client_credentials&scope=orders%3Aread&resource=https%3A%2F%2Fapi.test%2Forders"
	req := &oauth.Request{HTTP: r, ClientIP: netip.MustParseAddr("192.0.2.1"), RequestID: "req-1"}
	b.ReportAllocs()
	for b.Loop() {
		body.Reset(form)
		if _, err := s.Token(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTokenFloor is what cannot be saved: one token signed.
func BenchmarkTokenFloor(b *testing.B) {
	s := setup(b)
	b.ReportAllocs()
	for b.Loop() {
		now := time.Now()
		_, _, err := s.tokens.Issue(now, tokens.Claims{
			Subject: basicID, ClientID: basicID, Audience: ordersAPI, Scope: "orders:read", ExpiresAt: now.Add(time.Minute), Generation: 1,
		}, apis.ES256, apis.TypAccessToken)
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkIntrospect(b *testing.B) {
	s := setup(b)
	token := s.issue(b, basicID)
	r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, introspectPath, http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(introspectID, s.secrets[introspectID])
	body := strings.NewReader("")
	r.Body = readCloser{body}
	req := &oauth.Request{HTTP: r, ClientIP: netip.MustParseAddr("192.0.2.1"), RequestID: "req-1"}
	b.ReportAllocs()
	for b.Loop() {
		body.Reset("token=" + token)
		if i, err := s.Introspect(b.Context(), req); err != nil || !i.Active {
			b.Fatal(err)
		}
	}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }
