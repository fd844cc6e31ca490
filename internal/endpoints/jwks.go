package endpoints

import "net/http"

// jwks is the published key set (RFC 7517 §5). Verifiers may keep it for as long as the rotation plan lets a new key wait
// before it signs.
func (s *server) jwks(w http.ResponseWriter, r *http.Request) {
	set := s.Ring.JWKS()
	s.serve(w, r, document{body: set.Body, etag: set.ETag, maxAge: set.MaxAge})
}
