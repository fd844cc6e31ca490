package oauth

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/ory/fosite"
)

// The error codes that Signet answers with: RFC 6749 §5.2, RFC 8707 §2, and two that RFC 6749 §4.1.2.1 has for trouble of
// the server's own.
const (
	CodeInvalidRequest         = "invalid_request"
	CodeInvalidClient          = "invalid_client"
	CodeUnauthorizedClient     = "unauthorized_client"
	CodeUnsupportedGrantType   = "unsupported_grant_type"
	CodeInvalidScope           = "invalid_scope"
	CodeInvalidTarget          = "invalid_target"
	CodeTemporarilyUnavailable = "temporarily_unavailable"
	CodeServerError            = "server_error"
)

const (
	maxDescription  = 600             // bytes of an error_description
	maxClaimed      = 64              // bytes of a claimed client ID that are kept for logs
	retryAfterFault = 1 * time.Second // how long a caller should wait for a database to come back
)

// Error is a refusal. Code and Description are for the caller; Reason, ClientID and the wrapped cause are for the operator
// and never reach the caller. No field ever holds a secret, a token or an assertion.
type Error struct {
	Status      int           // HTTP status; an answer of 405 needs "Allow: POST", one of 413 should close the connection
	Code        string        // member "error"
	Description string        // member "error_description", within the characters of RFC 6749 §5.2
	Reason      Reason        // what exactly was wrong, as a word for logs, metrics and refusal records
	ClientID    string        // who the caller says it is: shortened, printable, not proven unless the reason implies it
	RetryAfter  time.Duration // whole seconds for Retry-After; 0 means no such header
	Challenge   string        // WWW-Authenticate; never empty when Status is 401 (RFC 9110 §15.5.2)
	cause       error
}

// Error is for logs: the code, the reason and the cause, never what the caller sent.
func (e *Error) Error() string {
	if e.cause != nil {
		return e.Code + " (" + string(e.Reason) + "): " + e.cause.Error()
	}
	return e.Code + " (" + string(e.Reason) + ")"
}

// Unwrap gives the private cause, if there is one.
func (e *Error) Unwrap() error { return e.cause }

// refuse makes an Error. What is put into the description is made safe by describe, so args may come from the caller as
// far as the message may repeat them at all.
func refuse(status int, code string, reason Reason, format string, args ...any) *Error {
	text := format
	if len(args) > 0 {
		text = fmt.Sprintf(format, args...)
	}
	return &Error{Status: status, Code: code, Reason: reason, Description: describe(text)}
}

// badRequest is a malformed request (RFC 6749 §5.2).
func badRequest(reason Reason, format string, args ...any) *Error {
	return refuse(http.StatusBadRequest, CodeInvalidRequest, reason, format, args...)
}

// unavailable answers when what decides cannot be known now: never a guess, never invalid_client (DESIGN.md §8).
func unavailable(cause error) *Error {
	e := refuse(http.StatusServiceUnavailable, CodeTemporarilyUnavailable, ReasonUnavailable,
		"the server cannot reach what it needs to answer; the request was not decided, retry it")
	e.RetryAfter, e.cause = retryAfterFault, cause
	return e
}

// serverError answers for what should not happen. The caller learns nothing but that.
func serverError(cause error) *Error {
	e := refuse(http.StatusInternalServerError, CodeServerError, ReasonInternal, "the server failed on this request")
	e.cause = cause
	return e
}

// withCause keeps what lies behind a refusal for the log.
func (e *Error) withCause(err error) *Error {
	e.cause = err
	return e
}

// mapped is the one place where whatever went wrong becomes an answer. What fosite itself refuses was let through by the
// checks before it and is therefore our mistake, not the caller's: 500.
func mapped(err error, clientID string) error {
	var e *Error
	if !errors.As(err, &e) {
		if flow, ok := errors.AsType[*fosite.RFC6749Error](err); ok {
			err = fmt.Errorf("fosite refused: %w", flow)
		}
		e = serverError(err)
	}
	if e.ClientID == "" {
		e.ClientID = printable(clientID)
	}
	return e
}

// describe limits a text to the characters of error_description (RFC 6749 §5.2: %x20-21 / %x23-5B / %x5D-7E) and to
// maxDescription bytes.
func describe(text string) string {
	safe := strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r < 0x20 || r > 0x7e || r == '\\':
			return '?'
		default:
			return r
		}
	}, text)
	if len(safe) > maxDescription {
		return safe[:maxDescription-3] + "..."
	}
	return safe
}

// printable shortens a claimed client ID for logs.
func printable(id string) string {
	if len(id) > maxClaimed {
		id = id[:maxClaimed]
	}
	return describe(id)
}
