package endpoints

import (
	"net/http"

	"github.com/seed-1972b8eb/signet/internal/oauth"
	"github.com/seed-1972b8eb/signet/internal/web"
)

// token is the token endpoint (RFC 6749 §3.2).
func (s *server) token(w http.ResponseWriter, r *http.Request) {
	t := route{endpoint: "token"}
	issued, err := s.OAuth.Token(r.Context(), request(r))
	if err != nil {
		s.refuse(w, r, t, err)
		return
	}
	s.Metrics.Issued(string(issued.Alg))
	s.answer(w, r, t.endpoint, issued)
}

// request is what package oauth is told of a request. It reads the body itself.
func request(r *http.Request) *oauth.Request {
	x := web.From(r.Context())
	return &oauth.Request{HTTP: r, ClientIP: x.ClientIP, RequestID: x.RequestID}
}
