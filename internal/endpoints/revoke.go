package endpoints

import (
	"context"
	"net/http"
	"time"
)

// answerWithin is how long revocation and introspection look for an answer before they say that they cannot know. Each read
// has a limit of its own; this one holds for all of them together (DESIGN.md §7).
const answerWithin = 1300 * time.Millisecond

// revoke is the revocation endpoint (RFC 7009 §2). 200 means that the promise of DESIGN.md §7 holds from here on; the body
// is empty (§2.2).
func (s *server) revoke(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
	defer cancel()
	if err := s.OAuth.Revoke(ctx, request(r)); err != nil {
		s.refuse(w, r, route{endpoint: "revoke"}, err)
		return
	}
	h := w.Header()
	h["Cache-Control"] = s.shared.noStore
	h["Pragma"] = s.shared.noCache
	w.WriteHeader(http.StatusOK)
}
