package endpoints

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/oauth"
	"github.com/seed-1972b8eb/signet/internal/telemetry"
	"github.com/seed-1972b8eb/signet/internal/web"
)

// Reasons of refusals that are about HTTP and not about OAuth.
const (
	reasonPlainHTTP oauth.Reason = "plain_http"
	reasonNotFound  oauth.Reason = "not_found"
)

// headers are values that many answers share: setting a header to one of them allocates nothing. Nobody writes into them.
type headers struct {
	json, noStore, noCache, closing []string
}

func sharedHeaders() headers {
	return headers{json: []string{"application/json"}, noStore: []string{"no-store"}, noCache: []string{"no-cache"}, closing: []string{"close"}}
}

// private marks an answer that is for this caller alone (RFC 6749 §5.1; Pragma for caches older than RFC 7234).
func (s *server) private(h http.Header) {
	h["Content-Type"] = s.shared.json
	h["Cache-Control"] = s.shared.noStore
	h["Pragma"] = s.shared.noCache
}

// answer writes a private answer of status 200.
func (s *server) answer(w http.ResponseWriter, r *http.Request, t string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		s.refuse(w, r, route{endpoint: t}, fmt.Errorf("write the answer: %w", err))
		return
	}
	s.private(w.Header())
	_, _ = w.Write(body) // a caller that has gone away is nobody to tell
}

// refusal is the body of RFC 6749 §5.2. The request ID stands in the header alone, so that two refusals which must not be
// told apart have the same body to the byte.
type refusal struct {
	Code        string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

// refuse is the one place where a request is refused: the answer on the wire, the record, the metric, the log line. An
// error that is no *oauth.Error is a fault of the server, of which the caller learns nothing.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, t route, err error) {
	var e *oauth.Error
	if !errors.As(err, &e) {
		e = &oauth.Error{
			Status: http.StatusInternalServerError, Code: oauth.CodeServerError, Reason: oauth.ReasonInternal,
			Description: "the server failed on this request",
		}
	}
	x := web.From(r.Context())
	s.Metrics.Refused(t.endpoint, string(e.Reason))
	s.note(r, x, t, e, err)

	h := w.Header()
	s.private(h)
	switch e.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", challenge(e)) // RFC 9110 §15.5.2
	case http.StatusRequestEntityTooLarge:
		h["Connection"] = s.shared.closing // what is left of the body will not be read
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((e.RetryAfter+time.Second-1)/time.Second), 10))
	}
	body, _ := json.Marshal(refusal{e.Code, telemetry.Redact(e.Description)}) // two strings
	w.WriteHeader(e.Status)
	_, _ = w.Write(body) // a caller that has gone away is nobody to tell
}

// challenge never leaves a 401 without one.
func challenge(e *oauth.Error) string {
	if e.Challenge == "" {
		return `Basic realm="signet"`
	}
	return e.Challenge
}

// note remembers a refusal and logs it, both under the request ID that the caller was given. What is public and the same
// for everybody is logged for debugging only: scanners would push what matters out of the memory.
func (s *server) note(r *http.Request, x *web.Exchange, t route, e *oauth.Error, cause error) {
	level := slog.LevelInfo
	if e.Status >= http.StatusInternalServerError && e.Reason != oauth.ReasonJWKSUnreachable { // that trouble is a client's own
		level = slog.LevelError
	} else if t.public {
		level = slog.LevelDebug
	}
	source := ""
	if x.ClientIP.IsValid() {
		source = x.ClientIP.String()
	}
	if !t.public {
		// What is in the wrong parameter, a secret as client_id or scope, is not remembered.
		s.Refusals.Record(audit.Refusal{
			RequestID: x.RequestID, Time: time.Now(), Endpoint: t.endpoint, ClientID: telemetry.Redact(e.ClientID), Source: source,
			Code: e.Code, Reason: string(e.Reason), Detail: telemetry.Redact(e.Description),
		})
	}
	s.Log.LogAttrs(r.Context(), level, "request refused",
		slog.String("request_id", x.RequestID), slog.String("endpoint", t.endpoint), slog.Int("status", e.Status),
		slog.String("error", e.Code), slog.String("reason", string(e.Reason)), slog.String("client_id", e.ClientID),
		slog.String("client_ip", source), slog.String("cause", cause.Error()))
}

// panicked answers when a handler panicked; the stack is in the log line before.
func (s *server) panicked(w http.ResponseWriter, r *http.Request) {
	s.Metrics.Panicked()
	endpoint := web.From(r.Context()).Route
	if endpoint == "" {
		endpoint = routeOfEverything
	}
	s.refuse(w, r, route{endpoint: endpoint}, errors.New("panic"))
}

// nothing answers where there is nothing.
func (s *server) nothing(w http.ResponseWriter, r *http.Request) {
	s.refuse(w, r, route{endpoint: routeOfEverything, public: true}, &oauth.Error{
		Status: http.StatusNotFound, Code: "not_found", Reason: reasonNotFound,
		Description: "there is nothing at this path; " + PathMetadata + " lists what there is",
	})
}

func plainHTTP() *oauth.Error {
	return &oauth.Error{
		Status: http.StatusBadRequest, Code: oauth.CodeInvalidRequest, Reason: reasonPlainHTTP,
		Description: "use https; the request was not processed, and what it held was sent in the clear: change any secret that was in it",
	}
}

func methodNotAllowed(allow string) *oauth.Error {
	return &oauth.Error{
		Status: http.StatusMethodNotAllowed, Code: oauth.CodeInvalidRequest, Reason: oauth.ReasonMethod, Description: "use " + allow,
	}
}
