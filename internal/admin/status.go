package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func (a *api) statusRoutes() {
	handle(a, operation("show-status", http.MethodGet, "/status", "What this server is and how it does"), a.showStatus)
}

func (a *api) showStatus(ctx context.Context, _ *struct{}) (*reply[adminapi.Status], error) {
	out := &reply[adminapi.Status]{adminapi.Status{
		Issuer: a.Issuer, Version: a.Version, Database: a.Database, JWKSURI: a.JWKSURI,
		StartedAt: a.started, Now: time.Now().UTC(), Ready: true, Checks: []adminapi.Check{},
	}}
	if a.Ready == nil {
		return out, nil
	}
	for _, check := range a.Ready(ctx) {
		out.Body.Checks = append(out.Body.Checks, adminapi.Check{Name: check.Name, State: check.State})
		out.Body.Ready = out.Body.Ready && check.State == "ok"
	}
	return out, nil
}
