package web

import (
	"encoding/json"
	"net/http"
)

// Problem is an error of the admin API (RFC 9457). The OAuth endpoints never answer with one: their errors have the form
// of RFC 6749 §5.2.
type Problem struct {
	Type      string `json:"type"`   // URI reference that names the kind of problem; "about:blank" when the status says it all
	Title     string `json:"title"`  // the same for every problem of the type
	Status    int    `json:"status"` // of the response
	Detail    string `json:"detail,omitempty"`
	RequestID string `json:"request_id,omitempty"`
}

// WriteProblem answers with p. Missing members are filled in from the status and the request.
func WriteProblem(w http.ResponseWriter, r *http.Request, p Problem) {
	if p.Status == 0 {
		p.Status = http.StatusInternalServerError
	}
	if p.Type == "" {
		p.Type = "about:blank"
	}
	if p.Title == "" {
		p.Title = http.StatusText(p.Status)
	}
	if p.RequestID == "" {
		p.RequestID = From(r.Context()).RequestID
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	// The status is on the wire; a client that has gone away is nobody to tell.
	_ = json.NewEncoder(w).Encode(p)
}
