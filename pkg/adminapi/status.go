package adminapi

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Status says what a running server is and how it does.
type Status struct {
	Issuer    string    `json:"issuer"`
	Version   string    `json:"version"`
	Database  string    `json:"database" doc:"sqlite or postgres"`
	StartedAt time.Time `json:"started_at"`
	Now       time.Time `json:"now" doc:"The server's clock"`
	JWKSURI   string    `json:"jwks_uri"`
	Ready     bool      `json:"ready"`
	Checks    []Check   `json:"checks" nullable:"false"`
}

// Check is one part of readiness.
type Check struct {
	Name  string `json:"name"`
	State string `json:"state" doc:"ok, or what is wrong"`
}

// AuditEvent is one change that somebody made.
type AuditEvent struct {
	ID        int64          `json:"id"`
	Time      time.Time      `json:"time"`
	Actor     string         `json:"actor"`
	Source    string         `json:"source,omitempty" doc:"Where the actor called from"`
	RequestID string         `json:"request_id,omitempty"`
	Action    string         `json:"action"`
	Subject   string         `json:"subject"`
	ClientID  string         `json:"client_id,omitempty"`
	Detail    map[string]any `json:"detail,omitempty"`
}

// AuditFilter narrows a listing of events.
type AuditFilter struct {
	Subject string
	Action  string
	Before  string // cursor of the page before
	Limit   int    // 0 means 100, the most is 1000
}

// Refusal is one request that was turned away at the public endpoints.
type Refusal struct {
	RequestID string    `json:"request_id"`
	Time      time.Time `json:"time"`
	Endpoint  string    `json:"endpoint"`
	ClientID  string    `json:"client_id,omitempty" doc:"As the request claimed; not proven"`
	Source    string    `json:"source,omitempty"`
	Code      string    `json:"code" doc:"What the caller was told"`
	Reason    string    `json:"reason" doc:"Why, in a machine's word"`
	Detail    string    `json:"detail,omitempty" doc:"What the caller was told, in words"`
	Meaning   string    `json:"meaning,omitempty" doc:"What the reason means"`
	Remedy    string    `json:"remedy,omitempty" doc:"What mends it"`
}

// Status asks the server for its state.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	return call[Status](ctx, c, http.MethodGet, "/status", nil, nil)
}

// Audit returns one page of events, newest first.
func (c *Client) Audit(ctx context.Context, f AuditFilter) (*List[AuditEvent], error) {
	query := url.Values{}
	for name, value := range map[string]string{"subject": f.Subject, "action": f.Action, "before": f.Before} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if f.Limit != 0 {
		query.Set("limit", strconv.Itoa(f.Limit))
	}
	return call[List[AuditEvent]](ctx, c, http.MethodGet, "/audit", query, nil)
}

// Refusal returns the refusal of the request with this ID, while the server remembers it.
func (c *Client) Refusal(ctx context.Context, requestID string) (*Refusal, error) {
	return call[Refusal](ctx, c, http.MethodGet, "/refusals/"+segment(requestID), nil, nil)
}

// Refusals lists the newest refusals; clientID narrows them where it is not empty.
func (c *Client) Refusals(ctx context.Context, clientID string, limit int) ([]Refusal, error) {
	query := url.Values{}
	if clientID != "" {
		query.Set("client_id", clientID)
	}
	if limit != 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	list, err := call[List[Refusal]](ctx, c, http.MethodGet, "/refusals", query, nil)
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}
