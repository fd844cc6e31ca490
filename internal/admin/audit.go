package admin

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func (a *api) auditRoutes() {
	handle(a, operation("list-audit", http.MethodGet, "/audit", "List changes, newest first"), a.listAudit)
}

func (a *api) listAudit(ctx context.Context, in *struct {
	Subject string `query:"subject" doc:"ID of what was changed"`
	Action  string `query:"action" doc:"noun.verb"`
	Before  string `query:"before" doc:"Cursor of the page before"`
	Limit   int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
},
) (*reply[adminapi.List[adminapi.AuditEvent]], error) {
	f := audit.Filter{Subject: in.Subject, Action: in.Action, Limit: in.Limit}
	if in.Before != "" {
		var err error
		if f.Before, err = strconv.ParseInt(in.Before, 10, 64); err != nil || f.Before < 1 {
			return nil, fmt.Errorf("%w: before is no cursor", errInvalid)
		}
	}
	events, err := a.Trail.Events(ctx, f)
	if err != nil {
		return nil, err
	}
	out := &reply[adminapi.List[adminapi.AuditEvent]]{}
	out.Body.Items = make([]adminapi.AuditEvent, 0, len(events))
	for _, e := range events {
		out.Body.Items = append(out.Body.Items, adminapi.AuditEvent{
			ID: e.ID, Time: e.Time, Actor: e.Actor.ID, Source: e.Actor.Source, RequestID: e.Actor.RequestID,
			Action: e.Action, Subject: e.Subject, ClientID: e.ClientID, Detail: e.Detail,
		})
	}
	if n := len(events); n == in.Limit {
		out.Body.Next = strconv.FormatInt(events[n-1].ID, 10)
	}
	return out, nil
}
