package endpoints

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/seed-1972b8eb/signet/internal/web"
)

// State is how a thing that the server needs is doing.
type State string

// The states. Degraded: the server does its main work, but not all of it, or not for long. Failing: it cannot work.
const (
	OK       State = "ok"
	Degraded State = "degraded"
	Failing  State = "failing"
)

// Check is the state of one thing that the server needs. Anyone may read it: no addresses, users or errors of others.
type Check struct {
	Name   string `json:"name"`
	State  State  `json:"state"`
	Detail string `json:"detail,omitempty"` // what it means for callers
}

const (
	readyFor     = 200 * time.Millisecond // how long an answer is reused: probes must not become load
	readyTimeout = 2 * time.Second
)

// report is the body of /readyz.
type report struct {
	Status string  `json:"status"` // "ready", "degraded", "unavailable" or "draining"
	Checks []Check `json:"checks"`
}

// live answers as long as the server answers at all: whatever else is wrong, a restart would not mend it.
func (s *server) live(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h["Content-Type"] = s.shared.json
	h["Cache-Control"] = s.shared.noStore
	_, _ = w.Write([]byte(`{"status":"ok"}`)) // a caller that has gone away is nobody to tell
}

// ready says whether requests should be sent here: 200 for ready and degraded, 503 otherwise.
func (s *server) ready(w http.ResponseWriter, r *http.Request) {
	status, body := http.StatusOK, report{Status: "ready", Checks: s.readiness.read(r.Context())}
	for _, c := range body.Checks {
		switch {
		case c.State == Degraded && body.Status == "ready":
			body.Status = "degraded"
		case c.State != OK && c.State != Degraded:
			status, body.Status = http.StatusServiceUnavailable, "unavailable"
		}
	}
	if web.Draining(r.Context()) {
		status, body.Status = http.StatusServiceUnavailable, "draining"
	}
	text, _ := json.Marshal(body) // strings
	h := w.Header()
	h["Content-Type"] = s.shared.json
	h["Cache-Control"] = s.shared.noStore
	w.WriteHeader(status)
	_, _ = w.Write(text) // a caller that has gone away is nobody to tell
}

// readiness keeps the last answer of the checks for a moment.
type readiness struct {
	checks func(context.Context) []Check

	mu   sync.Mutex
	at   time.Time
	last []Check
}

func (c *readiness) read(ctx context.Context) []Check {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last != nil && time.Since(c.at) < readyFor {
		return c.last
	}
	c.last = []Check{}
	if c.checks != nil {
		// A caller that hangs up must not spoil the answer for the next one.
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTimeout)
		defer cancel()
		c.last = append(c.last, c.checks(bounded)...)
	}
	c.at = time.Now()
	return c.last
}
