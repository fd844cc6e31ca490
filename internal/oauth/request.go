package oauth

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"unicode/utf8"
)

// MaxBody is the most bytes that a request body may have.
const MaxBody = 64 << 10

const formType = "application/x-www-form-urlencoded"

// Request is one request at an OAuth endpoint, as it came in. Token, Revoke and Introspect read the body themselves: the
// caller must not have parsed the form, because parsing by net/http drops what has to be refused.
type Request struct {
	HTTP      *http.Request
	ClientIP  netip.Addr // where the request came from, proxies considered; the zero Addr passes no allowlist
	RequestID string
}

// queryForbidden are the protocol's parameters. In a URL they end up in logs and histories, so a request that has one there
// is refused, though the rest of it be right (RFC 6749 §2.3.1; ATTACKS E3, N7).
//
//nolint:gochecknoglobals // a constant in all but name
var queryForbidden = map[string]bool{
	"grant_type": true, "scope": true, "resource": true, "audience": true, "expires_in": true,
	"client_id": true, "client_secret": true, "client_assertion": true, "client_assertion_type": true,
	"token": true, "token_type_hint": true, "assertion": true, "request": true, "request_uri": true,
	"subject_token": true, "subject_token_type": true, "actor_token": true, "actor_token_type": true,
	"requested_token_type": true, "username": true, "password": true, "code": true, "refresh_token": true,
}

// readForm checks what has to hold of a request before anything in it is believed, and gives its parameters. Parameters
// without a value count as absent (RFC 6749 §3.1); url.Values.Get already answers so.
func readForm(r *http.Request) (url.Values, error) {
	if r.Method != http.MethodPost {
		return nil, refuse(http.StatusMethodNotAllowed, CodeInvalidRequest, ReasonMethod, "use POST")
	}
	if err := checkQuery(r.URL); err != nil {
		return nil, err
	}
	if err := checkContentType(r.Header); err != nil {
		return nil, err
	}
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(body)
	if err != nil {
		return nil, badRequest(ReasonFormMalformed, "the body is not form-encoded: bad percent-encoding, ';', or too many parameters")
	}
	return form, checkForm(form)
}

// checkQuery refuses protocol parameters in the URL. Other query parameters are ignored.
func checkQuery(u *url.URL) error {
	if u == nil || u.RawQuery == "" {
		return nil
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return badRequest(ReasonFormMalformed, "the query of the URL is malformed")
	}
	for name := range query {
		if queryForbidden[name] {
			return badRequest(ReasonParamInQuery, "parameter %s is in the URL; send all parameters in the body", name)
		}
	}
	return nil
}

// checkContentType wants a form in UTF-8 (RFC 6749 appendix B), not compressed.
func checkContentType(h http.Header) error {
	if encoding := h.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return refuse(http.StatusUnsupportedMediaType, CodeInvalidRequest, ReasonContentType, "send the body without Content-Encoding")
	}
	values := h["Content-Type"]
	if len(values) == 1 && values[0] == formType {
		return nil
	}
	if len(values) == 1 {
		media, params, err := mime.ParseMediaType(values[0])
		charset, set := params["charset"]
		if err == nil && media == formType && (!set || strings.EqualFold(charset, "utf-8")) {
			return nil
		}
	}
	return refuse(http.StatusUnsupportedMediaType, CodeInvalidRequest, ReasonContentType,
		"send one Content-Type: application/x-www-form-urlencoded (UTF-8)")
}

// readBody reads at most MaxBody bytes.
func readBody(r *http.Request) (string, error) {
	tooLarge := func() error {
		return refuse(http.StatusRequestEntityTooLarge, CodeInvalidRequest, ReasonBodyTooLarge, "the body is larger than %d bytes", MaxBody)
	}
	if r.ContentLength > MaxBody {
		return "", tooLarge()
	}
	if r.Body == nil {
		return "", nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
	var limited *http.MaxBytesError
	if errors.As(err, &limited) || len(body) > MaxBody {
		return "", tooLarge()
	}
	if err != nil {
		return "", badRequest(ReasonBodyUnreadable, "the body could not be read").withCause(err)
	}
	return string(body), nil
}

// checkForm refuses repeated parameters, but for those that RFC 8707 and RFC 8693 let repeat, and text that no parameter
// of the protocol can hold.
func checkForm(form url.Values) error {
	for name, values := range form {
		if len(values) > 1 && name != "resource" && name != "audience" {
			return badRequest(ReasonParamRepeated, "parameter %s is sent more than once", shown(name))
		}
		if !plain(name) {
			return badRequest(ReasonFormMalformed, "a parameter name is not valid UTF-8 or holds NUL")
		}
		for _, value := range values {
			if !plain(value) {
				return badRequest(ReasonFormMalformed, "parameter %s is not valid UTF-8 or holds NUL", shown(name))
			}
		}
	}
	// Request objects (RFC 9101) carry a URL to fetch or parameters that would bypass the checks above (ATTACKS C10).
	if form.Get("request") != "" || form.Get("request_uri") != "" {
		return badRequest(ReasonParamInvalid, "parameters request and request_uri are not supported")
	}
	return nil
}

func plain(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// shown gives a parameter's name if it is one of the protocol's: others are the caller's own text and are not repeated.
func shown(name string) string {
	if queryForbidden[name] {
		return name
	}
	return "(unnamed)"
}
