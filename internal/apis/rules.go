package apis

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Reserved begins the identifiers that Signet keeps for its own APIs, such as the admin API.
const Reserved = "urn:signet:"

// Valid reports whether a is one of the algorithms that Signet signs with.
func (a Alg) Valid() bool { return a == ES256 || a == RS256 || a == EdDSA }

// ScopeNames returns the names of the API's scopes in order.
func (a *API) ScopeNames() []string {
	names := make([]string, len(a.Scopes))
	for i, s := range a.Scopes {
		names[i] = s.Name
	}
	return names
}

// HasScope reports whether the API has a scope of exactly this name.
func (a *API) HasScope(name string) bool {
	_, found := slices.BinarySearchFunc(a.Scopes, name, func(s Scope, n string) int { return strings.Compare(s.Name, n) })
	return found
}

// Clone returns a copy that shares nothing with a.
func (a *API) Clone() *API {
	b := *a
	b.Scopes = slices.Clone(a.Scopes)
	for i := range b.Scopes {
		b.Scopes[i].Routes = slices.Clone(a.Scopes[i].Routes)
	}
	return &b
}

// validate checks every rule of an API and its scopes, and fills what was left to the default.
func (a *API) validate(maxTTL time.Duration) error {
	if a.Alg == "" {
		a.Alg = ES256
	}
	if a.Typ == "" {
		a.Typ = TypAccessToken
	}
	if err := CheckIdentifier(a.Identifier); err != nil {
		return err
	}
	if err := checkText("name", a.Name, 1, 100); err != nil {
		return err
	}
	if !a.Alg.Valid() {
		return invalid("alg %q is none of ES256, RS256, EdDSA", a.Alg)
	}
	if a.Typ != TypAccessToken && a.Typ != TypJWT {
		return invalid("typ %q is neither at+jwt nor JWT", a.Typ)
	}
	if a.TokenTTL < MinTokenTTL || a.TokenTTL > maxTTL || a.TokenTTL%time.Second != 0 {
		return invalid("token lifetime %s is not whole seconds from %s to %s", a.TokenTTL, MinTokenTTL, maxTTL)
	}
	return a.validateScopes()
}

func (a *API) validateScopes() error {
	slices.SortFunc(a.Scopes, func(x, y Scope) int { return strings.Compare(x.Name, y.Name) })
	for i := range a.Scopes {
		s := &a.Scopes[i]
		if i > 0 && a.Scopes[i-1].Name == s.Name {
			return fmt.Errorf("%w: %q of %s", ErrScopeTaken, s.Name, a.Identifier)
		}
		if err := s.validate(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Scope) validate() error {
	if s.Kind == "" {
		s.Kind = Action
	}
	if err := CheckScopeName(s.Name); err != nil {
		return err
	}
	if s.Kind != Action && s.Kind != Feature {
		return invalid("scope %q: kind %q is neither action nor feature", s.Name, s.Kind)
	}
	if err := checkText("description", s.Description, 0, 500); err != nil {
		return err
	}
	if err := checkText("group", s.Group, 0, 100); err != nil {
		return err
	}
	for _, r := range s.Routes {
		if err := r.validate(); err != nil {
			return invalid("scope %q: %v", s.Name, err)
		}
	}
	return nil
}

// ParseRoute reads "GET /v1/users/*": a method or "*", one space, a path pattern or "*".
func ParseRoute(text string) (Route, error) {
	method, path, ok := strings.Cut(text, " ")
	r := Route{Method: method, Path: path}
	if !ok {
		return Route{}, invalid("route %q is not a method and a path, such as 'GET /v1/users/*'", text)
	}
	if err := r.validate(); err != nil {
		return Route{}, err
	}
	return r, nil
}

// String is the form that ParseRoute reads.
func (r Route) String() string { return r.Method + " " + r.Path }

func (r Route) validate() error {
	// RFC 9110 §9.1: a method is a case-sensitive token; the ones in use are upper case.
	if r.Method != "*" && (r.Method == "" || strings.IndexFunc(r.Method, func(c rune) bool { return c < 'A' || c > 'Z' }) >= 0) {
		return invalid("route method %q is neither upper-case letters nor *", r.Method)
	}
	if r.Path == "*" {
		return nil
	}
	if !strings.HasPrefix(r.Path, "/") || len(r.Path) > 500 || strings.ContainsAny(r.Path, "?# \t") {
		return invalid("route path %q does not start with / or has a query, fragment or space", r.Path)
	}
	segments := strings.Split(r.Path[1:], "/")
	for i, segment := range segments {
		if segment == "*" || segment == "**" && i == len(segments)-1 {
			continue
		}
		if strings.Contains(segment, "*") || segment == "." || segment == ".." {
			return invalid("route path %q: * stands for one whole segment, ** for all the rest at the end", r.Path)
		}
	}
	return nil
}

// CheckScopeName holds RFC 6749 §3.3 (scope-token: %x21 / %x23-5B / %x5D-7E), and refuses "*": patterns live only in routes.
func CheckScopeName(name string) error {
	if name == "" || len(name) > 128 {
		return invalid("scope name %q is not 1 to 128 characters", name)
	}
	for i := range len(name) {
		c := name[i]
		if c <= ' ' || c == '"' || c == '\\' || c > '~' {
			return invalid("scope name %q has a character that RFC 6749 §3.3 does not allow", name)
		}
		if c == '*' {
			return invalid("scope name %q has a *: scopes are compared letter by letter, patterns live only in routes", name)
		}
	}
	return nil
}

// CheckIdentifier holds RFC 8707 §2: an absolute URI without a fragment. It also refuses what only looks like another
// audience, such as user information; a query is allowed.
func CheckIdentifier(identifier string) error {
	u, err := url.Parse(identifier)
	switch {
	case identifier == "" || len(identifier) > 500:
		return invalid("identifier is not 1 to 500 characters")
	case strings.ContainsFunc(identifier, func(r rune) bool { return r <= ' ' || r > '~' || r == '*' }):
		return invalid("identifier %q has a space, a *, a control or a non-ASCII character", identifier)
	case err != nil || u.Scheme == "" || (u.Host == "" && u.Opaque == "" && u.Path == ""):
		return invalid("identifier %q is not an absolute URI, such as https://api.example.com or urn:example:api", identifier)
	case strings.Contains(identifier, "#"):
		return invalid("identifier %q has a fragment (RFC 8707 §2)", identifier)
	case u.User != nil:
		return invalid("identifier %q has user information", identifier)
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host == "":
		return invalid("identifier %q has no host", identifier)
	case strings.EqualFold(u.Scheme, "javascript") || strings.EqualFold(u.Scheme, "data") || strings.EqualFold(u.Scheme, "file"):
		return invalid("identifier %q: scheme %q cannot name an API", identifier, u.Scheme)
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
