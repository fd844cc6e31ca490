package admin

import (
	"net/http"
	"net/http/pprof"
	"net/netip"

	"github.com/seed-1972b8eb/signet/internal/web"
)

// TCPConfig is what the admin listener serves.
type TCPConfig struct {
	Metrics http.Handler
	Pprof   bool // serve /debug/pprof too
}

// TCP returns the handler of the admin listener: metrics, and profiles where they are switched on, for callers on this
// machine; 401 for everything else and everybody else, since there is nothing yet that could be presented here.
func TCP(c TCPConfig) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", challenge)
	mux.Handle("GET /metrics", onlyLoopback(c.Metrics))
	if c.Pprof {
		mux.Handle("GET /debug/pprof/", onlyLoopback(http.HandlerFunc(pprof.Index)))
		mux.Handle("GET /debug/pprof/profile", onlyLoopback(http.HandlerFunc(pprof.Profile)))
		mux.Handle("GET /debug/pprof/symbol", onlyLoopback(http.HandlerFunc(pprof.Symbol)))
		mux.Handle("GET /debug/pprof/trace", onlyLoopback(http.HandlerFunc(pprof.Trace)))
	}
	return mux
}

// onlyLoopback lets callers on this machine through. A request that some proxy passed on comes from elsewhere, whatever
// address its last hop has.
func onlyLoopback(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		forwarded := r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != ""
		if err != nil || !peer.Addr().Unmap().IsLoopback() || forwarded {
			challenge(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// challenge answers 401 (RFC 6750 §3): with no error where nothing was presented, with invalid_token where something was.
func challenge(w http.ResponseWriter, r *http.Request) {
	value := `Bearer realm="signet admin"`
	if r.Header.Get("Authorization") != "" {
		value += `, error="invalid_token"`
	}
	w.Header().Set("WWW-Authenticate", value)
	web.WriteProblem(w, r, web.Problem{Status: http.StatusUnauthorized, Detail: "use the signet command line on the server's own machine"})
}
