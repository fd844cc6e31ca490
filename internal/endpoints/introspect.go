package endpoints

import (
	"context"
	"errors"
	"net/http"

	"github.com/seed-1972b8eb/signet/internal/oauth"
)

// introspect is the introspection endpoint (RFC 7662 §2).
func (s *server) introspect(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
	defer cancel()
	found, err := s.OAuth.Introspect(ctx, request(r))
	if err != nil {
		var e *oauth.Error
		if errors.As(err, &e) && e.Reason == oauth.ReasonUnavailable {
			s.Metrics.Checked("failed")
		}
		s.refuse(w, r, route{endpoint: "introspect"}, err)
		return
	}
	switch {
	case found.Active:
		s.Metrics.Checked("live")
	case found.Reason == oauth.ReasonTokenRevoked:
		s.Metrics.Checked("revoked")
	}
	s.answer(w, r, "introspect", found)
}
