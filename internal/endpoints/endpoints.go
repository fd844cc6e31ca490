// Package endpoints owns the public HTTP surface, one file per endpoint: which paths there are, how an answer is put on the
// wire, and what is counted and remembered of it. What the answer is, is decided in package oauth; documents that are the
// same for everybody come from packages keys and oauth.
package endpoints

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/oauth"
	"github.com/seed-1972b8eb/signet/internal/telemetry"
	"github.com/seed-1972b8eb/signet/internal/web"
)

// The paths below the issuer (DESIGN.md §3).
const (
	PathToken         = "/oauth2/token" //nolint:gosec // a path, not a credential
	PathRevoke        = "/oauth2/revoke"
	PathIntrospect    = "/oauth2/introspect"
	PathJWKS          = "/.well-known/jwks.json"
	PathMetadata      = "/.well-known/oauth-authorization-server"
	PathOpenIDAlias   = "/.well-known/openid-configuration"
	PathLive          = "/livez"
	PathReady         = "/readyz"
	routeOfEverything = "other" // the metric label of paths that nobody serves
)

// Config is what the endpoints need. Fields without a comment are required.
type Config struct {
	Issuer     string // as configured; its path, if it has one, is a prefix of every path
	OAuth      *oauth.Server
	Ring       *keys.Ring
	Refusals   *audit.Refusals
	Metrics    *telemetry.Metrics
	Log        *slog.Logger
	Tracing    *telemetry.Tracing                // nil: no traces
	Proxies    web.Proxies                       // the zero value trusts nobody
	RequireTLS bool                              // refuse what did not come over https, to this server or to a trusted proxy
	Ready      func(ctx context.Context) []Check // nil: always ready
}

// New returns the public surface.
func New(c Config) http.Handler {
	s := &server{Config: c, mux: http.NewServeMux(), observers: map[string]*telemetry.Route{}}
	s.readiness.checks = c.Ready
	s.shared = sharedHeaders()

	post, get := []string{http.MethodPost}, []string{http.MethodGet, http.MethodHead}
	s.mount(route{path: PathToken, endpoint: "token", methods: post, serve: s.token})
	s.mount(route{path: PathRevoke, endpoint: "revoke", methods: post, serve: s.revoke})
	s.mount(route{path: PathIntrospect, endpoint: "introspect", methods: post, serve: s.introspect})
	s.mount(route{path: PathJWKS, endpoint: "jwks", methods: get, public: true, serve: s.jwks})
	s.mount(route{path: PathMetadata, endpoint: "metadata", methods: get, public: true, wellKnown: true, serve: s.metadata})
	s.mount(route{path: PathOpenIDAlias, endpoint: "metadata", methods: get, public: true, wellKnown: true, serve: s.metadata})
	s.mount(route{path: PathLive, endpoint: "livez", methods: get, public: true, probe: true, serve: s.live})
	s.mount(route{path: PathReady, endpoint: "readyz", methods: get, public: true, probe: true, serve: s.ready})
	s.observers[routeOfEverything] = c.Metrics.Route(routeOfEverything)
	s.mux.HandleFunc("/", s.nothing)

	return web.Handler(web.HandlerConfig{Proxies: c.Proxies, Log: c.Log, Panic: s.panicked, Done: s.done},
		c.Tracing.Handler(http.HandlerFunc(s.dispatch)))
}

type server struct {
	Config
	mux       *http.ServeMux
	observers map[string]*telemetry.Route // by route path; read only
	shared    headers
	document  cachedDocument // the metadata
	readiness readiness
}

// route is one endpoint.
type route struct {
	path      string
	endpoint  string // its name in refusals, metrics and log lines
	methods   []string
	public    bool // the same for everybody: nothing of it is remembered when it is refused
	wellKnown bool // RFC 8414 §3.1 puts the issuer's path behind it
	probe     bool // asked by the machine beside, never through the proxy
	serve     http.HandlerFunc
}

// mount serves a route at its path, and where the issuer has a path, there too: in front of it, which is what the metadata
// says and what a proxy may strip; and behind it for well-known documents.
func (s *server) mount(r route) {
	s.observers[r.path] = s.Metrics.Route(r.path)
	h := s.guarded(r)
	s.mux.Handle(r.path, h)
	prefix := issuerPath(s.Issuer)
	if prefix == "" || r.probe {
		return
	}
	s.mux.Handle(prefix+r.path, h)
	if r.wellKnown {
		s.mux.Handle(r.path+prefix, h)
	}
}

func issuerPath(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return ""
	}
	return strings.TrimRight(u.Path, "/")
}

// guarded checks what holds of every request to a route before the route sees it.
func (s *server) guarded(t route) http.Handler {
	allow := strings.Join(t.methods, ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := web.From(r.Context())
		x.Route = t.path
		// 1. Plain http: refuse without reading a credential, and never redirect: it was sent in the clear already, and a
		// client that follows would go on doing so (RFC 6749 §3.2).
		if s.RequireTLS && !x.Secure && !t.probe {
			s.refuse(w, r, t, plainHTTP())
			return
		}
		// 2. Method (RFC 9110 §15.5.6). OPTIONS is none of ours: there is no CORS, because no browser holds a client's secret.
		if slices.Contains(t.methods, r.Method) {
			t.serve(w, r)
			return
		}
		w.Header().Set("Allow", allow)
		s.refuse(w, r, t, methodNotAllowed(allow))
	})
}

// dispatch keeps the mux from redirecting: a path that is not clean is no path of ours.
func (s *server) dispatch(w http.ResponseWriter, r *http.Request) {
	if p := r.URL.Path; p == "" || p[0] != '/' || (len(p) > 1 && path.Clean(p) != p) {
		s.nothing(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// done counts a request.
func (s *server) done(x *web.Exchange, status int, took time.Duration) {
	o, ok := s.observers[x.Route]
	if !ok {
		o = s.observers[routeOfEverything]
	}
	o.Observe(status, took)
}
