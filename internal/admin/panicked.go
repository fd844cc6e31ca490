package admin

import (
	"net/http"

	"github.com/seed-1972b8eb/signet/internal/web"
)

// Panicked answers a request whose handler panicked: 500 and nothing of the cause.
func Panicked(w http.ResponseWriter, r *http.Request) {
	web.WriteProblem(w, r, web.Problem{Status: http.StatusInternalServerError, Detail: "the server failed on this request; its log has the request ID"})
}
