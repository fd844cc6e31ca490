// Package audit owns the record of what was changed and by whom (Event), and the bounded memory of what was refused and
// why (Refusals). A change's event is written by the store in the change's own transaction; a refusal is never written to
// the database, so that a flood of bad requests cannot fill it (DESIGN.md §8).
package audit

import (
	"context"
	"time"
)

// Actor is who makes a change.
type Actor struct {
	ID        string // "local" over the Unix socket, "system" for the server's own schedule, else an account or client ID
	RequestID string // the request that made the change; empty for the schedule
	Source    string // network address, "unix" for the socket
}

// System is the server acting on its own schedule.
func System() Actor { return Actor{ID: "system"} }

// Event is one change, as it stands in the audit table. It never holds a secret, a token or key material.
type Event struct {
	ID       int64
	Time     time.Time
	Actor    Actor
	Action   string         // "client.create", "secret.rotate", "key.revoke": noun.verb
	Subject  string         // the ID of what was changed: a client ID, an API identifier, a kid, a jti
	Detail   map[string]any // what changed, in names and counts
	ClientID string         // the client that the subject belongs to, where there is one
}

// Filter narrows a listing. The zero value lists everything, newest first.
type Filter struct {
	Subject string
	Action  string
	Before  int64 // only events with a smaller ID; 0 means from the newest
	Limit   int   // at most this many; 0 means 100, the most is 1000
}

// Trail reads events. Stores write them inside the transactions of the changes that they belong to.
type Trail interface {
	Events(ctx context.Context, f Filter) ([]Event, error)
}
