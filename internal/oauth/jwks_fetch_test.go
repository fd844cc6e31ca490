package oauth_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-1972b8eb/signet/internal/oauth"
)

// loopback lets tests fetch from their own servers, over http too.
func loopback() oauth.OutboundConfig {
	return oauth.OutboundConfig{AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}
}

func TestPublishedKeysAuthenticate(t *testing.T) {
	t.Parallel()
	// RFC 7517 §5: what cannot be used is passed over, and an encryption key never verifies (PKJ-23).
	body := jwks(t, jose.JSONWebKey{Key: testEC().Public(), KeyID: "ec"}, jose.JSONWebKey{Key: testEC2().Public(), KeyID: "enc", Use: "enc"},
		jose.JSONWebKey{Key: testP384().Public(), KeyID: "p384"})
	p := publish(t, serving(body))
	b := setupWith(t, loopback())
	publishedClient(b, p.URL+"/jwks.json")
	for range 3 {
		if a := b.send(t, asserting(ecSigner().sign(t, change(), nil))); a.status != http.StatusOK {
			t.Fatalf("%d %s %v", a.status, a.body, a.err)
		}
	}
	enc := signer{private: testEC2(), method: jwt.SigningMethodES256, kid: "enc"}
	wantError(t, b.send(t, asserting(enc.sign(t, change(), nil))), 401, "invalid_client", oauth.ReasonAssertionKey)
	if p.hits.Load() != 1 {
		t.Errorf("%d fetches", p.hits.Load())
	}
}

// PKJ-27: 100 assertions with random kids, at once, are one fetch, and those with a known kid go on.
func TestPublishedKeysUnknownKids(t *testing.T) {
	t.Parallel()
	p := publish(t, serving(allKeys(t)))
	b := setupWith(t, loopback())
	publishedClient(b, p.URL)
	var group sync.WaitGroup
	for i := range 100 {
		group.Go(func() {
			text := ecSigner().sign(t, change(), map[string]any{"kid": fmt.Sprint("random", i)})
			wantError(t, b.send(t, asserting(text)), 401, "invalid_client", oauth.ReasonAssertionKey)
		})
	}
	group.Wait()
	if a := b.send(t, asserting(ecSigner().sign(t, change(), nil))); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
	if p.hits.Load() != 1 {
		t.Errorf("%d fetches", p.hits.Load())
	}
}

// ATTACKS C1, C2, C11: where it must not go, and what it must not swallow. What the client's server has answered is judged; where it
// has not, or is in trouble itself, nothing is known of the keys, and nobody has failed (DESIGN.md §8).
func TestPublishedKeysRefused(t *testing.T) {
	t.Parallel()
	good := allKeys(t)
	var bomb bytes.Buffer
	zip := gzip.NewWriter(&bomb)
	_, _ = zip.Write(append(good, bytes.Repeat([]byte(" "), 10<<20)...))
	_ = zip.Close()
	canary := publish(t, serving(good))
	tests := map[string]http.HandlerFunc{
		"C2 redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, canary.URL, http.StatusFound) },
		"C11 huge": func(w http.ResponseWriter, _ *http.Request) {
			for range 1 << 12 {
				if _, err := w.Write(make([]byte, 1<<12)); err != nil {
					return
				}
			}
		},
		"C11 slow": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = w.Write([]byte(" "))
				_ = http.NewResponseController(w).Flush()
				select {
				case <-r.Context().Done():
				case <-time.After(50 * time.Millisecond):
				}
			}
		},
		"C11 gzip bomb": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb.Bytes())
		},
		"C11 huge header": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Fill", strings.Repeat("a", 64<<10))
			_, _ = w.Write(good)
		},
		"status 500": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write(good)
		},
		"status 429": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
		"status 404": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"hung up":    func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"half a body": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write(good[:10])
		},
		"status 206": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(good)
		},
		"not JSON":       serving([]byte("<html>")),
		"no keys":        serving([]byte(`{"keys":[]}`)),
		"symmetric only": serving([]byte(`{"keys":[{"kty":"oct","k":"AAAA","kid":"ec"}]}`)),
	}
	for name, handler := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := publish(t, handler)
			b := setupWith(t, loopback())
			publishedClient(b, p.URL)
			start := time.Now()
			ask := func() answer { return b.send(t, asserting(ecSigner().sign(t, change(), nil))) }
			counted := 2
			switch name {
			case "C11 slow", "C11 huge header", "status 500", "status 429", "hung up", "half a body":
				counted = 0
				a := ask()
				wantError(t, a, 503, "temporarily_unavailable", oauth.ReasonJWKSUnreachable)
				if a.err.RetryAfter <= 20*time.Second || a.err.RetryAfter > 30*time.Second {
					t.Errorf("Retry-After %s; the next fetch is in 30 s", a.err.RetryAfter)
				}
				wantError(t, ask(), 503, "temporarily_unavailable", oauth.ReasonJWKSUnreachable)
			default:
				wantError(t, ask(), 401, "invalid_client", oauth.ReasonJWKSUnavailable)
				wantError(t, ask(), 401, "invalid_client", oauth.ReasonJWKSUnavailable)
			}
			if took := time.Since(start); took > 4*time.Second {
				t.Errorf("took %s", took)
			}
			if p.hits.Load() != 1 {
				t.Errorf("%d fetches", p.hits.Load())
			}
			if b.throttle.count() != counted {
				t.Errorf("%d failures are counted, want %d", b.throttle.count(), counted)
			}
		})
	}
	t.Cleanup(func() { // after the parallel sub-tests
		if canary.hits.Load() != 0 {
			t.Error("a redirect was followed")
		}
	})
}

func TestPublishedKeysStayOutside(t *testing.T) {
	t.Parallel()
	canary := publish(t, serving(allKeys(t)))
	secure := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached over TLS") }))
	t.Cleanup(secure.Close)
	port := mustURL(t, secure.URL).Port()
	plain := mustURL(t, canary.URL).Port()
	for _, uri := range []string{
		"https://127.0.0.1:" + port, "https://localhost:" + port, "https://localhost.:" + port, "https://[::1]:" + port,
		"https://[::ffff:127.0.0.1]:" + port, "https://0.0.0.0:" + port, "https://[::]:" + port, "https://2130706433:" + port,
		"https://0177.0.0.1:" + port, "https://0x7f.1:" + port, "https://a@127.0.0.1:" + port, "https://169.254.169.254/latest",
		"https://10.0.0.1", "https://192.168.0.1", "https://[fd00::1]", "https://[fe80::1%25lo]:" + port,
		"http://127.0.0.1:" + plain, "http://localhost:" + plain, "file:///etc/passwd", "gopher://127.0.0.1:" + plain, "https://", "::",
	} {
		t.Run(uri, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			publishedClient(b, uri)
			wantError(t, b.send(t, asserting(ecSigner().sign(t, change(), nil))), 401, "invalid_client", oauth.ReasonJWKSUnavailable)
			if !strings.Contains(b.log.String(), keyID) {
				t.Error("the operator learns nothing")
			}
		})
	}
	t.Cleanup(func() {
		if canary.hits.Load() != 0 {
			t.Errorf("%d connections to this machine", canary.hits.Load())
		}
	})
}

// A name says nothing of where it leads: the address is judged when it is dialled (ATTACKS C1, C9). An allowed
// network keeps CheckURI from refusing by the text alone, so that only the dialler stands in the way.
func TestPublishedKeysAreJudgedWhenDialled(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(serving(allKeys(t)))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	b := setupWith(t, oauth.OutboundConfig{AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	publishedClient(b, "https://localhost:"+mustURL(t, server.URL).Port())
	wantError(t, b.send(t, asserting(ecSigner().sign(t, change(), nil))), 401, "invalid_client", oauth.ReasonJWKSUnavailable)
	if connections.Load() != 0 || !strings.Contains(b.log.String(), "neither public nor in outbound.allow_cidrs") {
		t.Errorf("%d connections; log: %s", connections.Load(), b.log)
	}
}

// An address inside allow_cidrs does not open the rest, and http never reaches a public address.
func TestPublishedKeysAllowIsNarrow(t *testing.T) {
	t.Parallel()
	p := publish(t, serving(allKeys(t)))
	b := setupWith(t, oauth.OutboundConfig{AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	publishedClient(b, p.URL)
	wantError(t, b.send(t, asserting(ecSigner().sign(t, change(), nil))), 401, "invalid_client", oauth.ReasonJWKSUnavailable)
	if p.hits.Load() != 0 {
		t.Error("reached")
	}
}

func TestPublishedKeysOfAnotherURI(t *testing.T) {
	t.Parallel()
	first, second := publish(t, serving(allKeys(t))), publish(t, serving(jwks(t, jose.JSONWebKey{Key: testEC2().Public(), KeyID: "ec"})))
	b := setupWith(t, loopback())
	publishedClient(b, first.URL)
	if a := b.send(t, asserting(ecSigner().sign(t, change(), nil))); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	publishedClient(b, second.URL) // the admin changed it: what was fetched before counts no more
	wantError(t, b.send(t, asserting(ecSigner().sign(t, change(), nil))), 401, "invalid_client", oauth.ReasonAssertionSig)
}
