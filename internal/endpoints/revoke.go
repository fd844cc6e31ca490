package endpoints

import "net/http"

// revoke is the revocation endpoint (RFC 7009 §2). 200 means that the promise of DESIGN.md §7 holds from here on; the body
// is empty (§2.2).
func (s *server) revoke(w http.ResponseWriter, r *http.Request) {
	if err := s.OAuth.Revoke(r.Context(), request(r)); err != nil {
		s.refuse(w, r, route{endpoint: "revoke"}, err)
		return
	}
	h := w.Header()
	h["Cache-Control"] = s.shared.noStore
	h["Pragma"] = s.shared.noCache
	w.WriteHeader(http.StatusOK)
}
