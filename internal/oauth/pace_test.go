package oauth_test

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestDenialsArePaced: whoever fails is answered on a grain of time, known client or not, and whoever succeeds at once. In a
// bubble nothing but waiting takes time.
func TestDenialsArePaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		for name, test := range map[string]struct {
			basic [2]string
			want  time.Duration
		}{
			"right":             {b.basic(basicID), 0},
			"wrong secret":      {[2]string{basicID, b.secrets[otherID]}, 10 * time.Millisecond},
			"unknown client":    {[2]string{"client_NobodyNobodyNobody00", b.secrets[otherID]}, 10 * time.Millisecond},
			"nothing like such": {[2]string{"nobody", "nothing"}, 10 * time.Millisecond},
		} {
			for _, path := range []string{tokenPath, introspectPath, revokePath} {
				began := time.Now()
				b.send(t, request{path: path, basic: test.basic, form: ccForm("token", "x")})
				if took := time.Since(began); took != test.want {
					t.Errorf("%s at %s: answered after %v, want %v", name, path, took, test.want)
				}
			}
		}
	})
}
