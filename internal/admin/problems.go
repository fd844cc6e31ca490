package admin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/web"
)

// errNotFound and errInvalid are for what no domain package names.
var (
	errNotFound = errors.New("not found")
	errInvalid  = errors.New("invalid request")
)

// statuses says which status a domain error has. Order matters for none: an error wraps one of them.
var statuses = []struct { //nolint:gochecknoglobals // a constant table
	err    error
	status int
}{
	{apis.ErrNotFound, http.StatusNotFound},
	{apis.ErrScopeNotFound, http.StatusNotFound},
	{clients.ErrNotFound, http.StatusNotFound},
	{clients.ErrSecretNotFound, http.StatusNotFound},
	{keys.ErrNotFound, http.StatusNotFound},
	{errNotFound, http.StatusNotFound},
	{apis.ErrTaken, http.StatusConflict},
	{apis.ErrScopeTaken, http.StatusConflict},
	{clients.ErrNameTaken, http.StatusConflict},
	{keys.ErrTooEarly, http.StatusConflict},
	{keys.ErrNoActiveKey, http.StatusConflict},
	{apis.ErrInvalid, http.StatusUnprocessableEntity},
	{clients.ErrInvalid, http.StatusUnprocessableEntity},
	{keys.ErrInvalid, http.StatusUnprocessableEntity},
	{errInvalid, http.StatusUnprocessableEntity},
}

// problem is the one mapping of errors to answers. What no domain package names is trouble with the database, by the
// contract of the stores: the caller learns that it may try again, the log why.
func (a *api) problem(ctx context.Context, operation string, err error) error {
	for _, known := range statuses {
		if errors.Is(err, known.err) {
			return huma.NewError(known.status, err.Error())
		}
	}
	a.Log.LogAttrs(ctx, slog.LevelError, "admin request failed",
		slog.String("operation", operation), slog.String("request_id", web.From(ctx).RequestID), slog.String("error", err.Error()))
	unavailable := huma.NewError(http.StatusServiceUnavailable, "the database did not answer as it should; the outcome of a change is not known, try again")
	return huma.ErrorWithHeaders(unavailable, http.Header{"Retry-After": {"1"}})
}

// problemBody is huma's error with the ID of the request.
type problemBody struct { //nolint:errname // an answer, which embeds an error
	huma.ErrorModel

	RequestID string `json:"request_id,omitempty"`
}

// finishProblem adds the request's ID, and drops the values that huma would echo: a private key in the wrong member must not
// come back.
func finishProblem(ctx huma.Context, _ string, v any) (any, error) {
	model, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	out := &problemBody{ErrorModel: *model, RequestID: web.From(ctx.Context()).RequestID}
	out.Type = "about:blank"
	out.Errors = nil
	for _, e := range model.Errors {
		if e != nil {
			out.Errors = append(out.Errors, &huma.ErrorDetail{Message: e.Message, Location: e.Location})
		}
	}
	return out, nil
}

// describeProblem makes the OpenAPI document say what finishProblem does.
func describeProblem(doc *huma.OpenAPI) {
	if s := doc.Components.Schemas.Map()["ErrorModel"]; s != nil {
		s.Properties["request_id"] = &huma.Schema{Type: huma.TypeString, Description: "The ID under which the server's log has the request"}
	}
	if s := doc.Components.Schemas.Map()["ErrorDetail"]; s != nil {
		delete(s.Properties, "value")
	}
}

// orProblem lets the mux answer what it knows, and turns its own refusals (404, 405) into problem+json.
func orProblem(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store") // answers hold secrets
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		refusal := refusalWriter{header: http.Header{}}
		h.ServeHTTP(&refusal, r)
		if allow := refusal.header.Get("Allow"); allow != "" {
			w.Header().Set("Allow", allow)
		}
		web.WriteProblem(w, r, web.Problem{Status: refusal.status, Detail: "there is no " + r.Method + " here; see /admin/openapi.json"})
	})
}

// refusalWriter keeps the status and header of an answer and drops its body.
type refusalWriter struct {
	header http.Header
	status int
}

func (w *refusalWriter) Header() http.Header         { return w.header }
func (w *refusalWriter) WriteHeader(status int)      { w.status = status }
func (w *refusalWriter) Write(b []byte) (int, error) { return len(b), nil }
