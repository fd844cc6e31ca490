package clients

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/clientjwks"
	"github.com/seed-1972b8eb/signet/internal/tokens"
)

// Bounds of what one client may carry, so that a record stays one cheap read and a token stays small.
const (
	maxLabels     = 50
	maxClaims     = 20
	maxClaimBytes = 2048
	maxGrants     = 100
	maxCIDRs      = 100
)

// Clone returns a copy that shares no slice or map with c.
func (c *Client) Clone() *Client {
	d := *c
	d.Labels, d.Claims = maps.Clone(c.Labels), maps.Clone(c.Claims)
	d.Secrets, d.JWKS = slices.Clone(c.Secrets), slices.Clone(c.JWKS)
	d.Introspects, d.AllowCIDRs = slices.Clone(c.Introspects), slices.Clone(c.AllowCIDRs)
	d.Grants = slices.Clone(c.Grants)
	for i := range d.Grants {
		d.Grants[i].Scopes = slices.Clone(c.Grants[i].Scopes)
		d.Grants[i].Defaults = slices.Clone(c.Grants[i].Defaults)
	}
	return &d
}

// Expired reports whether the client's own expiry has come.
func (c *Client) Expired(now time.Time) bool {
	return !c.ExpiresAt.IsZero() && !now.Before(c.ExpiresAt)
}

// Grant returns what the client may ask of the API, and whether it may at all.
func (c *Client) Grant(api string) (Grant, bool) {
	for _, g := range c.Grants {
		if g.API == api {
			return g, true
		}
	}
	return Grant{}, false
}

// Live reports whether the secret may still authenticate at now.
func (s *Secret) Live(now time.Time) bool { return s.ExpiresAt.IsZero() || now.Before(s.ExpiresAt) }

// Has reports whether the grant holds exactly this scope.
func (g Grant) Has(scope string) bool {
	_, found := slices.BinarySearch(g.Scopes, scope)
	return found
}

// DefaultScopes are the scopes of a request that names none. Deleting the last default scope of a grant leaves no default: it
// must not widen what such a request gets.
func (g Grant) DefaultScopes() []string {
	if g.Defaults != nil {
		return g.Defaults
	}
	return g.Scopes
}

func (g *Grant) normalise() error {
	if len(g.Scopes) == 0 {
		return invalid("grant of %s names no scope", g.API)
	}
	for _, scope := range g.Scopes {
		if err := apis.CheckScopeName(scope); err != nil {
			return invalid("grant of %s: %v", g.API, err)
		}
	}
	slices.Sort(g.Scopes)
	g.Scopes = slices.Compact(g.Scopes)
	slices.Sort(g.Defaults)
	g.Defaults = slices.Compact(g.Defaults)
	for _, scope := range g.Defaults {
		if !g.Has(scope) {
			return invalid("default scope %q is not among the granted scopes of %s", scope, g.API)
		}
	}
	return nil
}

// validate checks every rule that needs no look-up, and normalises the record's lists. allow are the networks that a jwks_uri may
// lead to although they are not public.
func (c *Client) validate(allow []netip.Prefix) error {
	if c.AuthMethod == "" {
		c.AuthMethod = SecretBasic
	}
	if err := checkText("name", c.Name, 1, 100); err != nil {
		return err
	}
	if err := checkText("owner", c.Owner, 0, 100); err != nil {
		return err
	}
	if c.TokenTTL != 0 && (c.TokenTTL < apis.MinTokenTTL || c.TokenTTL > apis.MaxTokenTTL || c.TokenTTL%time.Second != 0) {
		return invalid("token lifetime %s is not whole seconds from %s to %s", c.TokenTTL, apis.MinTokenTTL, apis.MaxTokenTTL)
	}
	for _, check := range []func() error{c.validateLabels, c.validateClaims, c.validateGrants, c.validateNetworks} {
		if err := check(); err != nil {
			return err
		}
	}
	return c.validateKeys(allow)
}

func (c *Client) validateLabels() error {
	if len(c.Labels) > maxLabels {
		return invalid("more than %d labels", maxLabels)
	}
	for k, v := range c.Labels {
		if err := checkText("label key", k, 1, 63); err != nil {
			return err
		}
		if err := checkText("label "+k, v, 0, 255); err != nil {
			return err
		}
	}
	return nil
}

// validateClaims keeps static claims from naming what the server says itself (RFC 9068 §2.2, CHECKLIST AT-11).
func (c *Client) validateClaims() error {
	if len(c.Claims) > maxClaims {
		return invalid("more than %d static claims", maxClaims)
	}
	for name := range c.Claims {
		if err := checkText("claim name", name, 1, 63); err != nil {
			return err
		}
		if tokens.IsReserved(name) {
			return invalid("claim %q is reserved", name)
		}
		if !exact(c.Claims[name]) {
			return invalid("claim %q has a number of 2^53 or more, which JSON readers round: write it as text", name)
		}
	}
	text, err := json.Marshal(c.Claims)
	if err != nil {
		return invalid("static claims are not JSON")
	}
	if len(text) > maxClaimBytes {
		return invalid("static claims are longer than %d bytes of JSON", maxClaimBytes)
	}
	if err := tokens.CheckStatic(c.Claims); err != nil { // or the client could never get a token
		return invalid("static claims: %v", err)
	}
	return nil
}

// exact is false where a value holds a number that was, or will be, rounded on its way (RFC 8259 §6).
func exact(value any) bool {
	switch v := value.(type) {
	case float64:
		return math.Abs(v) < 1<<53
	case []any:
		return !slices.ContainsFunc(v, func(element any) bool { return !exact(element) })
	case map[string]any:
		for _, member := range v {
			if !exact(member) {
				return false
			}
		}
	}
	return true
}

func (c *Client) validateKeys(allow []netip.Prefix) error {
	switch c.AuthMethod {
	case SecretBasic, SecretPost:
		if len(c.JWKS) > 0 || c.JWKSURI != "" {
			return invalid("%s goes without jwks and jwks_uri", c.AuthMethod)
		}
		return c.validateSecrets(time.Now())
	case PrivateKeyJWT:
	default:
		return invalid("auth method %q is none of client_secret_basic, client_secret_post, private_key_jwt", c.AuthMethod)
	}
	switch {
	case len(c.Secrets) > 0:
		return invalid("private_key_jwt goes without a secret")
	case (len(c.JWKS) > 0) == (c.JWKSURI != ""):
		return invalid("private_key_jwt needs either jwks or jwks_uri")
	case c.JWKSURI != "":
		if err := clientjwks.CheckURI(c.JWKSURI, allow); err != nil {
			return invalid("%v", err)
		}
		return nil
	}
	if err := clientjwks.Validate(c.JWKS); err != nil {
		return invalid("jwks: %v", err)
	}
	return nil
}

func (c *Client) validateSecrets(now time.Time) error {
	live := 0
	for i := range c.Secrets {
		if c.Secrets[i].Live(now) {
			live++
		}
	}
	if live > maxLive {
		return invalid("more than %d working secrets: revoke one first", maxLive)
	}
	return nil
}

func (c *Client) validateGrants() error {
	if len(c.Grants) > maxGrants {
		return invalid("more than %d grants", maxGrants)
	}
	slices.SortFunc(c.Grants, func(x, y Grant) int { return strings.Compare(x.API, y.API) })
	for i := range c.Grants {
		if i > 0 && c.Grants[i-1].API == c.Grants[i].API {
			return invalid("two grants of %s", c.Grants[i].API)
		}
		if err := c.Grants[i].normalise(); err != nil {
			return err
		}
	}
	slices.Sort(c.Introspects)
	c.Introspects = slices.Compact(c.Introspects)
	for _, api := range c.Introspects {
		if strings.HasPrefix(api, apis.Reserved) {
			return invalid("%s cannot be introspected", api)
		}
	}
	return nil
}

func (c *Client) validateNetworks() error {
	if len(c.AllowCIDRs) > maxCIDRs {
		return invalid("more than %d networks", maxCIDRs)
	}
	for i, prefix := range c.AllowCIDRs {
		if !prefix.IsValid() {
			return invalid("network %d of the allowlist is not a CIDR", i+1)
		}
		if prefix.Addr().Is4In6() {
			return invalid("network %s is an IPv4 network written as IPv6", prefix)
		}
		c.AllowCIDRs[i] = prefix.Masked()
	}
	return nil
}

func checkText(what, text string, least, most int) error {
	n := utf8.RuneCountInString(text)
	if !utf8.ValidString(text) || n < least || n > most || strings.ContainsFunc(text, unicode.IsControl) {
		return invalid("%s is not %d to %d printable characters", what, least, most)
	}
	if text != strings.TrimSpace(text) {
		return invalid("%s begins or ends with a space", what)
	}
	return nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}
