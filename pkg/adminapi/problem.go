package adminapi

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Problem is an error of the server (RFC 9457).
type Problem struct { //nolint:errname // what RFC 9457 calls it
	Type       string        `json:"type,omitempty"`
	Title      string        `json:"title"`
	Status     int           `json:"status"`
	Detail     string        `json:"detail,omitempty"`
	RequestID  string        `json:"request_id,omitempty"`
	Errors     []FieldError  `json:"errors,omitempty"`
	RetryAfter time.Duration `json:"-"` // how long to wait before trying again; 0 when the server did not say
}

// FieldError is one member of a request that is wrong.
type FieldError struct {
	Message  string `json:"message"`
	Location string `json:"location,omitempty"`
}

// Error says what was wrong, with the ID under which the server's log has it.
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Detail)
	if p.Detail == "" {
		b.WriteString(p.Title)
	}
	for _, e := range p.Errors {
		fmt.Fprintf(&b, "; %s: %s", e.Location, e.Message)
	}
	if p.Status >= http.StatusInternalServerError && p.RequestID != "" {
		fmt.Fprintf(&b, " (request %s)", p.RequestID)
	}
	return b.String()
}

// problemOf reads the error of a response that is none of the 2xx. An answer in another form, such as a proxy's page,
// becomes a Problem of its status alone.
func problemOf(res *http.Response) *Problem {
	p := &Problem{Title: http.StatusText(res.StatusCode)}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if kind == "application/problem+json" {
		text, err := io.ReadAll(io.LimitReader(res.Body, maxResponse))
		if err != nil || json.Unmarshal(text, p) != nil {
			p = &Problem{Title: http.StatusText(res.StatusCode)}
		}
	}
	p.Status = res.StatusCode
	if p.RequestID == "" {
		p.RequestID = res.Header.Get("X-Request-Id")
	}
	if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && seconds > 0 {
		p.RetryAfter = time.Duration(seconds) * time.Second
	}
	return p
}
