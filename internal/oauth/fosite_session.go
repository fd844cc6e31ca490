package oauth

import (
	"net/url"
	"time"

	"github.com/ory/fosite"
)

// session carries one token request through fosite: what came in, and what each step made of it. It lives as long as the
// request and is stored nowhere; Signet keeps no token sessions, because its tokens are self-contained and a write per
// token is what makes such servers slow and their tables endless (DESIGN.md §4).
type session struct {
	server  *Server
	request *Request
	form    url.Values
	now     time.Time // the one moment that the whole request is judged at

	caller   *caller        // after authentication
	decision *decision      // after the policy
	issued   *TokenResponse // after the issue
}

// The methods that make it a fosite.Session. The expiry is that of the decision.

// SetExpiresAt does nothing: the policy alone sets expiries.
func (s *session) SetExpiresAt(fosite.TokenType, time.Time) {}

// GetExpiresAt gives the expiry that the policy decided on; zero before.
func (s *session) GetExpiresAt(kind fosite.TokenType) time.Time {
	if s.decision == nil || kind != fosite.AccessToken {
		return time.Time{}
	}
	return s.decision.expires
}

// GetUsername is empty: there are no users.
func (s *session) GetUsername() string { return "" }

// GetSubject is the client itself (RFC 9068 §2.2).
func (s *session) GetSubject() string {
	if s.caller == nil {
		return ""
	}
	return s.caller.GetID()
}

// Clone returns the session itself: nothing keeps one.
func (s *session) Clone() fosite.Session { return s }
