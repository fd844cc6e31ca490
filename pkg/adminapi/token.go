package adminapi

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// TokenText carries an access token in a request body, never in a URL.
type TokenText struct {
	Token string `json:"token" minLength:"1" maxLength:"16384"`
}

// TokenReport says what an access token holds and whether it counts.
type TokenReport struct {
	Valid   bool           `json:"valid" doc:"Signed by this issuer and not expired"`
	Active  bool           `json:"active" doc:"Valid and not taken back"`
	Reason  string         `json:"reason,omitempty" doc:"Why it is not active"`
	Header  map[string]any `json:"header,omitempty" doc:"As the token says it; not verified where valid is false"`
	Claims  map[string]any `json:"claims,omitempty" doc:"As the token says them; not verified where valid is false"`
	Expires time.Time      `json:"expires_at,omitzero"`
}

// RevokeToken names an access token by its text or by its jti; exactly one.
type RevokeToken struct {
	Token  string `json:"token,omitempty" maxLength:"16384"`
	JTI    string `json:"jti,omitempty" maxLength:"200"`
	Reason string `json:"reason,omitempty" maxLength:"500"`
}

// Revocation is one access token that was taken back.
type Revocation struct {
	JTI       string    `json:"jti"`
	ClientID  string    `json:"client_id,omitempty"`
	ExpiresAt time.Time `json:"expires_at" doc:"Of the token, or the latest that a token of that jti can have"`
	RevokedAt time.Time `json:"revoked_at"`
	Reason    string    `json:"reason,omitempty"`
}

// CutOff ends every token of its subject that was issued before it.
type CutOff struct {
	Kind       string    `json:"kind" enum:"client,key"`
	ID         string    `json:"id" doc:"Client ID or kid"`
	Everything bool      `json:"everything" doc:"The subject is gone for good: a deleted client, a compromised key"`
	Generation int64     `json:"generation,omitempty" doc:"Tokens of a lower generation are ended"`
	ExpiresAt  time.Time `json:"expires_at" doc:"When the last token that it concerns has expired"`
}

// NewCutOff says whose tokens end: one client's, or everybody's.
type NewCutOff struct {
	Client string `json:"client,omitempty" doc:"ID or name"`
	All    bool   `json:"all,omitempty" doc:"Every token of the issuer: all keys are revoked, the standbys too"`
	Reason string `json:"reason,omitempty" maxLength:"500"`
}

// CutOffResult says what a cut-off did.
type CutOffResult struct {
	ClientID   string   `json:"client_id,omitempty"`
	Generation int64    `json:"generation,omitempty"`
	KIDs       []string `json:"kids,omitempty" doc:"Keys that were revoked"`
}

// InspectToken reads an access token and says whether it counts.
func (c *Client) InspectToken(ctx context.Context, token string) (*TokenReport, error) {
	return call[TokenReport](ctx, c, http.MethodPost, "/tokens/inspect", nil, TokenText{token})
}

// RevokeToken takes one access token back.
func (c *Client) RevokeToken(ctx context.Context, r RevokeToken) (*Revocation, error) {
	return call[Revocation](ctx, c, http.MethodPost, "/tokens/revoke", nil, r)
}

// Revocations lists tokens that were taken back and have not expired, newest first.
func (c *Client) Revocations(ctx context.Context, limit int) ([]Revocation, error) {
	query := url.Values{}
	if limit != 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	list, err := call[List[Revocation]](ctx, c, http.MethodGet, "/revocations", query, nil)
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// CutOffs lists the cut-offs that still concern a token.
func (c *Client) CutOffs(ctx context.Context) ([]CutOff, error) {
	list, err := call[List[CutOff]](ctx, c, http.MethodGet, "/cut-offs", nil, nil)
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// CutOff ends everything issued so far for one client, or for all.
func (c *Client) CutOff(ctx context.Context, n NewCutOff) (*CutOffResult, error) {
	return call[CutOffResult](ctx, c, http.MethodPost, "/cut-offs", nil, n)
}
