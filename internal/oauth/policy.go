package oauth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/clients"
)

// decision is what the policy lets a client have.
type decision struct {
	api     *apis.API
	scopes  []string // not empty, each once
	expires time.Time
}

// decide applies the policy to a token request of an authenticated client (DESIGN.md §3, §4). Every comparison is byte for
// byte; nothing is ever silently dropped or widened.
func (s *Server) decide(ctx context.Context, c *clients.Client, form url.Values, now time.Time) (*decision, error) {
	// 1. May it ask for anything? A client that only introspects may not (RFC 6749 §5.2).
	if len(c.Grants) == 0 {
		return nil, refuse(http.StatusBadRequest, CodeUnauthorizedClient, ReasonNoGrants,
			"this client is granted no scope of any API, so it cannot use client_credentials")
	}
	// 2. Which API and which scopes?
	target, err := readTarget(form)
	if err != nil {
		return nil, err
	}
	wanted, err := readScope(form.Get("scope"))
	if err != nil {
		return nil, err
	}
	grant, err := chooseGrant(c, target, wanted)
	if err != nil {
		return nil, err
	}
	scopes := grant.DefaultScopes()
	if len(wanted) > 0 {
		scopes = distinct(wanted)
	}
	if len(scopes) == 0 {
		return nil, refuse(http.StatusBadRequest, CodeInvalidScope, ReasonScopeNotGranted,
			"this client has no default scopes for %s; name the scopes, of: %s", grant.API, strings.Join(grant.Scopes, " "))
	}
	// 3. Does the API take tokens?
	api, err := s.cfg.Registry.API(ctx, grant.API)
	if err != nil && !errors.Is(err, apis.ErrNotFound) {
		return nil, unavailable(err)
	}
	if err != nil || api.Disabled {
		return nil, refuse(http.StatusBadRequest, CodeInvalidTarget, ReasonAPIDisabled, "%s takes no new tokens at present", grant.API)
	}
	// 4. For how long?
	asked, err := readLifetime(form.Get("expires_in"))
	if err != nil {
		return nil, err
	}
	expires, ok := lifetime(c, api, asked, now)
	if !ok {
		return nil, refuse(http.StatusBadRequest, CodeUnauthorizedClient, ReasonClientExpired, "this client expires within the second")
	}
	return &decision{api: api, scopes: scopes, expires: expires}, nil
}

// readTarget reads resource (RFC 8707 §2) and audience (RFC 8693 §2.1), which mean the same here: the identifier of the one
// API that the token is for. Empty when neither is sent.
func readTarget(form url.Values) (string, error) {
	var target string
	for _, value := range slices.Concat(form["resource"], form["audience"]) {
		if value == "" {
			continue
		}
		if target != "" && (value != target || len(form["resource"]) > 1 || len(form["audience"]) > 1) {
			return "", refuse(http.StatusBadRequest, CodeInvalidTarget, ReasonTargetSeveral,
				"a token is for one API: send one resource (or audience), and ask again for another")
		}
		target = value
	}
	if target == "" {
		return "", nil
	}
	u, err := url.Parse(target)
	if err != nil || u.Scheme == "" || strings.Contains(target, "#") {
		return "", refuse(http.StatusBadRequest, CodeInvalidTarget, ReasonTargetMalformed,
			"resource must be an absolute URI without a fragment")
	}
	return target, nil
}

// readScope splits a scope parameter (RFC 6749 §3.3: scope-token *( SP scope-token )). None when it is empty.
func readScope(text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	names := strings.Split(text, " ")
	for _, name := range names {
		if err := apis.CheckScopeName(name); err != nil {
			return nil, refuse(http.StatusBadRequest, CodeInvalidScope, ReasonScopeMalformed,
				"scope must be names of at most 128 characters with one space between them; the characters of RFC 6749 section 3.3 without '*'")
		}
	}
	return names, nil
}

// chooseGrant finds the grant that the request is about: that of the API it names, else that of the API which its scopes
// name, else the client's only one.
func chooseGrant(c *clients.Client, target string, wanted []string) (clients.Grant, error) {
	if target != "" {
		grant, ok := c.Grant(target)
		if !ok {
			return clients.Grant{}, refuse(http.StatusBadRequest, CodeInvalidTarget, ReasonTargetNotGrant,
				"the resource asked for is not granted to this client (compared letter by letter); granted: %s", grantedAPIs(c.Grants))
		}
		return grant, checkScopes(grant, wanted)
	}
	if len(c.Grants) == 1 {
		return c.Grants[0], checkScopes(c.Grants[0], wanted)
	}
	if len(wanted) == 0 {
		return clients.Grant{}, ambiguous("this client may use several APIs: send resource=", c.Grants)
	}
	return grantOfScopes(c, wanted)
}

// grantOfScopes finds the one grant that holds all wanted scopes.
func grantOfScopes(c *clients.Client, wanted []string) (clients.Grant, error) {
	for _, name := range wanted {
		if !slices.ContainsFunc(c.Grants, func(g clients.Grant) bool { return g.Has(name) }) {
			return clients.Grant{}, refuse(http.StatusBadRequest, CodeInvalidScope, ReasonScopeNotGranted,
				"scope '%s' is not granted to this client for any API; granted APIs: %s", name, grantedAPIs(c.Grants))
		}
	}
	var fitting []clients.Grant
	for _, grant := range c.Grants {
		if checkScopes(grant, wanted) == nil {
			fitting = append(fitting, grant)
		}
	}
	switch len(fitting) {
	case 1:
		return fitting[0], nil
	case 0:
		return clients.Grant{}, ambiguous("the scopes belong to several APIs: ask for one API at a time, with resource=", c.Grants)
	default:
		return clients.Grant{}, ambiguous("several APIs have these scopes: choose one with resource=", fitting)
	}
}

func ambiguous(text string, among []clients.Grant) error {
	return refuse(http.StatusBadRequest, CodeInvalidTarget, ReasonTargetAmbiguous, "%s%s", text, grantedAPIs(among))
}

// checkScopes refuses the first scope that the grant does not hold. Listing what is granted helps whoever holds the
// client's credentials, and they may know it.
func checkScopes(grant clients.Grant, wanted []string) error {
	for _, name := range wanted {
		if !grant.Has(name) {
			return refuse(http.StatusBadRequest, CodeInvalidScope, ReasonScopeNotGranted,
				"scope '%s' is not granted to this client for %s; granted: %s", name, grant.API, strings.Join(grant.Scopes, " "))
		}
	}
	return nil
}

func grantedAPIs(grants []clients.Grant) string {
	names := make([]string, len(grants))
	for i, grant := range grants {
		names[i] = grant.API
	}
	return strings.Join(names, ", ")
}

// distinct drops repetitions and keeps the order. The names are all granted, so there are few different ones.
func distinct(names []string) []string {
	kept := make([]string, 0, len(names))
	for _, name := range names {
		if !slices.Contains(kept, name) {
			kept = append(kept, name)
		}
	}
	return kept
}

// readLifetime reads the parameter expires_in, Signet's own: whole seconds, at least 1. 0 when it is not sent.
func readLifetime(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	var asked time.Duration
	for _, digit := range []byte(text) {
		if digit < '0' || digit > '9' {
			asked = 0
			break
		}
		// What is longer than any lifetime is all the same.
		asked = min(asked*10+time.Duration(digit-'0')*time.Second, 10*apis.MaxTokenTTL)
	}
	if asked < apis.MinTokenTTL {
		return 0, badRequest(ReasonParamInvalid, "expires_in must be a whole number of seconds, at least 1")
	}
	return asked, nil
}

// lifetime gives the moment at which a token issued now ends: the least of what the API, the client and the request say, in
// whole seconds, and never after the client itself. false where that leaves no second.
func lifetime(c *clients.Client, api *apis.API, asked time.Duration, now time.Time) (time.Time, bool) {
	ttl := min(api.TokenTTL, apis.MaxTokenTTL)
	if c.TokenTTL > 0 {
		ttl = min(ttl, c.TokenTTL)
	}
	if asked > 0 {
		ttl = min(ttl, asked)
	}
	issued := now.Truncate(time.Second)
	expires := issued.Add(ttl)
	if !c.ExpiresAt.IsZero() && expires.After(c.ExpiresAt) {
		expires = c.ExpiresAt.Truncate(time.Second)
	}
	return expires, expires.After(now)
}
