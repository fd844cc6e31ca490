package admin

import (
	"context"
	"fmt"
	"net/http"

	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func (a *api) revocationRoutes() {
	handle(a, operation("list-revocations", http.MethodGet, "/revocations", "List tokens that were taken back and have not expired, newest first"), a.listRevocations)
	handle(a, operation("list-cut-offs", http.MethodGet, "/cut-offs", "List the cut-offs that still concern a token"), a.listCutOffs)
	handle(a, created(operation("cut-off", http.MethodPost, "/cut-offs", "End everything issued so far for one client, or for all")), a.cutOff)
}

func (a *api) listRevocations(ctx context.Context, in *struct {
	Limit int `query:"limit" minimum:"1" maximum:"1000" default:"100"`
},
) (*reply[adminapi.List[adminapi.Revocation]], error) {
	list, err := a.Revocations.Revocations(ctx, in.Limit)
	if err != nil {
		return nil, err
	}
	out := &reply[adminapi.List[adminapi.Revocation]]{}
	out.Body.Items = make([]adminapi.Revocation, 0, len(list))
	for _, r := range list {
		out.Body.Items = append(out.Body.Items, wireRevocation(r))
	}
	return out, nil
}

func (a *api) listCutOffs(ctx context.Context, _ *struct{}) (*reply[adminapi.List[adminapi.CutOff]], error) {
	list, err := a.Revocations.CutOffs(ctx)
	if err != nil {
		return nil, err
	}
	out := &reply[adminapi.List[adminapi.CutOff]]{}
	out.Body.Items = make([]adminapi.CutOff, 0, len(list))
	for _, c := range list {
		wire := adminapi.CutOff{Kind: string(c.Kind), ID: c.ID, Generation: c.Generation, ExpiresAt: c.ExpiresAt}
		if c.Generation == revocations.Everything {
			wire.Everything, wire.Generation = true, 0
		}
		out.Body.Items = append(out.Body.Items, wire)
	}
	return out, nil
}

func (a *api) cutOff(ctx context.Context, in *struct{ Body adminapi.NewCutOff }) (*reply[adminapi.CutOffResult], error) {
	b := in.Body
	if b.All == (b.Client != "") {
		return nil, fmt.Errorf("%w: give either client or all", errInvalid)
	}
	if b.All {
		kids, err := a.Keys.CompromiseAll(ctx, actor(ctx), b.Reason)
		if err != nil {
			return nil, err
		}
		return &reply[adminapi.CutOffResult]{adminapi.CutOffResult{KIDs: kids}}, nil
	}
	c, err := a.Clients.CutOff(ctx, actor(ctx), b.Client, b.Reason)
	if err != nil {
		return nil, err
	}
	return &reply[adminapi.CutOffResult]{adminapi.CutOffResult{ClientID: c.ID, Generation: c.Generation}}, nil
}

func wireRevocation(r revocations.Revocation) adminapi.Revocation {
	return adminapi.Revocation{JTI: r.JTI, ClientID: r.ClientID, ExpiresAt: r.ExpiresAt, RevokedAt: r.RevokedAt, Reason: r.Reason}
}
