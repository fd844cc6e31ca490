package admin

import (
	"context"
	"fmt"
	"net/http"

	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func (a *api) refusalRoutes() {
	handle(a, operation("list-refusals", http.MethodGet, "/refusals", "List requests that this server turned away lately, newest first"), a.listRefusals)
	handle(a, operation("show-refusal", http.MethodGet, "/refusals/{request_id}", "Show why one request was turned away"), a.showRefusal)
}

func (a *api) listRefusals(_ context.Context, in *struct {
	ClientID string `query:"client_id" doc:"As the request claimed"`
	Limit    int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
},
) (*reply[adminapi.List[adminapi.Refusal]], error) {
	list := a.Refusals.List(audit.RefusalFilter{ClientID: in.ClientID}, in.Limit)
	out := &reply[adminapi.List[adminapi.Refusal]]{}
	out.Body.Items = make([]adminapi.Refusal, 0, len(list))
	for _, r := range list {
		out.Body.Items = append(out.Body.Items, wireRefusal(r))
	}
	return out, nil
}

func (a *api) showRefusal(_ context.Context, in *struct {
	RequestID string `path:"request_id"`
},
) (*reply[adminapi.Refusal], error) {
	r, found := a.Refusals.Find(in.RequestID)
	if !found {
		return nil, fmt.Errorf("refusal %w: this server turned no request %q away, or has forgotten it", errNotFound, in.RequestID)
	}
	return &reply[adminapi.Refusal]{wireRefusal(r)}, nil
}

func wireRefusal(r audit.Refusal) adminapi.Refusal {
	why, _ := audit.Explain(r.Reason)
	return adminapi.Refusal{
		RequestID: r.RequestID, Time: r.Time, Endpoint: r.Endpoint, ClientID: r.ClientID, Source: r.Source,
		Code: r.Code, Reason: r.Reason, Detail: r.Detail, Meaning: why.Meaning, Remedy: why.Remedy,
	}
}
